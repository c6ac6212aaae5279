"""The policy against a naive second opinion, written from the policy page's table alone, on the exact edges of time.

One game a mode, so that the queue has no say; every time is a whole number, so that an edge is an edge.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import soak
from policy_driver import Host, rules
from rlagent.policy import events as ev

pytestmark = pytest.mark.longer
LADDER = ("light", "medium", "heavy")
STABLE, WINDOW, LIMIT, COOLDOWN, FACTOR, COOLDOWN_MAX, FORGET = 60, 100, 3, 90, 2, 300, 400
BLIND_SPOT = 3
RULES = rules(
    modes=tuple((name, 1) for name in LADDER),
    games="A",
    stable_s=STABLE,
    window_s=WINDOW,
    max_crashes=LIMIT,
    cooldown_s=COOLDOWN,
    cooldown_factor=FACTOR,
    cooldown_max_s=COOLDOWN_MAX,
    forget_s=FORGET,
    blind_spot_incidents=BLIND_SPOT,
    backoff_s=(0.0,),
    max_barren_attempts=10**6,
)


class Oracle:
    """What the table says, told as a story: nothing is clever, everything is looked up in lists."""

    def __init__(self) -> None:
        self.now = 0
        self.rung = 0
        self.entered = 0
        self.running = False
        self.seconds = 0
        """Stable ones."""
        self.incidents: list[int] = []
        self.open = self.open_has_reboot = False
        self.since_checkpoint = 0
        self.reports_checkpoints = False
        self.tries = [0, 0, 0]
        self.not_before = [0, 0, 0]
        self.hold: tuple[int | None, bool] | None = None
        self.announced_until = None

    def in_window(self) -> list[int]:
        return [at for at in self.incidents if at > self.now - WINDOW]

    def wait(self, seconds: int) -> None:
        self.now += seconds
        if self.running:
            self.seconds += seconds
        self.decide()

    def crash(self, *, reboot: bool) -> None:
        self.running, self.seconds = False, 0
        if not self.open or (reboot and self.open_has_reboot):
            self.incidents.append(self.now)
            self.since_checkpoint += 1
            self.open, self.open_has_reboot = True, False
        self.open_has_reboot |= reboot
        self.decide()

    def step_taken(self) -> None:
        self.running, self.open = True, False
        self.decide()

    def unwatched(self, seconds: int) -> None:
        """Nobody watched: that time is no stable time, and a step must be seen again."""
        self.now += seconds
        self.running = False
        self.decide()

    def go(self, rung: int) -> None:
        self.rung, self.entered = rung, self.now
        self.running, self.seconds, self.incidents = False, 0, []
        self.open, self.since_checkpoint = False, 0

    def fail(self) -> None:
        self.tries[self.rung] += 1
        cooldown = min(COOLDOWN * FACTOR ** (self.tries[self.rung] - 1), COOLDOWN_MAX)
        self.not_before[self.rung] = self.now + cooldown

    def decide(self) -> None:
        if self.hold and self.hold[0] is not None and self.now >= self.hold[0]:
            self.hold = None
        if self.now - self.entered >= FORGET and self.tries[self.rung]:
            self.tries[self.rung], self.not_before[self.rung] = 0, 0
        too_many = len(self.in_window()) > LIMIT
        blind = self.reports_checkpoints and self.since_checkpoint >= BLIND_SPOT
        if self.rung > 0 and (too_many or blind) and not (self.hold and self.hold[1]):
            self.fail()
            self.go(self.rung - 1)
        elif (
            self.rung < len(LADDER) - 1
            and self.running
            and self.seconds >= STABLE
            and self.hold is None
            and self.now >= self.not_before[self.rung + 1]
        ):
            self.go(self.rung + 1)


class Against(RuleBasedStateMachine):
    """Does to both what may happen to a host."""

    def __init__(self) -> None:
        super().__init__()
        self.host = Host(RULES)
        self.oracle = Oracle()

    def settle(self) -> None:
        """Let a drain end at once."""
        if self.host.state.transition is not None:
            for game in self.host.state.games:
                if game.status == "STOPPING":
                    self.host.exit(game.name, "stopped", at=self.oracle.now)

    @rule(
        edge=st.sampled_from(["stable", "window", "cooldown", "hold", "forget", "nothing", "nothing"]),
        off=st.sampled_from([-1, 0, 0, 1]),
        plain=st.sampled_from([0, 1, 5, 20, 59, 60, 100]),
    )
    def time_passes(self, edge, off, plain):
        oracle = self.oracle
        ends = {
            "stable": STABLE - oracle.seconds,
            "window": oracle.incidents[0] + WINDOW - oracle.now if oracle.incidents else plain,
            "cooldown": max(oracle.not_before) - oracle.now,
            "hold": oracle.hold[0] - oracle.now if oracle.hold and oracle.hold[0] is not None else plain,
            "forget": oracle.entered + FORGET - oracle.now,
            "nothing": plain,
        }
        seconds = max(0, ends[edge] + (off if edge != "nothing" else 0))
        oracle.wait(seconds)
        self.host.tick(oracle.now)
        self.settle()

    @rule()
    def a_step_is_taken(self):
        if not self.oracle.running:
            self.oracle.step_taken()
            self.host.progress("A", at=self.oracle.now)
            self.settle()

    @rule(kind=st.sampled_from(["signal", "error", "oom", "lost"]))
    def the_trainer_crashes(self, kind):
        self.oracle.crash(reboot=False)
        self.host.exit("A", kind, at=self.oracle.now)
        self.settle()

    @rule(announce=st.booleans())
    def the_host_reboots(self, announce):
        oracle = self.oracle
        if announce:
            self.host.announce_reboot(at=oracle.now)
            oracle.decide()
            oracle.running = False
            oracle.decide()
        else:
            oracle.crash(reboot=True)
        self.host.reboot(at=oracle.now)
        self.settle()

    @rule()
    def a_checkpoint_is_committed(self):
        self.oracle.since_checkpoint, self.oracle.reports_checkpoints = 0, True
        self.oracle.decide()
        self.host.checkpoint(at=self.oracle.now)
        self.settle()

    @rule(seconds=st.sampled_from([0, 1, 59, 60, 100]), restarts=st.booleans())
    def nobody_watches(self, seconds, restarts):
        self.oracle.unwatched(seconds)
        if restarts:
            self.host.agent_restarts(at=self.oracle.now)
        else:
            self.host.feed(ev.JournalBack, at=self.oracle.now)
        self.settle()

    @rule(kind=st.sampled_from(["signal", "error"]))
    def the_trainer_crashes_with_a_checkpoint_in_its_last_report(self, kind):
        oracle = self.oracle
        oracle.since_checkpoint, oracle.reports_checkpoints = 0, True
        oracle.crash(reboot=False)
        game = self.host.state.game("A")
        last = {"attempt": game.attempt, "exit": kind, "detail": kind, "checkpoint_step": 7}
        self.host.feed(ev.TrainerExited, at=oracle.now, game="A", **last)
        self.settle()

    @rule(rung=st.integers(0, 2), seconds=st.sampled_from([None, 30, 100]), alone=st.booleans())
    def an_operator_holds(self, rung, seconds, alone):
        oracle = self.oracle
        oracle.hold = (None if seconds is None else oracle.now + seconds, alone)
        if rung != oracle.rung:
            oracle.go(rung)
        oracle.decide()
        self.host.hold(LADDER[rung], at=oracle.now, for_s=seconds, no_fallback=alone)
        self.settle()

    @rule()
    def an_operator_releases(self):
        self.oracle.hold = None
        self.oracle.decide()
        self.host.release(at=self.oracle.now)
        self.settle()

    @rule()
    def an_operator_rolls_back(self):
        if self.oracle.rung > 0:
            self.oracle.fail()
            self.oracle.go(self.oracle.rung - 1)
        self.oracle.decide()
        self.host.rollback(at=self.oracle.now)
        self.settle()

    @invariant()
    def both_say_the_same(self):
        oracle, state = self.oracle, self.host.state
        assert LADDER[oracle.rung] == state.mode
        assert oracle.entered == state.mode_entered
        assert oracle.in_window() == [incident.t for incident in state.counted(oracle.now)]
        assert oracle.seconds == state.stable_at(oracle.now)
        assert oracle.open == state.incident_open
        assert (oracle.hold is None) == (state.hold is None)
        assert {m: n for m, n in zip(LADDER, oracle.tries, strict=True) if n} == state.failed_tries
        assert {m: t for m, t in zip(LADDER, oracle.not_before, strict=True) if t} == state.retry_at


Against.TestCase.settings = settings(max_examples=soak.examples(150), stateful_step_count=60, deadline=None)
TestPolicyAgainstTheOracle = Against.TestCase
