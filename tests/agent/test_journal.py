"""The journal: the state on disk is the fold of the events on disk, whatever interrupts it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from policy_driver import WALL, Host, rules
from rlagent import history
from rlagent.journal import SCHEMA_VERSION, Journal, JournalDamagedError, JournalError, Stamp
from rlagent.policy import State, step
from rlagent.policy import events as ev


def stamp(t: float) -> Stamp:
    return Stamp(t=t, wall=WALL + t, monotonic=t, boot="b/1")


def refold(journal: Journal) -> State:
    state = State()
    for entry in journal.entries():
        state, decisions = step(state, entry.event)
        assert decisions == entry.decisions
    return state


def test_what_was_written_is_there_after_reopening(tmp_path):
    host = Host(rules()).up().climb()
    host.demote_by_crashes()
    journal = Journal(tmp_path / "journal.sqlite3")
    for event, decisions, state in host.log:
        journal.append(stamp(event.t), event, tuple(decisions), state)
    journal.close()
    reopened = Journal(tmp_path / "journal.sqlite3")
    assert reopened.state == host.state
    assert refold(reopened) == host.state
    assert reopened.last_stamp() == stamp(host.log[-1][0].t)


def test_entries_are_the_newest_ones_oldest_first(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    for t in range(10):
        journal.append(stamp(t), ev.AgentStopping(t=t, wall=WALL + t, reason=str(t)), (), State())
    assert [entry.event.reason for entry in journal.entries(limit=3)] == ["7", "8", "9"]
    assert [entry.event.reason for entry in journal.entries(since_wall=WALL + 8)] == ["8", "9"]
    assert [entry.seq for entry in journal.entries()] == list(range(1, 11))


def test_the_files_belong_to_their_user_alone(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.append(stamp(0), ev.Tick(t=0, wall=WALL), (), State())
    assert [oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == ["0o600"] * 3


def test_events_of_a_newer_version_are_shown_and_hide_no_others(tmp_path):
    """After a rollback the old agent goes on with what the new one wrote."""
    journal = Journal(tmp_path / "journal.sqlite3")
    for t in range(2):
        journal.append(stamp(t), ev.AgentStopping(t=t, wall=WALL + t, reason=str(t)), (), State())
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite3") as newer:
        event = '{"kind":"teleported","t":2,"wall":2,"to":"mars"}'
        decisions = '[{"kind":"teleport","reason":"to mars: 4 > 3","speed":9}]'
        newer.execute("INSERT INTO events VALUES (3, 2, ?, 2, 'b/1', 'teleported', ?, ?)", (WALL, event, decisions))
        newer.execute("UPDATE state SET seq = 3, state = json_set(state, '$.planet', 'mars')")
    old = Journal(tmp_path / "journal.sqlite3")
    shown = [history.entry(entry) for entry in old.entries()]
    assert [line.kind for line in shown] == ["agent_stopping", "agent_stopping", "teleported"]
    assert (shown[2].summary, shown[2].decisions) == ("written by another version of rlagent", ["to mars: 4 > 3"])
    assert old.append(stamp(3), ev.Tick(t=3, wall=WALL), (), old.state) == 4


def test_a_state_that_cannot_be_read_is_refused_with_the_way_out(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.append(stamp(0), ev.Tick(t=0, wall=WALL), (), State())
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite3") as newer:
        newer.execute("UPDATE state SET state = json_set(state, '$.mode', 7)")
    with pytest.raises(JournalError, match=r"written by a newer rlagent\? Install that version again"):
        Journal(tmp_path / "journal.sqlite3")


def test_a_newer_schema_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "journal.sqlite3"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(JournalError, match="newer rlagent"):
        Journal(path)


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(JournalDamagedError, match="not a database"):
        Journal(path)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_full_disk_is_an_error_and_changes_nothing(tmp_path):
    """The limit on the file size stands in for the full disk: write() fails in the same way."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from rlagent.journal import Journal, JournalError, Stamp
        from rlagent.policy import State
        from rlagent.policy import events as ev
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = Journal(__import__("pathlib").Path(sys.argv[1]))
        def append(t):
            event = ev.AgentStopping(t=t, wall=t, reason="x" * 5000)
            journal.append(Stamp(t=t, wall=t, monotonic=t, boot="b/1"), event, (), State(t=t))
        append(1.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        written = 1
        try:
            for t in range(2, 1000):
                append(float(t))
                written += 1
        except JournalError as error:
            assert journal.state.t == written, (journal.state.t, written)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            append(5000.0)
            print(written, sum(1 for _ in journal.entries()), error)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "j.sqlite3")], capture_output=True, text=True, check=True
    )
    written, entries, *error = done.stdout.split()
    assert int(entries) == int(written) + 1
    assert "can't" in error


def test_killed_while_writing_it_holds_a_prefix_and_its_fold(tmp_path):
    """Twenty real SIGKILLs; each acknowledged event must be there, and nothing torn."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from policy_driver import Host, rules
        from rlagent.journal import Journal, Stamp
        from rlagent.policy import step
        from rlagent.policy import events as ev
        journal = Journal(Path(sys.argv[1]))
        state, t = journal.state, journal.state.t
        if state.rules is None:
            event = ev.Configured(t=0, wall=0, rules=rules())
            state, decisions = step(state, event)
            journal.append(Stamp(t=0, wall=0, monotonic=0, boot="b/1"), event, decisions, state)
        while True:
            t += 1
            event = ev.AgentStarted(t=t, wall=t, boot=str(int(t) // 7), version="1")
            state, decisions = step(state, event)
            journal.append(Stamp(t=t, wall=t, monotonic=t, boot="b/1"), event, decisions, state)
            print(int(t), flush=True)
        """
    )
    path = tmp_path / "journal.sqlite3"
    tests = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    acknowledged = 0
    for round_number in range(20):
        process = subprocess.Popen([sys.executable, "-c", script, str(path), tests], stdout=subprocess.PIPE, text=True)
        for _ in range(3 + round_number):
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        acknowledged = int(rest[-1]) if rest and rest[-1].isdigit() else acknowledged
        process.wait()
        journal = Journal(path)
        assert journal.state.t >= acknowledged
        assert refold(journal) == journal.state
        journal.close()
