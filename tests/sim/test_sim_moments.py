"""Moments that random hosts seldom meet, laid out by hand: what a turn learns and when, what a full disk hides."""

from __future__ import annotations

import math

import pytest

from rlagent.policy import events as ev
from sim.agents import Simulation


@pytest.fixture
def sim(tmp_path):
    """An agent on a host without trouble; its trainers take steps."""
    simulation = Simulation(0, tmp_path)
    model = simulation.model
    model.calm()
    model.bad_game = model.broken_mode = None
    model.clumsy, model.target_steps, model.checkpoint_s = 0.0, 10**12, 5.0
    simulation._ensure_agent()
    while not simulation.daemon.state.all_progressing:
        turn(simulation)
    yield simulation
    simulation.daemon._journal.abandon()


def turn(sim, seconds: float = 1.0) -> None:
    sim.host.advance(seconds)
    sim.daemon.turn()
    sim._check_turn()


def until_stable(sim, missing_s: float) -> None:
    """Wait until so much stable time is missing for a promotion."""
    state = sim.daemon.state
    sim.host.advance(sim.model.rules.stable_s - missing_s - state.stable_at(sim.daemon.now().t))
    sim.daemon.turn()


def crash_in(sim, seconds: float) -> None:
    """Let one trainer crash with an exit code, after so long."""
    trainer = sim.host.alive()[0]
    trainer.dies, trainer.record = sim.host.now + seconds, sim.host.model._crash(FirstChoice())


class FirstChoice:
    """Chance that always takes the first: exit code 1."""

    def choice(self, of):
        return of[0]


def exits(sim):
    return [e.event for e in sim.daemon.entries(-math.inf, 10**6) if isinstance(e.event, ev.TrainerExited)]


@pytest.mark.parametrize("over_s", [0.0, 30.0])
def test_a_crash_that_a_turn_learns_of_together_with_a_due_promotion_comes_first(sim, over_s):
    until_stable(sim, missing_s=10.0)
    crash_in(sim, 9.0)
    turn(sim, 10.0 + over_s)  # with a new checkpoint in the dead trainer's last report, which is an event too
    state = sim.daemon.state
    assert (state.mode, state.transition) == (sim.model.rules.modes[0].name, None)
    assert [incident.symptoms[0].partition(" ")[0] for incident in state.incidents] == ["trainer"]
    assert (state.stable_s, state.progressing_since) == (0.0, None)


def test_without_the_crash_it_is_promoted(sim):
    until_stable(sim, missing_s=10.0)
    turn(sim, 10.0)
    assert sim.daemon.state.transition.kind == "promote"


def test_a_checkpoint_just_before_a_crash_is_told_with_it_and_counts(sim):
    for _ in range(2):
        while not sim.daemon.state.all_progressing:
            turn(sim)
        crash_in(sim, 59.0)
        turn(sim, 60.0)
    assert [event.checkpoint_step is not None for event in exits(sim)] == [True, True]
    assert (sim.daemon.state.barren_incidents, sim.daemon.state.checkpoints_reported) == (1, True)


def test_a_crash_with_no_checkpoint_since_the_last_turn_tells_of_none(sim):
    turn(sim, 60.0)
    crash_in(sim, 0.5)
    turn(sim)
    assert [event.checkpoint_step for event in exits(sim)] == [None]


def test_an_agent_that_ends_tells_of_a_crash_first(sim):
    until_stable(sim, missing_s=10.0)
    crash_in(sim, 9.0)
    sim.host.advance(10.0)
    sim.daemon._journal.close = lambda: None  # for the look into it below
    sim.daemon.end()
    assert [type(entry.event) for entry in sim.daemon.entries(-math.inf, 2)] == [ev.TrainerExited, ev.AgentStopping]
    assert sim.daemon.state.transition is None


def test_time_in_which_nothing_could_be_journaled_is_not_stable(sim):
    until_stable(sim, missing_s=100.0)
    sim.host.disk_full = True
    for _ in range(20):  # long enough for a promotion
        turn(sim, 10.0)
    sim.host.disk_full = False
    turn(sim, 1.0)
    state = sim.daemon.state
    assert state.transition is None
    # Its trainers must show once more that they take steps; until the last line before they did.
    assert sim.model.rules.stable_s - 100.0 - 1.0 <= state.stable_at(state.t) <= sim.model.rules.stable_s - 100.0
    told = [d.reason for entry in sim.daemon.entries(-math.inf, 5) for d in entry.decisions]
    assert "the journal took no line for up to 3.4 min: that time is not taken for stable time" in told
    turn(sim, 6.0)
    assert sim.daemon.state.progressing_since is not None


def test_a_trainer_that_was_done_while_the_disk_was_full_does_not_promote(sim):
    until_stable(sim, missing_s=100.0)
    sim.host.disk_full = True
    sim.model.target_steps = 0
    turn(sim, 200.0)
    sim.host.disk_full, sim.model.target_steps = False, 10**12
    turn(sim, 1.0)
    assert [event.exit for event in exits(sim)] == ["done"]
    assert sim.daemon.state.transition is None
    assert sim.daemon.state.stable_s <= sim.model.rules.stable_s - 100.0


def test_a_wish_is_refused_while_the_disk_is_full_and_obeyed_after_it(sim):
    sim.host.disk_full = True
    wish = {"who": "ana", "why": "", "mode": sim.model.rules.modes[1].name, "for_s": None, "no_fallback": False}
    sim._operate(ev.HoldRequested, **wish)
    assert sim.daemon.state.hold is None
    sim.host.disk_full = False
    sim._operate(ev.HoldRequested, **wish)
    kinds = [type(entry.event) for entry in sim.daemon.entries(-math.inf, 2)]
    assert kinds == [ev.JournalBack, ev.HoldRequested]
    assert sim.daemon.state.hold.mode == wish["mode"]
