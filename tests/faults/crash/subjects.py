"""What writes durable state, as small programs that note what they begin and what they have acknowledged.

Run under `record.c`: `python -m faults.crash.subjects NAME FOLDER TRACE` records one undisturbed run; with `--fail`
instead of a trace each call of a run fails in turn, and what is left is checked each time.
"""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from policy_driver import rules
from rlagent import files, journal, recovery, shim
from rlagent.journal import Journal, JournalError, Stamp
from rlagent.policy import State
from rlagent.policy import events as ev
from rltrainer.checkpoint_file import Header
from rltrainer.checkpoint_store import CheckpointStore
from rltrainer.progress_file import ProgressFile
from rltrainer.tally import Tally

OPERATIONS = 8
FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "short": 0}
FEW_PAGES = 8
"""Instead of the journal's own reserve: fewer calls to go through."""


@dataclass(frozen=True)
class Subject:
    """One kind of durable state."""

    write: Callable[[Path, int], None]
    """Do operation number n; returning acknowledges it. Raises OSError, JournalError: not done."""
    read: Callable[[Path], list[int]]
    """Return the numbers that can be read back, in order; [] for nothing yet."""
    durable: bool = True
    """An acknowledged one survives a power cut."""
    all_of_them: bool = False
    """Every acknowledged one is to be read back, not only the last."""
    end: Callable[[], None] = lambda: None
    """Let go of what stays open between two operations."""
    operations: int = OPERATIONS


def write_journal(folder: Path, number: int) -> None:
    one = Journal(folder / "journal.sqlite3")
    try:
        append(one, number)
    finally:
        one.close()


def append(one: Journal, number: int) -> None:
    for part in (number, number + 0.5):
        event = ev.AgentStopping(t=part, wall=part, reason=str(part))
        one.append(Stamp(t=part, wall=part, monotonic=part, boot="b"), event, (), State(t=part))


class OpenJournal:
    """A journal that stays open over all operations, as an agent's does for months: no close makes up for a sync."""

    def __init__(self) -> None:
        self._one: Journal | None = None

    def write(self, folder: Path, number: int) -> None:
        if self._one is None:
            self._one = Journal(folder / "journal.sqlite3")
        append(self._one, number)

    def end(self) -> None:
        if self._one is not None:
            self._one.close()
        self._one = None


def read_journal(folder: Path) -> list[int]:
    one = Journal(folder / "journal.sqlite3")
    try:
        entries = list(one.entries())
        found = [float(entry.event.reason) for entry in entries]
        assert found == sorted(set(found)), found
        assert one.state.t == (found[-1] if found else 0.0), (one.state.t, found)
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    finally:
        one.close()
    return [int(number) for number in found if number % 1 == 0.5]


GARBAGE = b"this is no journal " * 500
KNOWN = recovery.Known(now=Stamp(t=0.0, wall=0.0, monotonic=0.0, boot="b"), rules=rules(), told=None, attempts={})


def write_damaged(folder: Path, number: int) -> None:
    """Put a damaged journal in place (operation 1), then do what an agent does that finds it (operation 2)."""
    path = folder / "journal.sqlite3"
    if number == 1:
        files.replace(path, GARBAGE)
    else:
        recovery.open_journal(path, KNOWN).close()


def read_damaged(folder: Path) -> list[int]:
    """Return 1 when the damaged one is still there, in place or beside, and 2 when a good one is in its place."""
    path = folder / "journal.sqlite3"
    there = path.read_bytes() if path.exists() else b""
    found = [1] if GARBAGE in (there, *(one.read_bytes() for one in recovery.kept(path))) else []
    found += [2] if there.startswith(b"SQLite format 3") else []
    one = recovery.open_journal(path, KNOWN)  # whatever happened, the next agent goes on
    assert 1 not in found or [type(entry.event) for entry in one.entries(limit=1)] == [ev.JournalRecovered]
    one.close()
    return found


def read_json(name: str) -> Callable[[Path], list[int]]:
    def read(folder: Path) -> list[int]:
        path = folder / name
        return [int(json.loads(path.read_bytes())["global_step"])] if path.exists() else []

    return read


def write_progress(folder: Path, number: int) -> None:
    failed: list[str] = []
    ProgressFile(folder / "progress.json", failed.append).write(global_step=number)
    if failed:
        raise OSError(failed[0])


def write_checkpoint(folder: Path, number: int) -> None:
    tally = Tally(global_step=number)
    header = Header(game="pong", written_by="1", saved_at=1.0, tally=tally, metrics_offset=0)
    CheckpointStore(folder, 2, str).save(header, bytes([number]) * 700, bytes([number]) * 5000)


def read_checkpoint(folder: Path) -> list[int]:
    found = CheckpointStore(folder, 2, str).newest()
    if found is None:
        return []
    number = found.header.tally.global_step
    assert (found.envs, found.payload) == (bytes([number]) * 700, bytes([number]) * 5000)
    return [number]


def content(number: int) -> bytes:
    return json.dumps({"global_step": number, "padding": "x" * 3000}).encode()


OPEN = OpenJournal()
SUBJECTS = {
    "journal": Subject(write_journal, read_journal, all_of_them=True),
    "open journal": Subject(OPEN.write, read_journal, all_of_them=True, end=OPEN.end),
    "damaged journal": Subject(write_damaged, read_damaged, all_of_them=True, operations=2),
    "state.toml": Subject(lambda f, n: files.replace(f / "state", content(n)), read_json("state")),
    "status.json": Subject(
        lambda f, n: files.replace(f / "status.json", content(n), durable=False),
        read_json("status.json"),
        durable=False,
    ),
    "exit.json": Subject(
        lambda f, n: shim.replace(str(f / "exit.json"), {"global_step": n}, durable=True), read_json("exit.json")
    ),
    "attempt.json": Subject(
        lambda f, n: shim.replace(str(f / "attempt.json"), {"global_step": n}, durable=False),
        read_json("attempt.json"),
        durable=False,
    ),
    "progress": Subject(write_progress, read_json("progress.json"), durable=False),
    "checkpoint": Subject(write_checkpoint, read_checkpoint),
}


def check(subject: Subject, folder: Path, begun: int, acked: list[int]) -> None:
    """Fail unless what is read back is old or new, whole, and not older than what was acknowledged."""
    seen = subject.read(folder)
    assert all(number <= begun for number in seen), (seen, begun)
    if subject.all_of_them:
        assert set(acked) <= set(seen), (seen, acked)
    elif acked:
        assert seen, f"nothing to read, though {acked[-1]} was acknowledged"
        assert seen[-1] >= acked[-1], (seen, acked)


def record(name: str, folder: Path, trace: Path) -> None:
    """Do all operations once, recorded."""
    recorder = ctypes.CDLL(None)
    recorder.record_begin(str(folder).encode(), str(trace).encode())
    for number in range(1, SUBJECTS[name].operations + 1):
        recorder.record_note(f"begin {number}".encode())
        SUBJECTS[name].write(folder, number)
        recorder.record_note(f"ack {number}".encode())
    recorder.record_end()


def fail_each_call(name: str, folder: Path) -> dict[str, int]:
    """Let each call of a run fail in turn, in each way; returns how many runs there were, by fault."""
    recorder, subject, runs = ctypes.CDLL(None), SUBJECTS[name], {}
    for fault, number in FAULTS.items():
        at, calls = 0, 1
        while at < calls:
            at += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            recorder.record_begin(str(folder).encode(), b"")
            recorder.record_fail(at, number)
            acked = []
            for operation in range(1, min(4, subject.operations) + 1):
                try:
                    subject.write(folder, operation)
                except (OSError, JournalError):
                    continue
                acked.append(operation)
            calls = recorder.record_end()
            subject.end()
            try:
                check(subject, folder, 4, acked)
            except Exception as error:
                raise AssertionError(
                    f"{name}: {fault} at call {at} of {calls}: {error!r}; acknowledged {acked}"
                ) from error
        runs[fault] = at
    return runs


if __name__ == "__main__":
    journal.RESERVE_PAGES = FEW_PAGES
    which, where, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if what == "--fail":
        print(json.dumps(fail_each_call(which, where)))
    else:
        record(which, where, Path(what))
