"""Runs the production policy on a simulated host: events as the daemon would send them, without a tick too many.

Between two crashes nothing happens that the policy would not do at a time it can name; so time leaps from one such
time to the next. Left out is what the policy ignores: news of processes started, and checkpoints after the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.decisions import MODE_CHANGES, Decision
from rlagent.policy.goodput import REVIEW_S
from rlagent.policy.model import GameRule, Mode, Rules
from rlagent.simulation.hosts import HostModel, Luck
from rlagent.simulation.machine import Machine, rates_of

WALL = 1_800_000_000.0 // 86400 * 86400
"""The simulation begins at midnight (UTC)."""
FIRST_SPEED_S = 300.0
"""A mode's speed is measured for the first time after so much progress."""
JOURNAL_TICK_S = 60.0
"""The agent journals the passing of time so often: what came after the last one is unknown after a crash."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy made of a host."""

    useful: float
    """Environment steps that were not lost."""
    crashes: int
    switches: int
    spans: list[tuple[float, int]]
    """(since, mode): the modes in turn."""
    decisions: list[tuple[float, Decision]]
    """With their time: mode changes, and what the shadow said."""
    progress: list[tuple[float, float]]
    """(time, useful steps until then), oldest first."""
    steps: int
    """Of the policy."""


def rules_for(host: HostModel, rules: Rules) -> Rules:
    """Return rules with the modes of a host, and games enough that the queue never ends."""
    slots = max(mode.slots for mode in host.modes)
    return msgspec.structs.replace(
        rules,
        modes=tuple(Mode(name=mode.name, slots=mode.slots) for mode in host.modes),
        games=tuple(GameRule(name=f"game{n}", target_frames=1) for n in range(slots)),
        checkpoint_interval_s=host.checkpoint_interval_s,
    )


Policy = Callable[[State, ev.Event], tuple[State, tuple[Decision, ...]]]


def simulate(
    host: HostModel,
    rules: Rules,
    span_s: float,
    seed: int,
    rates: list[list[float]] | None = None,
    policy: Policy = step,
) -> Outcome:
    """Run the policy for so many seconds; the same seed gives the same host."""
    luck = Luck(host, seed)
    machine = Machine(host, rates or rates_of(host, span_s), luck)
    return _Run(machine, rules_for(host, rules), policy).to(span_s)


class _Run:
    """One simulation."""

    def __init__(self, machine: Machine, rules: Rules, policy: Policy) -> None:
        self._machine, self._rules, self._policy = machine, rules, policy
        self._index = {mode.name: n for n, mode in enumerate(rules.modes)}
        self._state = State()
        self._boots = 0
        self._steps = 0
        self._measured: set[int] = set()
        self._saved = False
        self._spans: list[tuple[float, int]] = [(0.0, 0)]
        self._decisions: list[tuple[float, Decision]] = []
        self._progress: list[tuple[float, float]] = []
        self._feed(ev.Configured(t=0.0, wall=WALL, rules=rules))

    def to(self, end: float) -> Outcome:
        """Run until then."""
        machine = self._machine
        self._reboot(0.0)
        while machine.t < end:
            self._progress.append((machine.t, machine.useful))
            if self._state.transition is not None:
                self._drain(end)
            elif not self._state.all_progressing:
                self._start(end)
            elif machine.run(min(end, self._wake())):
                self._crash(end)
            else:
                self._look()
        return Outcome(
            useful=machine.useful,
            crashes=machine.crashes,
            switches=sum(d.kind in MODE_CHANGES for _, d in self._decisions),
            spans=self._spans,
            decisions=self._decisions,
            progress=[*self._progress, (machine.t, machine.useful)],
            steps=self._steps,
        )

    def _wake(self) -> float:
        """Return the next time at which the policy may act by itself, or a speed is measured."""
        state, rules, t = self._state, self._rules, self._machine.t
        wake = max(state.evidence.review_at, t + 1.0)
        if self._machine.mode not in self._measured:
            wake = min(wake, t + FIRST_SPEED_S)
        if rules.policy == "ladder" and self._machine.mode + 1 < len(rules.modes):
            promotion = max(t + rules.stable_s - state.stable_at(t), self._retry_at(self._machine.mode + 1))
            wake = min(wake, max(promotion, t + 1.0))
        return wake

    def _retry_at(self, mode: int) -> float:
        return self._state.retry_at.get(self._rules.modes[mode].name, 0.0)

    def _look(self) -> None:
        """Measure the speed; the policy reviews by itself when that is due."""
        machine = self._machine
        model, noise = machine.host.modes[machine.mode], machine.luck.noise
        self._measured.add(machine.mode)
        speed = model.speed * max(0.1, noise.gauss(1.0, machine.host.speed_noise))
        self._save()
        self._feed(ev.SpeedMeasured(t=machine.t, wall=WALL + machine.t, steps_per_s=speed, over_s=REVIEW_S))

    def _save(self) -> None:
        """Tell of a checkpoint, once between two crashes: the policy asks no more."""
        if not self._saved and self._machine.age_s >= self._machine.host.checkpoint_interval_s:
            self._saved = True
            t = self._machine.t
            self._feed(ev.CheckpointCommitted(t=t, wall=WALL + t, game="game0", global_step=int(t)))

    def _crash(self, end: float) -> None:
        """Lose the host and get it back."""
        machine = self._machine
        crashed = machine.t
        seen = max(self._state.t, math.floor(crashed / JOURNAL_TICK_S) * JOURNAL_TICK_S)
        if machine.lived_s >= machine.host.checkpoint_interval_s and not self._saved:
            self._feed(ev.CheckpointCommitted(t=seen, wall=WALL + seen, game="game0", global_step=int(seen)))
        self._feed(ev.Tick(t=seen, wall=WALL + seen))
        machine.rest(crashed + machine.luck.downtime_s(machine.mode, machine.host.reboot_s))
        self._reboot(min(machine.t, end))

    def _reboot(self, t: float) -> None:
        self._boots += 1
        self._saved = False
        self._feed(ev.AgentStarted(t=t, wall=WALL + t, boot=f"{self._boots}", version=""))

    def _drain(self, end: float) -> None:
        """Stop all trainers gracefully; the policy then enters the new mode."""
        machine = self._machine
        machine.rest(min(end, machine.t + machine.host.drain_s))
        for game in self._state.games:
            if game.status == "STOPPING":
                exit_ = ev.TrainerExited(
                    t=machine.t,
                    wall=WALL + machine.t,
                    game=game.name,
                    attempt=game.attempt,
                    exit="stopped",
                    detail="stopped",
                )
                self._feed(exit_)

    def _start(self, end: float) -> None:
        """Let every trainer take its first step."""
        machine = self._machine
        machine.rest(min(end, machine.t + machine.host.start_s))
        starting = [game for game in self._state.games if game.status == "STARTING"]
        if not starting:  # all wait in their backoff
            self._feed(ev.Tick(t=machine.t, wall=WALL + machine.t))
        for game in starting:
            progress = ev.TrainerProgressed(
                t=machine.t, wall=WALL + machine.t, game=game.name, attempt=game.attempt, global_step=1
            )
            self._feed(progress)
        self._saved = False

    def _feed(self, event: ev.Event) -> None:
        self._state, decisions = self._policy(self._state, event)
        self._steps += 1
        mode = self._index[self._state.mode]
        if mode != self._spans[-1][1]:
            self._machine.mode = mode
            self._spans.append((event.t, mode))
        for decision in decisions:
            if decision.kind in MODE_CHANGES or decision.kind == "shadow":
                self._decisions.append((event.t, decision))
