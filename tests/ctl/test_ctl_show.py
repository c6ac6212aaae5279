"""Values as people read them."""

import datetime as dt

import pytest

from rlctl import show

NOW = dt.datetime(2026, 11, 23, 14, 0, tzinfo=dt.timezone(dt.timedelta(hours=1)))


@pytest.mark.parametrize(
    "function", [show.count, show.score, show.compact, show.share, show.percent, show.age, show.money, show.hours]
)
def test_what_is_unavailable_is_never_zero(function):
    assert function(None) == "n/a"


def test_memory_is_na_only_as_far_as_it_is_unknown():
    assert show.pair(None, None) == "n/a"
    assert show.pair(1024, None) == "1.0 of n/a GiB"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9999, "9,999"), (12_837, "12.8k"), (8_100_000, "8.10M"), (40_000_000, "40.0M"), (2.5e9, "2.50G")],
)
def test_large_numbers_are_compact(value, text):
    assert show.compact(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0.0 %"), (0.81, "81.0 %"), (0.99999, "99.9 %"), (1, "100 %")])
def test_a_share_is_whole_only_when_it_is_reached(value, text):
    assert show.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(4230.0, "4,230"), (20.41, "20.4"), (-21.0, "-21")])
def test_scores_have_decimals_only_where_they_have_some(value, text):
    assert show.score(value) == text


@pytest.mark.parametrize(
    ("iso", "text"),
    [
        ("2026-11-23T13:05:00Z", "14:05"),
        ("2026-11-22T13:05:00Z", "Sun 14:05"),
        ("2026-11-23T23:30:00Z", "Tue 00:30"),
        ("2026-10-01T12:00:00Z", "2026-10-01 13:00"),
        ("2026-11-23T13:05:00", "14:05"),
    ],
)
def test_clock_times_are_local_and_name_another_day(iso, text):
    assert show.clock(show.moment(iso), NOW) == text


def test_the_future_is_told_both_ways():
    assert show.ahead(1080, NOW) == "in 18 min (14:18)"
    assert show.ahead(38, NOW) == "in 38 s (14:00:38)"
