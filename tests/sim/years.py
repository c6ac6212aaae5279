"""Host-years of the policy alone: from one thing that happens to the next, idle time costs nothing.

No daemon, journal or probe: events go straight into `step`. Every line is judged by the same `Fold`, and one host in
`REPLAYED` is folded again from the JSON of its events.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random

import msgspec

from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.model import GameRule, Mode, Rules
from sim.checkers import Fold, Violation, demand

WEEK_S = 7 * 86400.0
WALL = 1_800_000_000.0
RATES_PER_HOUR = ((0.0, 30), (0.002, 42), (0.02, 25), (0.2, 2.5), (3.0, 0.5))
"""Crashes an hour of the lowest mode, and how many hosts in a hundred have them."""
REPLAYED = 10
NUDGE_S = 1e-3


class Year:
    """One host on which only the policy runs."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(f"year {seed}")
        names = ("light", "medium", "heavy")[: rng.choice((2, 3))]
        self.rules = Rules(
            modes=tuple(Mode(name=name, slots=n + 1) for n, name in enumerate(names)),
            games=tuple(GameRule(name=game, target_frames=1) for game in "ABC"),
            cooldown_factor=rng.choice((1.0, 2.0)),
            blind_spot_incidents=rng.choice((0, 3)),
        )
        rates, weights = zip(*RATES_PER_HOUR, strict=True)
        base, growth = rng.choices(rates, weights)[0] / 3600, rng.choice((1.0, 3.0, 10.0))
        self.rates = {name: min(base * growth**n, 12 / 3600) for n, name in enumerate(names)}
        self.swing, self.reboots = rng.choice((0.0, 0.9)), rng.choice((0.1, 0.9))
        self.down_s, self.wishes_s = rng.choice((30.0, 300.0, 1200.0)), rng.choice((math.inf, 7 * 86400.0))
        self.fold = Fold(self.rules)
        self.state, self.t, self.steps, self.boot = State(), 0.0, 0, 0
        self.good_s = 0.0
        self.queue: list[tuple[float, int, type, dict]] = []
        self.order = itertools.count()
        self.lines: list[bytes] = []

    def run(self, weeks: int) -> Year:
        """Live for so many weeks; raises Violation."""
        self._feed(ev.Configured, rules=self.rules)
        self._feed(ev.AgentStarted, boot="0", version="1")
        self._wish_later()
        until = weeks * WEEK_S
        while True:
            at, wake = self.queue[0][0] if self.queue else math.inf, self._wake()
            if min(at, wake) > until:  # also when nothing is left to happen
                break
            if wake < at:
                # Rounding may put the instant a hair before what is due.
                self._pass(wake if wake > self.t else self.t + NUDGE_S)
                self._feed(ev.Tick)
            else:
                at, _, kind, fields = heapq.heappop(self.queue)
                self._pass(at)
                self._happen(kind, fields)
        if self.seed % REPLAYED == 0:
            self._replay()
        return self

    def _pass(self, to: float) -> None:
        if self.state.all_progressing and self.state.games:
            self.good_s += max(0.0, to - self.t)
        self.t = max(self.t, to)

    def _later(self, seconds: float, kind: type, **fields) -> None:
        if seconds < math.inf:
            heapq.heappush(self.queue, (self.t + seconds, next(self.order), kind, fields))

    def _wake(self) -> float:
        """Return when the passing of time alone decides something."""
        state, rules = self.state, self.rules
        wakes = [game.not_before for game in state.games if game.status == "BACKOFF"]
        if state.hold is not None and state.hold.until is not None:
            wakes.append(state.hold.until)
        rung = rules.index(state.mode)
        if state.progressing_since is not None and state.hold is None and rung + 1 < len(rules.modes):
            stable = state.progressing_since + rules.stable_s - state.stable_s
            wakes.append(max(stable, state.retry_at.get(rules.modes[rung + 1].name, 0.0)))
        return max(self.t, min(wakes, default=math.inf))

    def _happen(self, kind: type, fields: dict) -> None:
        game = self.state.game(fields["game"]) if "attempt" in fields else None
        if game is not None and (not game.has_process or game.attempt != fields["attempt"]):
            return
        if kind is ev.TrainerExited and fields["exit"] == "signal":
            if game.progressed_at is not None and self.t - game.progressed_at > 90:
                self._feed(ev.CheckpointCommitted, game=game.name, global_step=1)
            self.good_s = 0.0
            if self.rng.random() < self.reboots:
                self._pass(self.t + self.down_s)
                self.good_s = 0.0
                self.boot += 1
                self._feed(ev.AgentStarted, boot=str(self.boot), version="1")
                return
        if kind is ev.HoldRequested:
            self._wish_later()
            self._later(self.rng.uniform(0, 86400), ev.ReleaseRequested, who="", why="")
        self._feed(kind, **fields)

    def _wish_later(self) -> None:
        mode = self.rng.choice(self.rules.modes).name
        hold = {"mode": mode, "for_s": self.rng.choice((None, 7200.0)), "no_fallback": self.rng.random() < 0.2}
        self._later(self.rng.expovariate(1) * self.wishes_s, ev.HoldRequested, **hold, who="", why="")

    def _feed(self, kind: type, **fields) -> None:
        event = kind(t=self.t, wall=WALL + self.t, **fields)
        before = self.state
        self.state, decisions = step(before, event)
        self.steps += 1
        if self.seed % REPLAYED == 0:
            self.lines.append(msgspec.json.encode((event, decisions)))
        self.fold.see(event, decisions, before, self.state, self)
        for decision in decisions:
            if decision.kind == "start":
                self._start(decision.game, decision.attempt)
            elif decision.kind == "stop":
                stopped = {"exit": "stopped", "detail": "stopped", "attempt": decision.attempt}
                self._later(self.rng.uniform(1, 20), ev.TrainerExited, game=decision.game, **stopped)
            elif decision.kind == "enter":
                self.good_s = 0.0

    def _start(self, game: str, attempt: int) -> None:
        who = {"game": game, "attempt": attempt}
        self._later(self.rng.uniform(5, 40), ev.TrainerProgressed, **who, global_step=1)
        slots = self.rules.modes[self.rules.index(self.state.mode)].slots
        self._later(self._life_s() * slots, ev.TrainerExited, **who, exit="signal", detail="SIGKILL")

    def _life_s(self) -> float:
        """Draw the time to the next crash of the mode, at a rate that swings with the hour of the day."""
        rate = self.rates[self.state.mode]
        if rate == 0:
            return math.inf
        life, most = 0.0, rate * (1 + self.swing)
        while True:
            life += self.rng.expovariate(most)
            now = rate * (1 + self.swing * math.sin(2 * math.pi * (self.t + life) / 86400))
            if self.rng.random() < now / most:
                return life

    def _replay(self) -> None:
        state = State()
        for line in self.lines:
            event, recorded = msgspec.json.decode(line, type=tuple[ev.Event, msgspec.Raw])
            state, decisions = step(state, event)
            demand(msgspec.json.encode(decisions) == bytes(recorded), "replay gives the live state", f"at {event.t}")
        demand(state == self.state, "replay gives the live state", "another state at the end")


def live(seed: int, weeks: int) -> tuple[int, int]:
    """Run one host; returns its policy steps and incidents. Raises Violation."""
    year = Year(seed)
    try:
        year.run(weeks)
    except Violation as violation:
        violation.story = [f"host-year {seed} at {year.t / 3600:.2f} h"]
        raise
    return year.steps, len(year.fold.crashes_seen)
