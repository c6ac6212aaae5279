"""The journal: an append-only log of events with the decisions they caused, in SQLite.

Owns durability: an event, its decisions and the state they lead to are written in one transaction (WAL, synchronous
FULL) before anything is acted on, so that the state on disk is always the fold of the events on disk.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from rlagent.policy import State
from rlagent.policy.decisions import Decision
from rlagent.policy.events import Event

MIGRATIONS: Final = (
    # 1: events, and the state after the last of them
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        t REAL NOT NULL,
        wall REAL NOT NULL,
        monotonic REAL NOT NULL,
        boot TEXT NOT NULL,
        kind TEXT NOT NULL,
        event TEXT NOT NULL,
        decisions TEXT NOT NULL
    );
    CREATE INDEX events_by_wall ON events (wall);
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, state TEXT NOT NULL);
    """,
)
"""One script for each schema version; a journal of an older version is brought up to date when it is opened."""
SCHEMA_VERSION: Final = len(MIGRATIONS)
RESERVE_PAGES: Final = 64
"""Pages (4 KiB) that the journal owns ahead of need, so that a full disk does not silence it: some hundred events."""
_WISHES: Final = (
    "kind IN ('hold', 'release', 'rollback', 'scale', 'stop', 'start', 'reboot_announced', 'reboot_withdrawn')"
)
# An index alone is no new schema: the agent of an older release, after a rollback, keeps it up to date unawares.
_INDEX: Final = f"CREATE INDEX IF NOT EXISTS wishes ON events (seq) WHERE {_WISHES}"


class JournalError(Exception):
    """The journal can't be used: which file, why, what to do."""

    def __init__(self, path: Path, fault: str) -> None:
        self.path, self.fault = path, fault
        super().__init__(path, fault)

    def __str__(self) -> str:
        """Speak to a person."""
        return f"journal {self.path}: {self.fault}"


class JournalDamagedError(JournalError):
    """The file's content is not what was written; `rlagent.recovery` saves what it can."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """When and in which boot an event was journaled."""

    t: float
    """Policy time, seconds."""
    wall: float
    """Seconds since the epoch."""
    monotonic: float
    """The kernel's monotonic clock, seconds."""
    boot: str
    """Boot identity."""


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """An event that another version of the agent wrote, and that this one does not know: after a rollback."""

    kind: str


class _Reason(msgspec.Struct):
    reason: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal."""

    seq: int
    stamp: Stamp
    event: Event | Foreign
    decisions: tuple[Decision, ...]


class Journal:
    """An open journal; one writer."""

    def __init__(self, path: Path) -> None:
        """Open or create a journal. Raises JournalError, JournalDamagedError."""
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            # Readable by its user only; the directory's mode does not protect a copied file.
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
            self._check()
            self._db.execute(_INDEX)
            self._seq, self._state = self._load()
            # The write-ahead log is begun anew before it outgrows its reserve.
            self._db.execute(f"PRAGMA wal_autocheckpoint = {RESERVE_PAGES}")
            self._reserve()
        except (sqlite3.OperationalError, OSError) as error:
            raise JournalError(path, f"can't open: {error}; is the disk full, is it readable by this user?") from error
        except msgspec.ValidationError as error:
            raise JournalError(
                path,
                f"its state can't be read ({error}): written by a newer rlagent? Install that version again, or move "
                "it away to start afresh: trainers keep their checkpoints",
            ) from error
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise JournalDamagedError(path, f"damaged: {error}") from error

    @property
    def state(self) -> State:
        """The state after the last journaled event."""
        return self._state

    @property
    def seq(self) -> int:
        """The number of the last journaled event, 0 in an empty journal."""
        return self._seq

    def append(self, stamp: Stamp, event: Event, decisions: tuple[Decision, ...], state: State) -> int:
        """Write one event with what it led to, durably; returns its number. Raises JournalError: nothing changed."""
        seq = self._seq + 1
        row = (
            seq,
            stamp.t,
            stamp.wall,
            stamp.monotonic,
            stamp.boot,
            type(event).__struct_config__.tag,
            _text(event),
            _text(decisions),
        )
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (seq, _text(state)))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if _is_damage(error):
                raise JournalDamagedError(self.path, f"damaged: {error}") from error
            raise JournalError(self.path, f"can't write: {error}") from error
        self._seq, self._state = seq, state
        if seq % RESERVE_PAGES == 0:
            self._reserve()
        return seq

    def restore(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Take over raw events of another journal, as `rlagent.recovery` read them. Raises JournalError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
            self._seq = int(self._db.execute("SELECT max(seq) FROM events").fetchone()[0] or 0)
        except sqlite3.Error as error:
            self._roll_back()
            raise JournalError(self.path, f"can't write: {error}") from error

    def skip_to(self, seq: int) -> None:
        """Number the next event after `seq`, which was given before."""
        self._seq = max(self._seq, seq)

    def last_stamp(self) -> Stamp | None:
        """Return the stamp of the last event, or None in an empty journal."""
        row = self._db.execute("SELECT t, wall, monotonic, boot FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else Stamp(t=row[0], wall=row[1], monotonic=row[2], boot=row[3])

    def entries(self, *, since_wall: float = -math.inf, limit: int = -1, quiet: bool = True) -> Iterator[Entry]:
        """Return the newest `limit` entries since a wall-clock time, oldest first; `quiet` ones decided nothing."""
        yield from _entries(self._db, since_wall, limit, quiet=quiet)

    def wish(self, request_id: str) -> Entry | None:
        """Return the operator's wish that was journaled under this name, if there is one."""
        named = f'"request_id":{_text(request_id)}'
        row = self._db.execute(
            "SELECT seq, t, wall, monotonic, boot, kind, event, decisions FROM events "  # noqa: S608  # constants
            f"WHERE {_WISHES} AND instr(event, ?) > 0 ORDER BY seq DESC LIMIT 1",
            (named,),
        ).fetchone()
        return None if row is None else _entry(row)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _roll_back(self) -> None:
        # A disk that fails may fail here too: SQLite then rolls back by itself.
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _reserve(self) -> None:
        """Keep free pages in the file and in its write-ahead log; a disk that is full already gives none."""
        wal = self.path.with_name(self.path.name + "-wal")
        free, size = (int(self._db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("freelist_count", "page_size"))
        if free >= RESERVE_PAGES // 2 and wal.exists() and wal.stat().st_size >= RESERVE_PAGES * size:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("CREATE TABLE IF NOT EXISTS reserve (page BLOB)")
            self._db.execute("INSERT INTO reserve VALUES (zeroblob(?))", (RESERVE_PAGES * size,))
            self._db.execute("COMMIT")
            self._db.execute("DROP TABLE reserve")
            self._db.execute("PRAGMA wal_checkpoint(RESTART)")
        except sqlite3.Error:
            self._roll_back()

    def _check(self) -> None:
        fault = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if fault != "ok":
            raise sqlite3.DatabaseError(" ".join(str(fault).split()))

    def _migrate(self) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise JournalError(
                self.path,
                f"written by a newer rlagent (schema {version}, here {SCHEMA_VERSION}); install that version again",
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            # One transaction a version: killed in between, the next start goes on where it stopped.
            self._db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")

    def _load(self) -> tuple[int, State]:
        row = self._db.execute("SELECT seq, state FROM state WHERE id = 1").fetchone()
        return (0, State()) if row is None else (int(row[0]), msgspec.json.decode(row[1], type=State))


def _event(kind: str, text: str) -> Event | Foreign:
    try:
        event: Event = msgspec.json.decode(text, type=Event)
    except msgspec.ValidationError:
        return Foreign(kind=kind)
    return event


def _decisions(text: str) -> tuple[Decision, ...]:
    """Read decisions; of those that another version alone knows only the reason is left."""
    try:
        return msgspec.json.decode(text, type=tuple[Decision, ...])
    except msgspec.ValidationError:
        reasons = msgspec.json.decode(text, type=tuple[_Reason, ...])
        return tuple(Decision(kind="alert", reason=one.reason) for one in reasons)


def _is_damage(error: sqlite3.Error) -> bool:
    # Its subclasses tell of full disks, locks and wrong statements.
    return type(error) is sqlite3.DatabaseError


def _entry(row: tuple[Any, ...]) -> Entry:
    seq, t, wall, monotonic, boot, kind, event, decisions = row
    return Entry(
        seq=seq,
        stamp=Stamp(t=t, wall=wall, monotonic=monotonic, boot=boot),
        event=_event(kind, event),
        decisions=_decisions(decisions),
    )


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def read(path: Path) -> Iterator[Entry]:
    """Read a journal's entries, oldest first, without changing it; an agent may be writing. Raises JournalError."""
    if not path.is_file():
        raise JournalError(path, "no such file; a host's journal is var/journal.sqlite3 under its rlfleet_root")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            version = int(database.execute("PRAGMA user_version").fetchone()[0])
            if not 0 < version <= SCHEMA_VERSION:
                raise JournalError(path, f"schema {version} can't be read by this rlagent (up to {SCHEMA_VERSION})")
            yield from _entries(database, -math.inf, -1, quiet=True)
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise JournalError(path, f"can't be read: {error}") from error


def _entries(database: sqlite3.Connection, since_wall: float, limit: int, *, quiet: bool) -> Iterator[Entry]:
    where = "" if quiet else "AND NOT (kind IN ('tick', 'checkpoint_committed') AND decisions = '[]')"
    rows = database.execute(
        "SELECT * FROM (SELECT seq, t, wall, monotonic, boot, kind, event, decisions FROM events "  # noqa: S608  # constants
        f"WHERE wall >= ? {where} ORDER BY seq DESC LIMIT ?) ORDER BY seq",
        (since_wall, limit),
    )
    yield from map(_entry, rows)
