"""The daemon between two turns: how long it sleeps, what wakes it, and its whole life in its own process."""

from __future__ import annotations

import math
import os
import selectors
import signal
import types

import pytest

from rlagent import __version__, notify
from rlagent.journal import Journal
from rlagent.policy import events as ev


@pytest.fixture
def slept(agents, monkeypatch):
    """Return how long an agent would sleep now: each call lets it wait once."""
    daemon = agents.start()
    waits: list[float] = []

    def select(_selector, timeout_s: float):
        waits.append(timeout_s)
        agents.parts.clock.now += timeout_s
        return [], False

    monkeypatch.setattr(daemon, "_select", select)

    def wait() -> float:
        waits.clear()
        daemon._wait(None)
        return round(sum(waits), 6)

    return wait


def test_it_sleeps_for_a_tick_or_until_a_hang_is_due(agents, slept):
    assert slept() == 1.0
    agents.daemon._senses.hangs_in_s = 0.5
    assert slept() == 0.55
    for hangs_in_s in (0.0, -3.0, 100.0, math.inf):
        agents.daemon._senses.hangs_in_s = hangs_in_s
        assert slept() == 1.0


def test_it_sleeps_less_while_a_trainer_is_on_its_way_out_and_as_the_watchdog_needs(agents, slept):
    agents.parts.trainers.is_ending = True
    assert slept() == 0.1
    agents.parts.trainers.is_ending = False
    agents.daemon._notifier = notify.Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "900000"}, os.getpid())
    assert slept() == 0.3


def test_it_does_not_sleep_when_it_is_to_end(agents, slept):
    agents.daemon.shut_down("SIGTERM")
    assert slept() == 0.0


def test_the_end_of_a_trainer_wakes_it_unless_it_can_not_be_journaled(agents):
    daemon = agents.start()
    reader, writer = os.pipe()
    asking, asked = os.pipe()
    os.write(writer, b"x")
    served = []
    try:
        agents.parts.trainers.filenos = lambda: [reader]
        with selectors.DefaultSelector() as selector:
            selector.register(
                asking, selectors.EVENT_READ, lambda events: served.append(events) or daemon.shut_down("x")
            )
            ready, ended = daemon._select(selector, 0.0)
            assert (ready, ended) == ([], True)
            os.write(asked, b"x")
            ready, ended = daemon._select(selector, 0.0)
            assert ([key.fd for key, _ in ready], ended) == ([asking], True)
            daemon._troubles["journal"] = "full"
            ready, ended = daemon._select(selector, 0.0)
            assert ([key.fd for key, _ in ready], ended) == ([asking], False)
            assert len(selector.get_map()) == 1
            daemon._wait(selector)
        assert served == [selectors.EVENT_READ]
    finally:
        for descriptor in (reader, writer, asking, asked):
            os.close(descriptor)


def test_it_lives_until_it_is_told_to_end(agents, monkeypatch):
    daemon, told, wakeup = agents.start(), [], signal.set_wakeup_fd(-1)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    daemon._notifier = types.SimpleNamespace(
        ready=lambda text: told.append(f"ready {text}"), alive=lambda _: told.append("alive"), pause_s=None
    )
    daemon._notifier.ending = lambda: told.append(f"ending {agents.paths.socket.exists()}")

    def turn() -> None:
        told.append(f"turn {agents.paths.socket.exists()}")
        if told.count("wait"):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(daemon, "turn", turn)
    monkeypatch.setattr(daemon, "_wait", lambda _selector: told.append("wait"))
    monkeypatch.setattr("rlagent.daemon.Server.drop_idle", lambda _server: told.append("idle callers"))
    try:
        daemon.run()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for descriptor in {signal.set_wakeup_fd(wakeup)} - {-1}:
            os.close(descriptor)
    headline = f"ready {__version__}: mode light, 0 trainers run"
    round_ = ["turn True", "idle callers", "alive", "wait"]
    assert told == [headline, *round_, *round_, "ending True"]
    assert not agents.paths.socket.exists()
    journal = Journal(agents.paths.journal)
    last = list(journal.entries(limit=3))
    journal.close()
    assert [type(entry.event) for entry in last] == [ev.AgentStarted, ev.TrainerStarted, ev.AgentStopping]
    assert last[-1].event.reason == "SIGTERM"
