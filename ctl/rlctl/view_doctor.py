"""Checks as lines: what was looked at, what was found, and the fix. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rlagent.protocol.checks import Check
from rlctl.styled import Line, Piece, Style

_MARKS: dict[str, Piece] = {"good": ("✓ ", "good"), "warning": ("! ", "warn"), "fault": ("✗ ", "bad")}
_STYLES: dict[str, Style] = {"good": "", "warning": "warn", "fault": "bad"}


def checks(found: Sequence[Check]) -> list[Line]:
    """Return a line for each check, and one below it where something is to be done."""
    lines = []
    for check in found:
        lines.append(Line(check.name, (_MARKS[check.verdict], (check.detail, _STYLES[check.verdict]))))
        if check.fix is not None:
            lines.append(Line("", (("  → ", "busy"), (check.fix, ""))))
    return lines
