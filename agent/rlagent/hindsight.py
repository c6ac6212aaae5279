"""Looks back: folds a journal again, compares its decisions, asks the policy what else would have happened. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from rlagent.history import iso, summary
from rlagent.journal import Entry, Foreign
from rlagent.policy import State, explain, step
from rlagent.policy import events as ev
from rlagent.policy.decisions import MODE_CHANGES, Decision
from rlagent.policy.model import Incident, Rules
from rlagent.policy.text import duration

TOLD = (*MODE_CHANGES, "incident", "enter", "fatal", "done")
"""Kinds of decisions that count as another outcome."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a journal that is decided otherwise now."""

    entry: Entry
    now: tuple[Decision, ...]


class UnknownEntryError(LookupError):
    """No line of this number is in the journal."""


def differences(entries: Iterable[Entry], rules: Rules | None = None) -> Iterator[Difference]:
    """Fold a journal, under other rules if they are given, and yield what differs from what it holds."""
    state = State()
    for entry in entries:
        event = entry.event
        if isinstance(event, Foreign):
            continue  # only another version knows what it means; the first line after it that differs tells
        if rules is not None and isinstance(event, ev.Configured):
            event = msgspec.structs.replace(event, rules=rules)
        state, decisions = step(state, event)
        if decisions != entry.decisions:
            yield Difference(entry=entry, now=decisions)


def decision(entries: Iterable[Entry], seq: int) -> list[str]:
    """Tell why one line was decided as it was, and what would have tipped it. Raises UnknownEntryError."""
    state = State()
    for entry in entries:
        if isinstance(entry.event, Foreign):
            continue
        if entry.seq == seq:
            return _told(state, entry, entry.event)
        state, _ = step(state, entry.event)
    raise UnknownEntryError(seq)


def _told(before: State, entry: Entry, event: ev.Event) -> list[str]:
    t = max(before.t, event.t)
    text = [f"{iso(entry.stamp.wall)} #{entry.seq}: {summary(event)}."]
    text += [f"  → {decided.reason}" for decided in entry.decisions] or ["  → nothing was decided"]
    _, decisions = step(before, event)
    if decisions != entry.decisions:
        text.append("This version of the policy decides otherwise: " + (_outcome(decisions) or "nothing"))
    text += ["Just before it:", *(f"  {line}" for line in explain.lines(before, t))]
    tips = list(_tips(before, event, t, _outcome(decisions)))
    return [
        *text,
        "What would have tipped it:",
        *(f"  {tip}" for tip in tips or ["none of the changes that were tried"]),
    ]


def _outcome(decisions: tuple[Decision, ...]) -> str:
    """Return what matters of some decisions, in a few words."""
    told = [
        f"{decided.kind} to {decided.to_mode}" if decided.to_mode else f"{decided.kind} {decided.game or ''}".rstrip()
        for decided in decisions
        if decided.kind in TOLD
    ]
    return ", ".join(told)


def _tips(before: State, event: ev.Event, t: float, outcome: str) -> Iterator[str]:
    """Ask the policy again with one thing changed at a time; yield each change that leads to something else."""
    for words, state in _variants(before, t):
        other = _outcome(step(state, event)[1])
        if other != outcome:
            yield f"{words}: {other or 'none of it'}"
    missing = None if "promote" in outcome else _missing_stable_s(before, event, t)
    if missing is not None:
        yield f"{duration(missing)} more stable time: promote"
    spare = _spare_stable_s(before, event, t) if "promote" in outcome else None
    if spare is not None:
        yield f"more than {duration(spare)} less stable time: no promotion"


def _variants(before: State, t: float) -> Iterator[tuple[str, State]]:
    counted = before.counted(t)
    change = msgspec.structs.replace
    if counted:
        rest = tuple(incident for incident in before.incidents if incident is not counted[0])
        barren = max(0, before.barren_incidents - 1)
        yield "one incident less", change(before, incidents=rest, barren_incidents=barren)
    more = Incident(t=before.t, wall=before.wall, visit=before.visit, mode=before.mode, symptoms=("one more",))
    yield "one incident more", change(before, incidents=(*before.incidents, more))
    if before.barren_incidents:
        yield "a checkpoint just before", change(before, barren_incidents=0)
    if before.hold is not None:
        yield "not held", change(before, hold=None)
    if before.retry_at:
        yield "no cooldown", change(before, retry_at={})
    if before.announced_until is None:
        yield "a reboot had been announced", change(before, announced_until=before.t)
    else:
        yield "no reboot had been announced", change(before, announced_until=None)
    if before.stopped:
        yield "not stopped by an operator", change(before, stopped=False)


def _promotes(before: State, event: ev.Event, extra_s: float) -> bool:
    _, decisions = step(msgspec.structs.replace(before, stable_s=before.stable_s + extra_s), event)
    return any(decided.kind == "promote" for decided in decisions)


def _missing_stable_s(before: State, event: ev.Event, t: float) -> float | None:
    """Return how much more stable time would have promoted; None: no amount would."""
    missing = 0.0 if before.rules is None else before.rules.stable_s - before.stable_at(t)
    return missing if missing > 0 and _promotes(before, event, missing + 1e-6) else None


def _spare_stable_s(before: State, event: ev.Event, t: float) -> float | None:
    """Return by how much the stable time was above what a promotion needs; None: it was not what decided."""
    spare = 0.0 if before.rules is None else before.stable_at(t) - before.rules.stable_s
    return None if _promotes(before, event, -spare - 1.0) else max(0.0, spare)
