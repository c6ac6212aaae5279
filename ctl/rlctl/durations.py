"""Durations as people write and read them. Pure."""

from __future__ import annotations

import re

from rlctl.errors import DurationError

_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse(text: str) -> float:
    """Return the seconds of `90s`, `45m`, `2h`, `1d` or `2h30m`; raises `DurationError`."""
    cleaned = text.strip().lower()
    if _WHOLE.fullmatch(cleaned) is None:
        raise DurationError(text)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(cleaned))
    if not 0 < seconds < 10 * 365 * 86400:
        raise DurationError(text)
    return seconds


def show(seconds: float) -> str:
    """Return a duration in its two largest units: `42 s`, `18 min`, `2 h 14 min`, `3 d 2 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600 and whole % 60:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return _pair(minutes // 60, "h", minutes % 60, "min")
    hours = round(minutes / 60)
    return _pair(hours // 24, "d", hours % 24, "h")


def brief(seconds: float) -> str:
    """Return the same for narrow columns: 42s, 18m, 2h14m, 3d2h."""
    return show(seconds).replace("min", "m").replace(" ", "")


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
