"""When a checkpoint is taken and what it is said to cost, on clocks that the test moves."""

import threading
from types import SimpleNamespace

import pytest

from rltrainer import checkpointer as checkpointer_module
from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.checkpointer import Checkpointer, Shot, interval_s
from rltrainer.tally import Tally


class Clocks:
    """Time that passes, and time that a thread works."""

    def __init__(self):
        self.now_s, self.worked_s = 1000.0, 50.0

    def monotonic(self):
        return self.now_s

    def thread_time(self):
        return self.worked_s


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A checkpointer whose copy stops the run for 0.5 s, and whose writing takes 4 s and 1.5 s of work."""
    clocks, events = Clocks(), []
    monkeypatch.setattr(checkpointer_module, "time", clocks)
    run = SimpleNamespace(clocks=clocks, events=events, step=0, may_write=threading.Event(), fault=None)
    run.may_write.set()

    def shoot():
        clocks.now_s += 0.5
        header = Header(game="pong", written_by="1", saved_at=1.0, tally=Tally(global_step=run.step), metrics_offset=0)
        return Shot(header, lambda: b"games", lambda: b"learner")

    def save(header, envs, payload):
        run.may_write.wait()
        clocks.now_s += 4.0
        clocks.worked_s += 1.5
        if run.fault:
            raise run.fault
        return Checkpoint(tmp_path / "c.pt", header, envs, payload)

    report = SimpleNamespace(
        sync=lambda: events.append("sync"),
        saved=lambda checkpoint, took_s, stall_s: events.append((checkpoint.header.tally.global_step, took_s, stall_s)),
        not_saved=lambda step, why: events.append((step, why)),
    )
    run.checkpointer = Checkpointer(SimpleNamespace(save=save), report, shoot, 1000.0)
    return run


def test_the_first_is_due_when_after_another_iteration_five_seconds_would_be_over(run):
    """Nothing is known of the cost; an iteration takes 1.5 s."""
    due = []
    for seconds in (0.0, 3.4, 0.1, 1.5):
        run.clocks.now_s += seconds
        due.append(run.checkpointer.is_due(1.5))
    assert due == [False, False, True, True]


def test_the_next_is_due_an_interval_after_the_moment_that_the_last_shows(run):
    """The copy was begun at 1007 and cost 0.5 s of the run and 1.5 s of work: sqrt(2 * 2 * 3600) is 120 s."""
    run.clocks.now_s = 1007.0
    assert run.checkpointer.save_now() is True
    assert (run.checkpointer.cost_s, run.checkpointer.interval_s) == (2.0, 120.0)
    due = []
    for now_s in (1012.0, 1125.9, 1126.0):
        run.clocks.now_s = now_s
        due.append(run.checkpointer.is_due(1.0))
    assert due == [False, False, True]


def test_a_checkpoint_is_told_with_the_whole_time_it_took_and_how_long_training_stood_still(run):
    """4 s of writing and the 0.5 s of the copy; metrics are synced before it counts on them."""
    run.step = 640
    assert run.checkpointer.save_now() is True
    assert run.events == ["sync", (640, 4.5, 0.5)]
    assert run.checkpointer.stall_s == 0.5


def test_while_one_is_written_no_other_is_due_and_it_is_told_once_when_it_is_through(run):
    run.may_write.clear()
    run.checkpointer.begin()
    run.clocks.now_s += 10_000.0
    assert run.checkpointer.collect() is False
    assert run.checkpointer.is_due(0.0) is False
    assert [event for event in run.events if event != "sync"] == []
    run.may_write.set()
    assert run.checkpointer.collect(wait=True) is True
    assert len(run.events) == 2
    assert run.checkpointer.collect(wait=True) is False, "there is none any more"
    assert len(run.events) == 2
    run.clocks.now_s += 10_000.0
    assert run.checkpointer.is_due(0.0) is True


def test_the_last_one_waits_for_the_one_that_is_being_written(run):
    run.may_write.clear()
    run.checkpointer.begin()
    run.step = 704
    threading.Timer(0.05, run.may_write.set).start()
    assert run.checkpointer.save_now() is True
    assert [event[0] for event in run.events if event != "sync"] == [0, 704]


@pytest.mark.parametrize(
    ("fault", "why"),
    [(OSError(28, "No space left on device"), "No space left on device"), (ValueError("odd"), "ValueError('odd')")],
)
def test_a_failure_is_told_with_its_step_and_reason_and_costs_nothing_else(run, fault, why):
    run.step, run.fault = 640, fault
    assert run.checkpointer.save_now() is False
    assert run.events == ["sync", (640, why)]
    run.fault = None
    assert run.checkpointer.save_now() is True
    assert run.checkpointer.cost_s == 2.0


def test_what_is_written_is_what_was_copied(run):
    run.checkpointer.begin()
    run.checkpointer.collect(wait=True)
    assert (run.checkpointer._outcome.envs, run.checkpointer._outcome.payload) == (b"games", b"learner")


@pytest.mark.parametrize(
    ("cost_s", "configured_s", "expected"),
    [(0.05, 90.0, 360**0.5), (0.0, 90.0, 5.0), (10.0, 90.0, 90.0), (0.05, 2.0, 2.0), (0.05, 10.0, 10.0),
     (0.5, 90.0, 60.0)],
)  # fmt: skip
def test_the_interval_is_youngs_within_five_seconds_and_what_is_configured(cost_s, configured_s, expected):
    """The root of twice the cost times an hour."""
    assert interval_s(cost_s, configured_s) == pytest.approx(expected)
