"""The journal: an append-only log of events with the decisions they caused, in SQLite.

Owns durability: an event, its decisions and the state they lead to are written in one transaction (WAL, synchronous
FULL) before anything is acted on, so that the state on disk is always the fold of the events on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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


class JournalError(Exception):
    """The journal can't be used: which file, why, what to do."""

    def __init__(self, path: Path, fault: str) -> None:
        self.path, self.fault = path, fault
        super().__init__(path, fault)

    def __str__(self) -> str:
        """Speak to a person."""
        return f"journal {self.path}: {self.fault}"


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


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal."""

    seq: int
    stamp: Stamp
    event: Event
    decisions: tuple[Decision, ...]


class Journal:
    """An open journal; one writer."""

    def __init__(self, path: Path) -> None:
        """Open or create a journal. Raises JournalError."""
        self.path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            # Readable by its user only; the directory's mode does not protect a copied file.
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
            self._seq, self._state = self._load()
        except (sqlite3.OperationalError, OSError) as error:
            raise JournalError(path, f"can't open: {error}; is the disk full, is it readable by this user?") from error
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise JournalError(
                path, f"{error}; move it away to start afresh: trainers keep their checkpoints"
            ) from error

    @property
    def state(self) -> State:
        """The state after the last journaled event."""
        return self._state

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
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise JournalError(self.path, f"can't write: {error}") from error
        self._seq, self._state = seq, state
        return seq

    def last_stamp(self) -> Stamp | None:
        """Return the stamp of the last event, or None in an empty journal."""
        row = self._db.execute("SELECT t, wall, monotonic, boot FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else Stamp(t=row[0], wall=row[1], monotonic=row[2], boot=row[3])

    def entries(self, *, since_wall: float = 0.0, limit: int = -1, quiet: bool = True) -> Iterator[Entry]:
        """Return the newest `limit` entries since a wall-clock time, oldest first; `quiet` ones decided nothing."""
        where = "" if quiet else "AND NOT (kind IN ('tick', 'checkpoint_committed') AND decisions = '[]')"
        rows = self._db.execute(
            "SELECT * FROM (SELECT seq, t, wall, monotonic, boot, event, decisions FROM events "  # noqa: S608  # constants
            f"WHERE wall >= ? {where} ORDER BY seq DESC LIMIT ?) ORDER BY seq",
            (since_wall, limit),
        )
        for seq, t, wall, monotonic, boot, event, decisions in rows:
            yield Entry(
                seq=seq,
                stamp=Stamp(t=t, wall=wall, monotonic=monotonic, boot=boot),
                event=msgspec.json.decode(event, type=Event),
                decisions=msgspec.json.decode(decisions, type=tuple[Decision, ...]),
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()

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


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
