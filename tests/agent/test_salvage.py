"""What is read of a damaged journal, row by row: gaps, rows that are none, and the newest state they lead to."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

from policy_driver import WALL, Host, rules
from rlagent import salvage
from rlagent.journal import Journal, Stamp
from rlagent.policy import State, step
from rlagent.policy import events as ev


def stamp(t: float) -> Stamp:
    return Stamp(t=t, wall=WALL + t, monotonic=t + 0.5, boot="b/1")


class Damaged:
    """A journal of ten events, and ways to spoil it."""

    def __init__(self, path) -> None:
        self.path = path
        self.host = Host(rules(modes=(("light", 1), ("medium", 2)), games="ABC")).up()
        while len(self.host.log) < 10:
            self.host.checkpoint(at=self.host.t + 1)
        journal = Journal(path)
        for event, decisions, state in self.host.log[:10]:
            journal.append(stamp(event.t), event, tuple(decisions), state)
        journal.close()

    def state(self, seq: int) -> State:
        return self.host.log[seq - 1][2]

    def sql(self, *statements: str) -> None:
        with sqlite3.connect(self.path) as db:
            for statement in statements:
                db.execute(statement)
        db.close()


@pytest.fixture
def damaged(tmp_path):
    return Damaged(tmp_path / "journal.sqlite3")


def numbers(found: salvage.Salvage) -> list[int]:
    return [row[0] for row in found.rows]


def test_a_whole_journal_is_read_whole(damaged):
    found = salvage.read(damaged.path)
    assert (numbers(found), found.seq, found.source) == (list(range(1, 11)), 10, "the journal")
    assert found.state == damaged.state(10)
    assert found.last_stamp == stamp(damaged.host.log[9][0].t)
    assert [path.name for path in damaged.path.parent.iterdir()] == ["journal.sqlite3"]


def test_without_its_state_it_is_the_fold_of_all(damaged):
    damaged.sql("DELETE FROM state")
    found = salvage.read(damaged.path)
    assert (found.seq, found.source, found.state) == (10, "the events up to 10", damaged.state(10))


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE events SET decisions = 'x' WHERE seq = 6",
        "UPDATE events SET event = '{}' WHERE seq = 6",
        "UPDATE events SET event = 7 WHERE seq = 6",
        "UPDATE events SET t = 'x' WHERE seq = 6",
        "UPDATE events SET boot = x'00ff' WHERE seq = 6",
        "DELETE FROM events WHERE seq = 6",
    ],
)
def test_a_row_that_is_none_is_left_out_and_the_fold_stops_before_it(damaged, spoil):
    damaged.sql(spoil, "DELETE FROM state")
    found = salvage.read(damaged.path)
    assert numbers(found) == [1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert (found.seq, found.source, found.state) == (5, "the events up to 5", damaged.state(5))
    assert found.last_stamp == stamp(damaged.host.log[9][0].t)


def test_bytes_that_are_no_text_cost_that_row_only(damaged):
    damaged.sql("UPDATE events SET event = CAST(x'ff' AS TEXT) WHERE seq = 6", "DELETE FROM state")
    assert numbers(salvage.read(damaged.path)) == [1, 2, 3, 4, 5, 7, 8, 9, 10]


def test_several_rows_that_can_not_be_read_cost_only_those(damaged):
    damaged.sql("UPDATE events SET event = CAST(x'ff' AS TEXT) WHERE seq IN (3, 6, 7)")
    assert numbers(salvage.read(damaged.path)) == [1, 2, 4, 5, 8, 9, 10]


def test_without_its_begin_nothing_can_be_folded(damaged):
    damaged.sql("DELETE FROM events WHERE seq = 1", "DELETE FROM state")
    found = salvage.read(damaged.path)
    assert (found.state, found.seq, found.source) == (None, 10, "")


def test_a_fold_can_begin_anew_where_a_journal_was_rebuilt_before(damaged):
    state = damaged.state(5)
    event = ev.JournalRecovered(t=9.0, wall=WALL, state=state, how="so")
    after, decisions = step(State(), event)
    journal = Journal(damaged.path)
    journal.append(stamp(9.0), event, decisions, after)
    journal.close()
    damaged.sql("DELETE FROM events WHERE seq IN (1, 10)", "DELETE FROM state")
    found = salvage.read(damaged.path)
    assert (found.seq, found.source, found.state) == (11, "the events up to 11", after)


@pytest.mark.parametrize(
    ("seq", "source"),
    [(9, "the events up to 10"), (10, "the journal"), (11, "the journal"), (0, "the events up to 10")],
)
def test_the_journal_s_own_state_counts_when_no_event_is_newer(damaged, seq, source):
    text = msgspec.json.encode(State(mode="x")).decode()
    damaged.sql(f"UPDATE state SET seq = {seq}, state = '{text}'")  # noqa: S608  # our own text
    found = salvage.read(damaged.path)
    assert (found.source, found.seq) == (source, max(seq, 10))
    assert found.state.mode == ("x" if source == "the journal" else "light")


def test_a_state_between_a_gap_and_the_last_event_is_older_than_that_event(damaged):
    damaged.sql("DELETE FROM events WHERE seq = 6", "UPDATE state SET seq = 7")
    found = salvage.read(damaged.path)
    assert (found.seq, found.source) == (5, "the events up to 5")


def test_a_state_behind_events_that_can_not_be_folded_is_older_than_they_are(damaged):
    damaged.sql("DELETE FROM events WHERE seq = 1", "UPDATE state SET seq = 9")
    found = salvage.read(damaged.path)
    assert (found.state, found.seq) == (None, 10)


@pytest.mark.parametrize("text", ["x", "{}x", '{"mode": 3}'])
def test_a_state_that_is_none_is_left_out(damaged, text):
    damaged.sql(f"UPDATE state SET state = '{text}'")  # noqa: S608  # our own text
    assert salvage.read(damaged.path).source == "the events up to 10"


def test_an_event_of_another_kind_at_the_begin_is_no_begin(damaged):
    damaged.sql("UPDATE events SET event = (SELECT event FROM events WHERE seq = 2) WHERE seq = 1", "DELETE FROM state")
    assert salvage.read(damaged.path).state is None


def test_what_stands_in_the_log_only_is_read_too(damaged):
    journal = Journal(damaged.path)
    event = ev.StopRequested(t=50.0, wall=WALL, who="ana", why="")
    state, decisions = step(journal.state, event)
    journal.append(stamp(50.0), event, decisions, state)
    assert numbers(salvage.read(damaged.path)) == list(range(1, 12))
    journal.close()


def test_a_file_that_is_no_database_has_no_rows(tmp_path):
    for content in (b"", b"x" * 10_000):
        (tmp_path / "j").write_bytes(content)
        found = salvage.read(tmp_path / "j")
        assert (found.rows, found.state, found.seq, found.last_stamp) == ([], None, 0, None)


def test_copies_of_an_agent_that_was_killed_while_it_read_are_removed(damaged):
    stale = damaged.path.parent / ".salvage-abc"
    stale.mkdir()
    (stale / "journal").write_bytes(b"x")
    other = damaged.path.parent / "salvage"
    other.mkdir()
    salvage.read(damaged.path)
    assert not stale.exists()
    assert other.exists()
