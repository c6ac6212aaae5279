"""Durations are read as people write them, and refused otherwise."""

import pytest

from rlctl import durations
from rlctl.errors import DurationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("45min", 2700), ("2h", 7200), ("1d", 86400), ("2h30m", 9000), (" 1D 2H ", 93600)],
)
def test_reads_a_duration(text, seconds):
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "2x", "-1h", "0s", "1h-", "1e9d", "999999999d", "two hours"])
def test_refuses_what_is_no_duration(text):
    with pytest.raises(DurationError) as caught:
        durations.parse(text)
    assert caught.value.exit_code == 2
    assert str(caught.value) == f"'{text}' is no duration; write for example 90s, 45m, 2h, 1d or 2h30m"


@pytest.mark.parametrize(
    ("seconds", "text", "brief"),
    [
        (-3, "0 s", "0s"),
        (0, "0 s", "0s"),
        (59.6, "1 min", "1m"),
        (61, "1 min 1 s", "1m1s"),
        (600, "10 min", "10m"),
        (3599, "1 h", "1h"),
        (7200, "2 h", "2h"),
        (8040, "2 h 14 min", "2h14m"),
        (86_399, "1 d", "1d"),
        (266_400, "3 d 2 h", "3d2h"),
    ],
)
def test_shows_the_two_largest_units(seconds, text, brief):
    assert (durations.show(seconds), durations.brief(seconds)) == (text, brief)
