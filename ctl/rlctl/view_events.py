"""What happened and what comes next, as lines. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from rlagent.protocol.messages import Explanation, HistoryEntry
from rlctl import show
from rlctl.fanout import Outcome
from rlctl.styled import Line, Piece


def history(outcomes: Sequence[Outcome[list[HistoryEntry]]], now: dt.datetime) -> list[Line]:
    """Return the entries of all hosts in the order of time, each with its decisions below it.

    Those that decided something show their number. Times are local. Where there are several hosts each entry begins
    with its host's name.
    """
    named = max(len(outcome.host.name) for outcome in outcomes) if len(outcomes) > 1 else 0
    lines = []
    for host, entry in _merged(outcomes):
        at = show.clock(show.moment(entry.at), now, seconds=True)
        label: tuple[Piece, ...] = ((f"{host:{named}}  ", "busy"),) if named else ()
        number: tuple[Piece, ...] = ((f"  #{entry.seq}", "dim"),) if entry.decisions else ()
        lines.append(Line(at, (*label, (entry.summary, "strong" if entry.decisions else ""), *number)))
        space: tuple[Piece, ...] = ((" " * (named + 2), ""),) if named else ()
        lines += [Line("", (*space, ("→ ", "busy"), (decision, ""))) for decision in entry.decisions]
    if not lines:
        lines.append(Line("", (("nothing in this time", "dim"),)))
    return lines


def _merged(outcomes: Sequence[Outcome[list[HistoryEntry]]]) -> list[tuple[str, HistoryEntry]]:
    """Return all entries with their host's name; one host's stay in the journal's order, whatever its clock did."""
    keyed = []
    for outcome in outcomes:
        latest = dt.datetime.min.replace(tzinfo=dt.timezone.utc)
        for entry in outcome.value or []:
            latest = max(latest, show.moment(entry.at))
            keyed.append((latest, outcome.host.name, entry))
    return [(host, entry) for _, host, entry in sorted(keyed, key=lambda key: key[0])]


def explanation(answer: Explanation) -> list[Line]:
    """Return what comes next, then the numbers that decide it."""
    head: tuple[Piece, ...] = ((answer.next_action, "strong"),)
    return [Line("next", head), *(Line("why" if n == 0 else "", ((line, ""),)) for n, line in enumerate(answer.lines))]
