"""Whatever interrupts a write, at any call: the old state is read back or the new one, nothing acknowledged is lost.

What is not synced (status.json, progress and attempt files, replaced each second) may be unreadable after a power cut,
and is then no report; it is never a wrong one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from faults.crash.replay import every_prefix, read
from faults.crash.subjects import FAULTS, FEW_PAGES, SUBJECTS, check, read_journal
from rlagent import journal

SOURCE = Path(__file__).with_name("record.c")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    library = tmp_path_factory.mktemp("record") / "record.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.fixture(autouse=True)
def few_pages(monkeypatch):
    """Keep the journal's reserve as small as the recorded programs do."""
    monkeypatch.setattr(journal, "RESERVE_PAGES", FEW_PAGES)


@pytest.fixture
def memory():
    """A folder in memory: thousands of small disks are made in it."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:  # noqa: S108
        yield Path(folder)


def run(recorder, name: str, folder: Path, what: str) -> str:
    environment = {**os.environ, "LD_PRELOAD": str(recorder), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "faults.crash.subjects", name, str(folder), what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", SUBJECTS)
def test_after_every_prefix_of_its_calls_it_is_old_or_new(recorder, memory, name):
    folder, trace, subject = memory / "original", memory / "trace", SUBJECTS[name]
    folder.mkdir()
    run(recorder, name, folder, str(trace))
    calls = read(trace)
    assert sum(call.op == "note" for call in calls) == 2 * subject.operations
    assert {"write", "rename"} <= {call.op for call in calls} or subject.read is read_journal
    assert not subject.durable or sum(call.op == "sync" for call in calls) >= subject.operations
    assert name != "open journal" or is_written_back_on_the_way(calls)
    checked: set[object] = set()
    for remains in every_prefix(calls, str(folder)):
        lost = remains.cut and not subject.durable
        if (lost, remains.digest) in checked:
            continue
        checked.add((lost, remains.digest))
        place = memory / f"state{len(checked)}"
        place.mkdir()
        remains.put(str(folder), place)
        try:
            check(subject, place, remains.begun, [] if lost else remains.acked)
        except ValueError:
            assert lost, remains.how  # no JSON: nobody takes it for a report
        except Exception as error:
            raise AssertionError(f"{name}: {remains.how}: {error!r}") from error
        for path in sorted(place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        place.rmdir()
    assert len(checked) > 20


def is_written_back_on_the_way(calls) -> bool:
    """Whether the write-ahead log was written back into the journal, and begun anew, between two operations."""
    acks = [at for at, call in enumerate(calls) if call.op == "note" and call.path.startswith("ack")]
    written = [call for call in calls[acks[0] : acks[-1]] if call.op == "write"]
    names = [(Path(call.path).name, call.offset) for call in written]
    return "journal.sqlite3" in dict(names) and ("journal.sqlite3-wal", 0) in names


@pytest.mark.parametrize("name", SUBJECTS)
def test_whichever_call_fails_it_is_old_or_new(recorder, memory, name):
    runs = json.loads(run(recorder, name, memory / "failing", "--fail"))
    assert runs.keys() == FAULTS.keys()
    assert min(runs.values()) > 5
