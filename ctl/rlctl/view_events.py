"""What happened and what comes next, as lines. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from rlagent.protocol.messages import Explanation, HistoryEntry
from rlctl import show
from rlctl.styled import Line, Piece


def history(entries: Sequence[HistoryEntry], now: dt.datetime) -> list[Line]:
    """Return the entries oldest first, each with its decisions below it; the time is local."""
    lines = []
    for entry in entries:
        at = show.clock(show.moment(entry.at), now, seconds=True)
        lines.append(Line(at, ((entry.summary, "strong" if entry.decisions else ""),)))
        lines += [Line("", (("→ ", "busy"), (decision, ""))) for decision in entry.decisions]
    if not lines:
        lines.append(Line("", (("nothing in this time", "dim"),)))
    return lines


def explanation(answer: Explanation) -> list[Line]:
    """Return what comes next, then the numbers that decide it."""
    head: tuple[Piece, ...] = ((answer.next_action, "strong"),)
    return [Line("next", head), *(Line("why" if n == 0 else "", ((line, ""),)) for n, line in enumerate(answer.lines))]
