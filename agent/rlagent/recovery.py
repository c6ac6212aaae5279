"""A journal that is damaged, or has lost events: keep it beside, save what can be read, and say so.

The new journal holds every event that could be read and then one `journal_recovered` with the state that was saved: the
journal's own, or the fold of the first events, or what state.toml tells. The old journal stays in place until the new
one is whole, so an agent that is killed meanwhile finds the damage again.
"""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from rlagent import files, salvage
from rlagent.journal import Journal, JournalDamagedError, Stamp
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.model import Rules
from rlagent.policy.text import clock
from rlagent.summary import Summary, overlay

log = logging.getLogger(__name__)

_SIDE_FILES = ("-wal", "-shm")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What else there is to rebuild from."""

    now: Stamp
    """The clocks, with policy time 0."""
    rules: Rules
    told: Summary | None
    """The last state.toml."""
    attempts: Mapping[str, int]
    """The last attempt of each game that left a trace."""


def open_journal(path: Path, known: Known) -> Journal:
    """Open the journal, rebuilt where it has to be. Raises JournalError, OSError."""
    size = path.stat().st_size if path.exists() else None
    aside: Path | None
    try:
        journal = Journal(path)
    except JournalDamagedError as damage:
        # Here the failed journal's connection still lives, by the traceback: SQLite has not tidied up behind it yet.
        aside, fault = keep(path), damage.fault
    else:
        acknowledged = 0 if known.told is None else known.told.journal_seq
        if journal.seq >= acknowledged:
            return journal
        aside = keep(path) if size else None
        what = {None: "missing", 0: "empty"}.get(size, f"damaged: it ends at event {journal.seq}")
        fault = f"{what}, but state.toml knows of event {acknowledged}"
        journal.close()
    return rebuild(path, aside, fault, known)


def keep(path: Path) -> Path:
    """Copy a damaged journal, with its write-ahead log, durably to a free name beside it. Raises OSError.

    To be called before its connection is closed: closing would write what is left of the log into the journal.
    """
    last = kept(path)
    if last and _same(path, last[-1]):
        return last[-1]  # by an agent that was killed meanwhile
    aside = _free_name(path)
    for side in _SIDE_FILES[:1]:
        if path.with_name(path.name + side).exists():
            files.copy(path.with_name(path.name + side), aside.with_name(aside.name + side))
    partial = path.with_name(f".{aside.name}.tmp")
    try:
        files.copy(path, partial)
        partial.replace(aside)
    finally:
        partial.unlink(missing_ok=True)
    files.sync_directory(path.parent)
    return aside


def rebuild(path: Path, aside: Path | None, fault: str, known: Known, live: State | None = None) -> Journal:
    """Make a new journal of what can be saved, and put it in place; `live`: the state is known.

    Raises JournalError, OSError: the old one is still in place.
    """
    log.error("journal %s: %s; saving what can be read", path, fault)
    found = salvage.read(path if aside is None else aside)
    state, source = _best_state(found, known, live)
    stamp = found.last_stamp or known.now
    acknowledged = 0 if known.told is None else known.told.journal_seq
    where = "" if aside is None else f"; the old file is kept as {aside.name}"
    how = (
        f"the journal was {fault}; {len(found.rows)} events could be read, the state is from {source}"
        f" ({state.mode or 'no mode'}, {clock(state.wall)}){where}"
    )
    rebuilt = path.with_name(f"{path.name}.rebuilt")
    for leftover in (rebuilt, *_side_files(rebuilt)):
        leftover.unlink(missing_ok=True)
    journal = Journal(rebuilt)
    journal.restore(found.rows)
    event = ev.JournalRecovered(t=max(stamp.t, state.t), wall=known.now.wall, state=state, how=how)
    after, decisions = step(State(), event)
    # The number goes on after everything that was ever acknowledged.
    journal.skip_to(max(acknowledged, found.seq))
    journal.append(msgspec.structs.replace(stamp, t=event.t, wall=event.wall), event, decisions, after)
    journal.close()
    for side in _side_files(path):
        side.unlink(missing_ok=True)  # the next journal would take it for its own
    rebuilt.replace(path)
    files.sync_directory(path.parent)
    log.error("%s", how)
    return Journal(path)


def kept(path: Path) -> list[Path]:
    """Return the damaged journals that lie beside."""
    return sorted(p for p in path.parent.glob(f"{path.name}.damaged-*") if not p.name.endswith(_SIDE_FILES))


def _best_state(found: salvage.Salvage, known: Known, live: State | None) -> tuple[State, str]:
    """Return the newest state that can be known, and where it comes from."""
    if live is not None:
        return live, "the running agent"
    state, seq, source = found.state, found.seq, found.source
    told = known.told
    if state is None:
        # Stopped, so that nothing starts before state.toml has told what runs; without one it is a new host.
        used = {} if told is not None else dict(known.attempts)
        configured = ev.Configured(t=0.0, wall=known.now.wall, rules=known.rules, used_attempts=used)
        state, seq = step(State(stopped=told is not None), configured)[0], -1
        source = "nothing but the configuration"
    if told is not None and told.journal_seq > seq:
        return overlay(state, told, known.attempts, known.now.wall), (
            "state.toml" if seq < 0 else f"{source}, brought up to date from state.toml"
        )
    return state, source


def _same(path: Path, other: Path) -> bool:
    pairs = [(path, other), *zip(_side_files(path)[:1], _side_files(other)[:1], strict=True)]
    return all(
        one.exists() == two.exists() and (not one.exists() or filecmp.cmp(one, two, False)) for one, two in pairs
    )


def _side_files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _SIDE_FILES]


def _free_name(path: Path) -> Path:
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}.damaged-{number}")
