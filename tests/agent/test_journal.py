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
from rlagent.journal import SCHEMA_VERSION, Journal, JournalDamagedError, JournalError, Stamp, read
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision


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


@pytest.mark.parametrize("umask", [0o022, 0o000], ids=oct)
def test_the_files_belong_to_their_user_alone(tmp_path, umask):
    before = os.umask(umask)
    try:
        journal = Journal(tmp_path / "journal.sqlite3")
        journal.append(stamp(0), ev.Tick(t=0, wall=WALL), (), State())
    finally:
        os.umask(before)
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


@pytest.fixture
def journal(tmp_path):
    one = Journal(tmp_path / "journal.sqlite3")
    yield one
    one.close()


def append(journal: Journal, event, *decisions: Decision) -> int:
    return journal.append(stamp(event.t), event, decisions, State(t=event.t))


def stopping(t: float, reason: str = "") -> ev.AgentStopping:
    return ev.AgentStopping(t=t, wall=WALL + t, reason=reason or str(t))


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("wal_autocheckpoint", 64), ("user_version", 1)],
)
def test_it_is_kept_by_a_log_that_is_synced_at_each_commit(journal, name, value):
    """What a power cut leaves of it is tested in tests/faults/crash."""
    assert journal._db.execute(f"PRAGMA {name}").fetchone() == (value,)


def test_a_reader_in_the_middle_does_not_keep_the_agent_from_writing(journal, tmp_path):
    for t in range(3):
        append(journal, stopping(t))
    reading = read(tmp_path / "journal.sqlite3")
    assert next(reading).seq == 1
    assert append(journal, stopping(3)) == 4
    assert [entry.seq for entry in reading] == [2, 3]


def test_an_empty_journal_has_no_last_event_and_the_first_state(journal):
    assert (journal.seq, journal.last_stamp(), journal.state, list(journal.entries())) == (0, None, State(), [])


def test_closing_leaves_one_file(tmp_path):
    Journal(tmp_path / "journal.sqlite3").close()
    assert [path.name for path in tmp_path.iterdir()] == ["journal.sqlite3"]


def test_what_decided_nothing_is_left_out_only_when_asked(journal):
    said = Decision(kind="alert", reason="x")
    for event in (
        stopping(0),
        ev.Tick(t=1, wall=WALL),
        ev.CheckpointCommitted(t=2, wall=WALL, game="A", global_step=1),
    ):
        append(journal, event)
        append(journal, event, said)
    assert [entry.seq for entry in journal.entries(quiet=False)] == [1, 2, 4, 6]
    assert [entry.seq for entry in journal.entries()] == [1, 2, 3, 4, 5, 6]


def test_a_wish_is_found_by_its_whole_name_and_the_newest_one(journal):
    for t, name in enumerate(("r-1", "r-2", "r-1", "r-10")):
        append(journal, ev.StopRequested(t=t, wall=WALL, who="ana", why=str(t), request_id=name))
    append(journal, stopping(4, reason='"request_id":"r-1"'))
    assert [journal.wish(name).event.why for name in ("r-1", "r-2", "r-10")] == ["2", "1", "3"]
    assert (journal.wish("r"), journal.wish("")) == (None, None)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
def test_a_schema_that_is_not_known_is_not_read(tmp_path, version):
    path = tmp_path / "journal.sqlite3"
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(JournalError, match=rf"schema {version} can't be read by this rlagent \(up to 1\)"):
        list(read(path))


class Broken:
    """A database in which one kind of statement fails."""

    def __init__(self, db: sqlite3.Connection, word: str | tuple[str, ...], error: sqlite3.Error) -> None:
        self.db, self.word, self.error = db, word, error

    def execute(self, sql: str, *values):
        if sql.startswith(self.word):
            raise self.error
        return self.db.execute(sql, *values)

    def __getattr__(self, name: str):
        return getattr(self.db, name)


@pytest.mark.parametrize("word", ["BEGIN", "INSERT INTO events", "INSERT OR REPLACE", "COMMIT"])
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (sqlite3.OperationalError("disk I/O error"), JournalError, "can't write: disk I/O error"),
        (sqlite3.DatabaseError("disk image is malformed"), JournalDamagedError, "damaged: disk image is malformed"),
    ],
)
def test_a_refused_write_changes_nothing_and_the_next_one_is_made(journal, word, error, kind, said):
    append(journal, stopping(0))
    whole = journal._db
    journal._db = Broken(whole, word, error)
    with pytest.raises(JournalError, match=said) as caught:
        append(journal, stopping(1))
    assert type(caught.value) is kind
    journal._db = whole
    assert (journal.seq, journal.state.t) == (1, 0)
    assert append(journal, stopping(2)) == 2
    assert [entry.event.t for entry in journal.entries()] == [0, 2]


def test_a_disk_that_refuses_even_to_take_it_back_is_the_same_error(journal):
    whole = journal._db
    journal._db = Broken(whole, ("COMMIT", "ROLLBACK"), sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(JournalError, match="can't write: disk I/O error"):
        append(journal, stopping(0))
    whole.execute("ROLLBACK")  # as SQLite does by itself then


def test_raw_events_are_taken_over_all_or_none(journal, tmp_path):
    rows = [(seq, 0.0, WALL, 0.0, "b", "tick", '{"kind":"tick","t":0,"wall":0}', "[]") for seq in (3, 9, 4)]
    journal.restore([])
    assert journal.seq == 0
    journal.restore(rows)
    assert (journal.seq, [entry.seq for entry in journal.entries()]) == (9, [3, 4, 9])
    with pytest.raises(JournalError, match="can't write: UNIQUE constraint failed"):
        journal.restore([(10, *rows[0][1:]), rows[0]])
    assert [entry.seq for entry in journal.entries()] == [3, 4, 9]
    journal.skip_to(7)
    assert append(journal, stopping(1)) == 10
    journal.skip_to(20)
    assert append(journal, stopping(2)) == 21


class Reserve:
    """A journal's pages ahead of need."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.wal = journal, journal.path.with_name("journal.sqlite3-wal")
        journal._db.execute("CREATE TABLE filler (page BLOB)")

    @property
    def free(self) -> int:
        return self.journal._db.execute("PRAGMA freelist_count").fetchone()[0]

    def use_up(self, left: int) -> None:
        while self.free > left:
            self.journal._db.execute("INSERT INTO filler VALUES (zeroblob(3000))")
        assert self.free == left

    def renew(self) -> bool:
        """Whether the journal adds to it when it looks."""
        said: list[str] = []
        self.journal._db.set_trace_callback(said.append)
        self.journal._reserve()
        self.journal._db.set_trace_callback(None)
        return any(statement.startswith("INSERT INTO reserve") for statement in said)


def test_it_owns_pages_ahead_of_need_and_renews_them_when_half_is_used(journal):
    reserve = Reserve(journal)
    assert reserve.free >= 60
    assert reserve.wal.stat().st_size >= 64 * 4096
    reserve.use_up(32)
    assert (reserve.renew(), reserve.free) == (False, 32)
    reserve.use_up(31)
    assert reserve.renew() is True
    assert reserve.free >= 64


def test_it_renews_a_write_ahead_log_that_was_cut(journal):
    reserve = Reserve(journal)
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert reserve.wal.stat().st_size == 0
    assert reserve.renew() is True
    assert reserve.wal.stat().st_size >= 64 * 4096


def test_every_64th_event_looks_after_the_reserve(journal):
    looked = []
    journal._reserve = lambda: looked.append(journal.seq)
    for t in range(130):
        append(journal, stopping(t))
    assert looked == [64, 128]


def test_a_full_disk_is_no_error_of_the_reserve(journal):
    whole = journal._db
    Reserve(journal).use_up(0)
    journal._db = Broken(whole, "INSERT INTO reserve", sqlite3.OperationalError("database or disk is full"))
    journal._reserve()
    assert not whole.in_transaction
    journal._db = whole
    assert append(journal, stopping(0)) == 1
