"""What `rlagent doctor` finds on a host: a list of checks, each with what to do where something is wrong."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["good", "warning", "fault"]
"""warning: it works, but a person should know. fault: training or its supervision is in danger."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    detail: str
    """What was found."""
    fix: str | None = None
    """The next step; None where nothing is wrong."""


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """All that was looked at on a host."""

    at: float
    """By the host's clock, seconds since the epoch."""
    host_uuid: str | None
    checks: list[Check]


def good(name: str, detail: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name=name, verdict="good", detail=detail)


def warning(name: str, detail: str, fix: str) -> Check:
    """Return a check that found something to know."""
    return Check(name=name, verdict="warning", detail=detail, fix=fix)


def fault(name: str, detail: str, fix: str) -> Check:
    """Return a check that found something dangerous."""
    return Check(name=name, verdict="fault", detail=detail, fix=fix)
