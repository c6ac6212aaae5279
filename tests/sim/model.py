"""Draws what kind of host a seed is, and what happens to it and to each of its trainers."""

from __future__ import annotations

import math
import random

from rlagent.config import AgentSection, Config, GameSection, ModeSection, PolicySection, SupervisorSection, to_rules
from rlagent.supervisor import ExitRecord
from sim.checkers import Fold
from sim.host import STEPS_PER_S, SimHost, Trainer

DAY_S = 86400.0
STOP_S = 60.0
BACKOFF_S = (5.0, 10.0, 20.0, 40.0, 60.0)


class Model:
    """One random host."""

    def __init__(self, seed: int, folder) -> None:
        self.rng = rng = random.Random(seed)
        # Real proportions, on a shorter clock for most seeds: an hour of the policy in a quarter or a tenth of it.
        self.unit_s = rng.choices((240.0, 360.0, 900.0, 3600.0), (60, 25, 12, 3))[0]
        self.config = self._config(folder)
        self.rules = to_rules(self.config)
        self.fold = Fold(self.rules)
        self.duration_s = self.unit_s * rng.uniform(1, 3)
        per_unit = rng.choice((0.0, 0.2, 1.0, 3.0, 8.0))
        growth = rng.choice((1.0, 1.0, 3.0, 10.0))
        self.crash_rate = {m.name: per_unit * growth**n / self.unit_s for n, m in enumerate(self.config.modes)}
        self.swing = rng.choice((0.0, 0.0, 0.9))
        self.burst = (rng.uniform(0, self.duration_s), rng.uniform(0, self.unit_s)) if rng.random() < 0.3 else (0, 0)
        self.broken_mode = rng.choice(self.config.modes[1:]).name if rng.random() < 0.05 else None
        self.bad_game = rng.choice(self.config.games).name if rng.random() < 0.1 else None
        self.hangs = rng.choice((0.0, 0.0, 0.1, 0.3))
        self.stubborn = rng.choice((0.0, 0.2))
        self.clumsy = rng.choice((0.0, 0.0, 0.2))
        """How often a trainer that is to stop fails at it."""
        self.oom = rng.random() < 0.3
        self.checkpoint_s = rng.choice((10.0, 60.0, math.inf))
        self.target_steps = rng.choice((10**12, 10**12, int(self.unit_s * STEPS_PER_S)))
        self.rates = self._rates(rng)

    def _rates(self, rng) -> dict[str, float]:
        """Return how often each kind of trouble comes, in times a unit."""
        kinds = {
            "reboot": (0.0, 0.3, 2.0),
            "announced reboot": (0.0, 0.3),
            "kill": (0.0, 1.0, 6.0),
            "full disk": (0.0, 0.0, 0.5),
            "clock": (0.0, 1.0),
            "gpu": (0.0, 0.0, 0.5),
            "operator": (0.0, 1.0, 4.0),
            "restart": (0.0, 0.5),
            "duplicate": (0.0, 1.0),
        }
        return {kind: rng.choice(rates) for kind, rates in kinds.items()}

    def _config(self, folder) -> Config:
        rng, minutes = self.rng, self.unit_s / 60
        names = ("light", "medium", "heavy")[: rng.choice((2, 2, 3))]
        return Config(
            agent=AgentSection(state_dir=str(folder), tick_s=1.0, journal_tick_s=60.0),
            policy=PolicySection(
                stable_minutes=minutes,
                window_minutes=minutes,
                cooldown_minutes=minutes,
                cooldown_max_minutes=24 * minutes,
                cooldown_factor=rng.choice((1, 2)),
                forget_hours=6 * minutes / 60,
                count_clean_reboots=True,
                blind_spot_incidents=rng.choice((0, 3)),
            ),
            supervisor=SupervisorSection(
                stop_timeout_s=STOP_S, hang_timeout_s=120, start_timeout_s=300, restart_backoff_s=BACKOFF_S
            ),
            modes=tuple(ModeSection(name=m, games=n + 1, num_envs=8, batch_size=64) for n, m in enumerate(names)),
            games=tuple(GameSection(name=game, target_frames=10**9) for game in "ABCDE"),
        )

    def rate(self, mode: str, now: float) -> float:
        """Return crashes a second of a mode at a time."""
        begin, length = self.burst
        rate = self.crash_rate[mode] * (40.0 if begin <= now < begin + length else 1.0)
        return rate * (1 + self.swing * math.sin(2 * math.pi * now / DAY_S))

    def trainer(self, host: SimHost, game: str, attempt: int, mode: str) -> Trainer:
        """Draw a process's fate."""
        rng, now = self.rng, host.now
        start = rng.uniform(1, 20)
        barren = mode == self.broken_mode or game == self.bad_game
        rate = self.rate(mode, now)
        lives = rng.uniform(0, 3) if barren else (rng.expovariate(rate) if rate > 0 else math.inf)
        silent = math.inf
        if not barren and rng.random() < self.hangs:
            silent = now + start + rng.expovariate(1 / self.unit_s)
        return Trainer(
            game=game,
            attempt=attempt,
            mode=mode,
            boot=host.boot,
            born=now,
            life=host.life,
            first_step=math.inf if barren else now + start,
            dies=now + lives,
            record=self._crash(rng),
            silent=silent,
            stop_record=self._crash(rng)
            if rng.random() < self.clumsy
            else ExitRecord(attempt_id="", code=0, signal=None),
            stop_s=math.inf if rng.random() < self.stubborn else rng.uniform(0, 20),
            checkpoint_s=self.checkpoint_s,
            step0=host.saved.get(game, 0),
        )

    def _crash(self, rng) -> ExitRecord:
        code, number = rng.choice(((1, None), (None, 11), (None, 9), (3, None), (None, 6)))
        return ExitRecord(attempt_id="", code=code, signal=number)

    def target_s(self, trainer: Trainer) -> float:
        """Return when a trainer reaches its target."""
        return trainer.first_step + max(1.0, (self.target_steps - trainer.step0) / STEPS_PER_S)

    def calm(self) -> None:
        """No trouble from now on."""
        self.rates = dict.fromkeys(self.rates, 0.0)
        self.crash_rate = dict.fromkeys(self.crash_rate, 0.0)
        self.hangs, self.stubborn = 0.0, 0.0
