"""Numbers in reasons, on the edges of each form."""

from __future__ import annotations

import pytest

from rlagent.policy.text import by, clock, duration, number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (7.5, "7.5 s"), (99.9, "99.9 s"), (100, "1.7 min"), (100.5, "1.7 min"), (3600, "60 min"),
        (7199, "120 min"), (7200, "2 h"), (7201, "2 h"), (9000, "2.5 h"), (360_000, "100 h"), (360_300, "100.1 h"),
        (3_600_000, "1000 h"),
    ],
)  # fmt: skip
def test_a_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0, "00:00:00Z"), (59.9, "00:00:59Z"), (60, "00:01:00Z"), (3599, "00:59:59Z"), (3600, "01:00:00Z"),
        (86399, "23:59:59Z"), (86400, "00:00:00Z"), (20_000 * 86400 + 20 * 3600 + 31 * 60 + 7, "20:31:07Z"),
        (10 * 86400 + 59 * 60 + 59, "00:59:59Z"),
    ],
)  # fmt: skip
def test_the_time_of_day(wall, text):
    assert clock(wall) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0421, "0.042"), (0.96, "0.96"), (1, "1.0"), (1.26, "1.3"), (9.94, "9.9"), (10, "10"),
        (10.4, "10"), (-12.3, "-12"), (-1.5, "-1.5"), (1830.4, "1,830"),
    ],
)  # fmt: skip
def test_a_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("who", "why", "text"),
    [("ana", "heat", " by ana (heat)"), ("ana", "", " by ana"), ("", "heat", " (heat)"), ("", "", "")],
)
def test_who_and_why(who, why, text):
    assert by(who, why) == text
