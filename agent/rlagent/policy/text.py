"""Numbers as people read them, by arithmetic alone."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return `42 s`, `7.5 min`, `60 min`, `6 h`."""
    if seconds < 100:
        return f"{_short(seconds)} s"
    if seconds < 2 * 3600:
        return f"{_short(seconds / 60)} min"
    return f"{_short(seconds / 3600)} h"


def clock(wall: float) -> str:
    """Return the time of day in UTC: `20:31:07Z`."""
    second = int(wall) % 86400
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"


def number(value: float) -> str:
    """Return about three significant digits: 0.042, 1.3, 12, 1,830."""
    if abs(value) >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def by(who: str, why: str) -> str:
    """Return ` by ana (heat)`, leaving out what was not said."""
    return (f" by {who}" if who else "") + (f" ({why})" if why else "")


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
