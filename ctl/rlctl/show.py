"""Single values as people read them; None is n/a, never 0. Pure."""

from __future__ import annotations

import datetime as dt

from rlctl.durations import show as duration

NA = "n/a"


def count(value: float | None) -> str:
    """Return a whole number with separators: 8,101."""
    return NA if value is None else f"{value:,.0f}"


def score(value: float | None) -> str:
    """Return a score, with one decimal only where it has one."""
    if value is None:
        return NA
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def compact(value: float | None) -> str:
    """Return a large number in four characters or so: 950, 81.0k, 8.10M, 1.25G."""
    if value is None:
        return NA
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            scaled = value / (1e3 if unit == "k" else factor)
            return f"{scaled:.2f}{unit}" if scaled < 10 else f"{scaled:.1f}{unit}"
    return f"{value:,.0f}"


def share(value: float | None) -> str:
    """Return a share of 1 in percent; never 100 % before it is reached."""
    if value is None:
        return NA
    percent = value * 100
    if 99.9 < percent < 100:
        percent = 99.9
    return f"{percent:.1f} %" if percent < 100 else "100 %"


def percent(value: float | None) -> str:
    """Return whole percents."""
    return NA if value is None else f"{value:.0f} %"


def age(seconds: float | None) -> str:
    """Return a duration."""
    return NA if seconds is None else duration(seconds)


def pair(used: float | None, total: float | None) -> str:
    """Return two amounts of MiB in GiB: 31.2 of 80.0 GiB."""
    left = NA if used is None else f"{used / 1024:.1f}"
    right = NA if total is None else f"{total / 1024:.1f}"
    return NA if used is None and total is None else f"{left} of {right} GiB"


def money(dollars: float | None) -> str:
    """Return dollars and cents."""
    return NA if dollars is None else f"${dollars:,.2f}"


def hours(value: float | None) -> str:
    """Return hours as a duration."""
    return NA if value is None else duration(value * 3600)


def moment(iso: str) -> dt.datetime:
    """Read an ISO 8601 time of an agent; raises `ValueError`."""
    at = dt.datetime.fromisoformat(iso.replace("Z", "+00:00"))
    return at if at.tzinfo is not None else at.replace(tzinfo=dt.timezone.utc)


def clock(at: dt.datetime, now: dt.datetime, *, seconds: bool = False) -> str:
    """Return a time in the zone of `now`: 14:05, with the day where it is not today."""
    here = at.astimezone(now.tzinfo)
    text = f"{here:%H:%M:%S}" if seconds else f"{here:%H:%M}"
    if here.date() == now.date():
        return text
    near = abs((here.date() - now.date()).days) < 7
    return f"{here:%a} {text}" if near else f"{here:%Y-%m-%d} {text}"


def ahead(in_s: float, now: dt.datetime) -> str:
    """Return when something will be: in 18 min (14:05)."""
    at = now + dt.timedelta(seconds=in_s)
    return f"in {duration(in_s)} ({clock(at, now, seconds=in_s < 600)})"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
