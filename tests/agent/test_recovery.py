"""A damaged journal: it is kept, what can be read is saved, and nothing begins afresh in silence."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3

import msgspec
import pytest

from policy_driver import WALL, Host, rules
from rlagent import recovery, salvage
from rlagent.journal import Journal, JournalDamagedError, Stamp
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.summary import GameSummary, IncidentSummary, Summary

EVENTS = 400


def stamp(t: float) -> Stamp:
    return Stamp(t=t, wall=WALL + t, monotonic=t, boot="b/1")


def known(told: Summary | None = None, **attempts: int) -> recovery.Known:
    return recovery.Known(now=stamp(0), rules=rules(), told=told, attempts=attempts)


def told(seq: int, **changes) -> Summary:
    values = {"mode": "medium", "ladder": ["light", "medium"], "stopped": False, "agent_version": "1", "host_uuid": "u"}
    return Summary(**(values | {"journal_seq": seq} | changes))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A journal of a host that was promoted, and then lived on for some hundred events."""
    host = Host(rules()).up().climb()
    while len(host.log) < EVENTS:
        host.checkpoint(at=host.t + 1)
        host.crash_and_recover("A", at=host.t + 4000, checkpoint=True, recover_if_settled=True)
    journal = Journal(tmp_path_factory.mktemp("original") / "journal.sqlite3")
    for event, decisions, state in host.log:
        journal.append(stamp(event.t), event, tuple(decisions), state)
    journal.close()
    return journal.path


@pytest.fixture
def path(original, tmp_path):
    """A copy of it, to be damaged."""
    shutil.copyfile(original, tmp_path / "journal.sqlite3")
    return tmp_path / "journal.sqlite3"


def pages_of(path, table: str) -> list[int]:
    """Return the numbers of a table's leaf pages, the first being 0."""
    with sqlite3.connect(path) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    content = path.read_bytes()
    leaves = [n for n in range(1, len(content) // size) if content[n * size] == 0x0D]
    return [root - 1] if root - 1 in leaves else [n for n in leaves if b"trainer_" in content[n * size :][:size]]


def overwrite(path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(os.urandom(4096))


def reopened(path, **more) -> Journal:
    return recovery.open_journal(path, known(**more))


def but_wall(state: State) -> State:
    """The state without the wall clock, which is that of the recovery."""
    return msgspec.structs.replace(state, wall=0.0)


def last_entry(journal: Journal):
    return list(journal.entries(limit=1))[0]  # noqa: RUF015  # entries() is no container


def test_a_whole_journal_is_left_alone(path):
    journal = reopened(path)
    assert recovery.kept(path) == []
    assert not any(isinstance(entry.event, ev.JournalRecovered) for entry in journal.entries())


def test_a_page_of_events_costs_those_events_only(path):
    whole = Journal(path)
    state, seq = whole.state, whole.seq
    whole.close()
    leaves = pages_of(path, "events")
    overwrite(path, leaves[len(leaves) // 2])
    damaged = path.read_bytes()
    journal = reopened(path)
    assert [p.read_bytes() for p in recovery.kept(path)] == [damaged]
    entry = last_entry(journal)
    assert isinstance(entry.event, ev.JournalRecovered)
    assert entry.seq == seq + 1
    assert entry.event.state == state
    assert but_wall(journal.state) == but_wall(state)
    numbers = [entry.seq for entry in journal.entries()]
    assert numbers == sorted(set(numbers))
    assert EVENTS * 0.8 < len(numbers) < EVENTS
    assert {1, seq} <= set(numbers)
    assert "the state is from the journal (medium" in entry.decisions[0].reason
    assert [d.kind for d in entry.decisions] == ["alert"]


def test_a_lost_state_is_the_fold_of_the_events(path):
    whole = Journal(path)
    state = whole.state
    whole.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE state SET state = substr(state, 1, 40)")
    journal = reopened(path)
    assert but_wall(journal.state) == but_wall(state)
    assert "the state is from the events up to" in last_entry(journal).decisions[0].reason


def test_a_lost_state_and_lost_events_leave_the_fold_up_to_the_gap_and_state_toml(path):
    seq = Journal(path).seq
    leaves = pages_of(path, "events")
    overwrite(path, leaves[len(leaves) // 2])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE state SET state = 'x'")
    journal = reopened(path, told=told(seq, mode="light", failed_tries={"medium": 2}))
    assert (journal.state.mode, journal.state.failed_tries) == ("light", {"medium": 2})
    assert "brought up to date from state.toml" in last_entry(journal).decisions[0].reason


@pytest.mark.parametrize("content", [b"", b"not a database " * 1000, os.urandom(50_000)])
def test_without_a_readable_page_state_toml_tells(path, content):
    path.write_bytes(content)
    for side in path.parent.glob("*-wal"):
        side.unlink()
    games = [GameSummary(game="A", state="RUNNING", attempt=7), GameSummary(game="B", state="FATAL", attempt=5)]
    incident = IncidentSummary(at="2027-01-15T07:59:00Z", mode="medium", what="reboot", counts=True)
    summary = told(900, games=games, incidents=[incident], held_in="medium", failed_tries={"medium": 1}, boot="b/1")
    journal = reopened(path, told=summary, A=7, B=5)
    state = journal.state
    assert state.mode == "medium"
    assert state.hold.mode == "medium"
    assert [(g.status, g.attempt) for g in state.games[:3]] == [("STARTING", 7), ("FATAL", 5), ("QUEUED", 0)]
    assert [i.symptoms for i in state.counted(state.t)] == [("reboot",)]
    assert state.retry_at == {"medium": state.t + 3600}
    assert last_entry(journal).seq == 901
    assert "the state is from state.toml (medium" in last_entry(journal).decisions[0].reason
    assert len(recovery.kept(path)) == (1 if content else 0)


def test_with_nothing_at_all_it_begins_at_the_lowest_mode_and_says_so(path):
    path.write_bytes(b"garbage" * 1000)
    journal = reopened(path, A=3)
    assert journal.state.mode == "light"
    assert journal.state.game("A").attempt == 4
    assert "the state is from nothing but the configuration" in last_entry(journal).decisions[0].reason


def test_a_lost_tail_is_noticed_by_what_state_toml_acknowledged(path):
    """A write-ahead log with a damaged frame is cut there by SQLite, without a word."""
    journal = Journal(path)
    seq = journal.seq
    for number in range(5):
        t = journal.state.t + 1
        event = ev.StopRequested(t=t, wall=WALL + t, who="ana", why=str(number))
        state, decisions = step(journal.state, event)
        journal.append(stamp(t), event, decisions, state)
    wal = path.with_name("journal.sqlite3-wal")
    content = bytearray(wal.read_bytes())
    journal.close()
    wal.write_bytes(content[:32] + b"\xff" * (len(content) - 32))
    path.with_name("journal.sqlite3-shm").unlink(missing_ok=True)
    # close() has checkpointed; take the five away again, as a journal whose log was lost would be.
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM events WHERE seq > ?", (seq,))
        db.execute("UPDATE state SET seq = ?", (seq,))
    rebuilt = reopened(path, told=told(seq + 5, stopped=True))
    assert rebuilt.state.stopped
    assert last_entry(rebuilt).seq == seq + 6
    assert f"it ends at event {seq}, but state.toml knows of event {seq + 5}" in last_entry(rebuilt).decisions[0].reason


def test_a_running_agent_saves_its_own_state(path):
    journal = Journal(path)
    live = journal.state
    journal.close()
    path.write_bytes(b"garbage" * 1000)
    rebuilt = recovery.rebuild(path, recovery.keep(path), "damaged: x", known(), live=live)
    assert but_wall(rebuilt.state) == but_wall(live)
    assert "the state is from the running agent" in last_entry(rebuilt).decisions[0].reason


@pytest.mark.parametrize("calls", range(6))
def test_killed_while_it_rebuilds_the_next_start_goes_on(path, monkeypatch, calls):
    """An exception stands in for the kill, after so many renames and removals."""
    seq = Journal(path).seq
    with sqlite3.connect(path) as db:
        db.execute("UPDATE state SET state = 'x'")
    left = [calls]

    def limited(real):
        def call(*args, **kwargs):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink"):
            patched.setattr(type(path), name, limited(getattr(type(path), name)))
        with contextlib.suppress(KeyboardInterrupt):
            reopened(path).close()
    journal = reopened(path)
    assert isinstance(last_entry(journal).event, ev.JournalRecovered)
    assert last_entry(journal).seq == seq + 1
    assert sum(isinstance(entry.event, ev.JournalRecovered) for entry in journal.entries()) == 1
    assert len(recovery.kept(path)) == 1


@pytest.mark.parametrize(
    ("acknowledged", "mode", "source"),
    [
        (9, "medium", "the journal"),
        (10, "medium", "the journal"),
        (11, "light", "the journal, brought up to date from state.toml"),
    ],
)
def test_state_toml_counts_where_it_acknowledges_more_than_was_found(acknowledged, mode, source):
    state = Host(rules()).up().climb().state
    found = salvage.Salvage(rows=[], state=state, seq=10, source="the journal", last_stamp=None)
    best, told_source = recovery._best_state(found, known(told(acknowledged, mode="light")), None)
    assert (best.mode, told_source) == (mode, source)


def test_a_folder_is_no_damage_and_nothing_is_moved(tmp_path):
    (tmp_path / "journal.sqlite3").mkdir()
    with pytest.raises(Exception, match="can't open") as caught:
        reopened(tmp_path / "journal.sqlite3")
    assert not isinstance(caught.value, JournalDamagedError)
    assert [p.name for p in tmp_path.iterdir()] == ["journal.sqlite3"]


def test_salvage_of_a_missing_file_is_empty(tmp_path):
    found = salvage.read(tmp_path / "none")
    assert (found.rows, found.state, found.seq) == ([], None, 0)


def test_recovered_state_is_what_the_fold_gives():
    event = ev.JournalRecovered(t=5, wall=WALL, state=State(mode="x", t=9), how="so")
    state, decisions = step(State(mode="y", t=100), event)
    assert (state.mode, state.t, [d.reason for d in decisions]) == ("x", 9, ["so"])
