"""SIGKILL of the agent at random instants of mode changes: never two trainers of one game, no event lost or doubled."""

from __future__ import annotations

import collections
import random
import time

import pytest

import soak
from rlagent.policy import events as ev
from rlagent.policy.decisions import MODE_CHANGES
from rlagent.protocol import messages


@pytest.mark.slow
@soak.parts("kills", sample=20, whole=500, each=50)
def test_kills_of_the_agent_during_mode_changes(make_host, kills):
    instants = random.Random(kills.start)
    host = make_host(program="exclusive_trainer.py", agent={"tick_s": 0.05}).start()
    wishes = 0
    for number in range(len(kills)):
        wish = messages.Hold(mode=("medium", "light")[number % 2], who="test", why=str(number))
        reply = host.call(wish)
        assert reply.ok, reply
        wishes += 1
        time.sleep(instants.random() * 0.6)
        host.kill_agent()
        host.start()
    host.wait_running(2)
    assert sorted(host.trainer_processes()) == ["MsPacman", "Pong"]
    assert list(host.paths.state_dir.rglob("DOUBLE")) == []
    assert host.status()["incidents_last_hour"] == 0

    host.end_agent()
    state, refolded, entries = host.refold()
    assert state == refolded
    events = [entry.event for entry in entries]
    # Each wish that was acknowledged is there once, in order.
    assert [e.why for e in events if isinstance(e, ev.HoldRequested)] == [str(number) for number in range(wishes)]
    # Each attempt was started by one decision, counted without a gap, and ended at most once.
    started = collections.Counter(
        (d.game, d.attempt) for entry in entries for d in entry.decisions if d.kind == "start"
    )
    assert set(started.values()) == {1}
    for game in state.games:
        assert sorted(n for name, n in started if name == game.name) == list(range(1, game.attempt + 1))
    ended = collections.Counter((e.game, e.attempt) for e in events if isinstance(e, ev.TrainerExited))
    assert set(ended.values()) == {1}
    assert set(started) - set(ended) == {
        ("MsPacman", state.game("MsPacman").attempt),
        ("Pong", state.game("Pong").attempt),
    }
    # No trainer crashed on the way: every one was stopped gracefully.
    assert {e.exit for e in events if isinstance(e, ev.TrainerExited)} == {"stopped"}
    # A mode is entered once for each change that began and was not turned around before.
    begun = sum(d.kind in MODE_CHANGES and d.from_mode is not None for entry in entries for d in entry.decisions)
    entered = sum(d.kind == "enter" for entry in entries for d in entry.decisions)
    assert 0 < entered <= begun <= wishes
