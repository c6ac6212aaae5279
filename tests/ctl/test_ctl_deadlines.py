"""The deadline that all hosts share, met exactly; and the exit code of what came of them."""

import threading

import pytest

from rlctl import exits, fanout
from rlctl.errors import (
    AgentError,
    ChangedHostError,
    ConnectError,
    DurationError,
    HostError,
    NotConfirmedError,
    RefusedError,
    RlctlError,
    UsageError,
)
from rlctl.exits import of
from rlctl.fanout import Deadline, Outcome, gather
from rlctl.hosts import Host

HOSTS = [Host(name, name) for name in ("a", "b")]


@pytest.fixture
def clock(monkeypatch):
    """Return a function that sets the clock of deadlines."""
    now = [100.0]
    monkeypatch.setattr(fanout.time, "monotonic", lambda: now[0])
    return lambda at: now.__setitem__(0, at)


def test_the_time_that_is_left_never_falls_below_nothing(clock):
    deadline = Deadline(5.0)
    left = []
    for at in (100.0, 104.75, 105.0, 106.0):
        clock(at)
        left.append(deadline.left_s())
    assert left == [5.0, 0.25, 0.0, 0.0]


def test_each_host_has_the_same_instant_and_a_stage_of_its_own(clock):
    shared = Deadline(7.5)
    one, other = shared.of_one_host(), shared.of_one_host()
    one.waiting_for("it thinks", "wait")
    clock(106.0)
    assert [each.left_s() for each in (shared, one, other)] == [1.5, 1.5, 1.5]
    assert [str(each.missed()) for each in (one, other)] == [
        "no answer within 7.5 s: it thinks; wait",
        "no answer within 7.5 s; is it up? Give it more time with --timeout",
    ]
    assert (one.missed().kind, one.missed().exit_code) == ("timeout", 5)


def test_the_person_is_not_kept_waiting_by_threads_that_are_left_behind():
    """They are daemons, or the program could not end; and what is done meanwhile is done here."""
    seen = []
    gather(HOSTS, lambda *_: seen.append(threading.current_thread()), 60, lambda: seen.append("meanwhile"))
    threads = [one for one in seen if one != "meanwhile"]
    assert ([thread.daemon for thread in threads], seen.count("meanwhile")) == ([True, True], 1)
    assert {thread.name for thread in threads} == {"a", "b"}


def test_what_is_done_meanwhile_is_done_before_the_hosts_are_waited_for():
    done = threading.Event()
    outcomes = gather(HOSTS[:1], lambda *_: done.wait(60), 60, done.set)
    assert outcomes == [Outcome(HOSTS[0], True)]


def test_no_hosts_are_no_work():
    assert gather([], lambda *_: None, 60) == []


def outcome(value=None, error=None, warning=None):
    return Outcome(HOSTS[0], value, error, warning)


GOOD, BAD, CHANGED = outcome("good"), outcome("bad"), outcome("good", warning="another machine")
REFUSED, MOVED = outcome(error=RefusedError("x", "x")), outcome(error=ChangedHostError("x", "x"))
LOST, SILENT, BUG = (outcome(error=kind("x", "x")) for kind in (ConnectError, AgentError, HostError))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 0),
        ([GOOD], 0),
        ([BAD], 3),
        ([CHANGED], 3),
        ([GOOD, CHANGED], 3),
        ([GOOD, REFUSED], 6),
        ([CHANGED, BAD, REFUSED], 6),
        ([MOVED], 6),
        ([REFUSED, MOVED], 6),
        ([GOOD, SILENT], 4),
        ([REFUSED, BUG], 4),
        ([CHANGED, LOST], 4),
        ([LOST], 5),
        ([LOST, SILENT, BUG], 5),
    ],
)
def test_the_worst_that_came_of_the_hosts_is_the_exit_code(outcomes, code):
    assert of(outcomes, lambda value: value == "bad") == code


def test_without_a_judge_every_answer_is_a_good_one():
    assert of([BAD, outcome(0), outcome(None)]) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RlctlError("x"), 1),
        (NotConfirmedError(), 1),
        (UsageError("x"), 2),
        (DurationError("x"), 2),
        (HostError("x", "x"), 5),
        (ConnectError("x", "x"), 5),
        (AgentError("x", "x"), 5),
        (RefusedError("x", "x"), 6),
        (ChangedHostError("x", "x"), 6),
    ],
    ids=lambda error: type(error).__name__ if isinstance(error, Exception) else "",
)
def test_each_error_has_its_exit_code(error, code):
    assert error.exit_code == code


def test_the_exit_codes_are_those_that_the_help_names():
    """Scripts rely on them."""
    codes = (exits.HEALTHY, exits.ERROR, exits.USAGE, exits.DEGRADED, exits.SOME_UNREACHABLE, exits.ALL_UNREACHABLE)
    assert (*codes, exits.REFUSED, exits.INTERRUPTED) == (0, 1, 2, 3, 4, 5, 6, 130)
    for words in (
        "0 healthy",
        "1 error",
        "2 wrong usage",
        "3 degraded",
        "4 some hosts, 5 all hosts",
        "6 refused",
        "130 ",
    ):
        assert words in exits.EPILOG
