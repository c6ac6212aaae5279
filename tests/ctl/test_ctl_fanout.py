"""A fan-out maps hosts to results or errors, in order, under one deadline."""

import threading
import time

import pytest

from rlctl.errors import AgentError, ConnectError, RefusedError
from rlctl.exits import of
from rlctl.fanout import Outcome, gather
from rlctl.hosts import Host

HOSTS = [Host(name, name) for name in ("a", "b", "c")]


def test_each_host_has_its_own_outcome_in_order():
    error = AgentError("no-agent", "none")

    def work(host, deadline):
        if host.name == "b":
            raise error
        return host.name.upper()

    assert gather(HOSTS, work, 5) == [
        Outcome(HOSTS[0], "A"),
        Outcome(HOSTS[1], error=error),
        Outcome(HOSTS[2], "C"),
    ]


def test_a_host_that_hangs_is_an_error_and_delays_nobody_beyond_the_deadline():
    release = threading.Event()

    def others_through():
        """However slow this machine is, they are in time."""
        for thread in threading.enumerate():
            if thread.name in ("b", "c"):
                thread.join()

    outcomes = gather(HOSTS, lambda host, _: release.wait() if host.name == "a" else host.name, 0.3, others_through)
    release.set()
    assert [outcome.value for outcome in outcomes] == [None, "b", "c"]
    assert outcomes[0].error.kind == "timeout"
    assert str(outcomes[0].error).startswith("no answer within 0.3 s")


def test_all_hosts_work_at_once():
    barrier = threading.Barrier(3)
    assert [outcome.error for outcome in gather(HOSTS, lambda *_: barrier.wait(60), 60)] == [None, None, None]


def test_the_deadline_is_shared_and_counts_down():
    left = gather(HOSTS[:1], lambda _, deadline: (deadline.left_s(), time.sleep(0.05), deadline.left_s()), 60)[0].value
    assert 0 < left[2] < left[0] <= 60


def test_a_bug_in_one_host_is_its_own_row():
    outcomes = gather(HOSTS[:2], lambda host, _: {"b": 1}[host.name], 5)
    assert (outcomes[0].error.kind, outcomes[1].value) == ("internal", 1)


LOST, REFUSED = Outcome(HOSTS[0], error=ConnectError("x", "x")), Outcome(HOSTS[0], error=RefusedError("x", "x"))
GOOD, BAD = Outcome(HOSTS[0], "good"), Outcome(HOSTS[0], "bad")


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([GOOD, GOOD], 0),
        ([GOOD, BAD], 3),
        ([GOOD, LOST], 4),
        ([BAD, REFUSED, LOST], 4),
        ([LOST, LOST], 5),
        ([GOOD, REFUSED], 6),
        ([BAD, REFUSED], 6),
    ],
)
def test_the_exit_code_of_many_hosts(outcomes, code):
    assert of(outcomes, lambda value: value == "bad") == code
