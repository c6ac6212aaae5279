"""What can still be read of a damaged journal: its events, and the newest state they lead to. Changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rlagent.journal import Stamp
from rlagent.policy import State, step
from rlagent.policy.decisions import Decision
from rlagent.policy.events import Configured, Event, JournalRecovered

COLUMNS = "seq, t, wall, monotonic, boot, kind, event, decisions"
Row = tuple[Any, ...]
_FOLDER = ".salvage-"


class Salvage(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    rows: list[Row]
    """Raw events in order; numbers are missing where nothing could be read."""
    state: State | None
    seq: int
    """The event after which the state stood; without a state the last one that was read."""
    source: str
    """Where the state comes from, for people."""
    last_stamp: Stamp | None


def read(path: Path) -> Salvage:
    """Read a journal as far as it goes; never raises for what is wrong with the file. Raises OSError."""
    rows, stored = _tables(path)
    good = [row for row in rows if _is_whole(row)]
    state, seq, source = _fold(good)
    if stored is not None and stored[0] >= max(seq, good[-1][0] if good else 0):
        seq, state, source = stored[0], stored[1], "the journal"
    last = good[-1] if good else None
    stamp = None if last is None else Stamp(t=last[1], wall=last[2], monotonic=last[3], boot=last[4])
    return Salvage(rows=good, state=state, seq=seq, source=source, last_stamp=stamp)


def _tables(path: Path) -> tuple[list[Row], tuple[int, State] | None]:
    """Read both tables from a copy: SQLite would write to the original while it recovers what it can."""
    if not path.exists():
        return [], None
    for stale in path.parent.glob(f"{_FOLDER}*"):  # of an agent that was killed while it read
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=path.parent) as folder:
        copy = Path(folder) / "journal"
        shutil.copyfile(path, copy)
        wal = path.with_name(path.name + "-wal")
        if wal.exists():
            shutil.copyfile(wal, copy.with_name("journal-wal"))
        db = sqlite3.connect(copy)
        try:
            return list(_events(db)), _state(db)
        finally:
            db.close()


def _events(db: sqlite3.Connection) -> Iterator[Row]:
    """Return every row that can be read: from the first on, from the last back, and one by one in between."""
    first = _scan(db, "ORDER BY seq")
    last = _scan(db, "ORDER BY seq DESC")[::-1]
    low = first[-1][0] if first else 0
    last = [row for row in last if row[0] > low]
    high = last[0][0] if last else low
    between = [row for seq in range(low + 1, high) for row in _scan(db, f"WHERE seq = {seq}")]
    return iter([*first, *between, *last])


def _scan(db: sqlite3.Connection, clause: str) -> list[Row]:
    rows: list[Row] = []
    try:
        rows.extend(db.execute(f"SELECT {COLUMNS} FROM events NOT INDEXED {clause}"))  # noqa: S608  # constants
    except (sqlite3.Error, UnicodeDecodeError):
        return rows
    return rows


def _state(db: sqlite3.Connection) -> tuple[int, State] | None:
    try:
        seq, text = db.execute("SELECT seq, state FROM state WHERE id = 1").fetchone()
        return int(seq), msgspec.json.decode(text, type=State)
    except (sqlite3.Error, msgspec.MsgspecError, TypeError, ValueError):
        return None


def _is_whole(row: Row) -> bool:
    seq, t, wall, monotonic, boot, _, event, decisions = row
    try:
        msgspec.convert([t, wall, monotonic], type=list[float])
        msgspec.json.decode(decisions, type=tuple[Decision, ...])
        msgspec.json.decode(event, type=Event)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return False
    return isinstance(seq, int) and isinstance(boot, str)


def _fold(rows: list[Row]) -> tuple[State | None, int, str]:
    """Fold the newest unbroken run of events that begins where a fold can begin."""
    state, seq, source = None, 0, ""
    running: State | None = None
    before = None
    for row in rows:
        event = msgspec.json.decode(row[6], type=Event)
        if isinstance(event, JournalRecovered) or (row[0] == 1 and isinstance(event, Configured)):
            running = State()
        elif before is None or row[0] != before + 1:
            running = None
        before = row[0]
        if running is not None:
            running = step(running, event)[0]
            state, seq, source = running, row[0], f"the events up to {row[0]}"
    return state, (seq if state is not None else (rows[-1][0] if rows else 0)), source
