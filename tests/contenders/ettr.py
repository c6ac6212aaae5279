"""The share of time that is useful (ETTR): its bound, and what a timeline of faults makes of it. Arithmetic only."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HOUR_S = 3600.0


def bound(faults_per_h: float, interval_s: float, cost_s: float, detect_s: float, restart_s: float) -> float:
    """Return 1 - f (c/2 + d + r)/3600 - C/c: what no keeper with these times can be better than on average.

    Args:
        faults_per_h: f.
        interval_s: c, between two checkpoints.
        cost_s: C, what one of them costs.
        detect_s: d, from the fault until it is noticed.
        restart_s: r, from then until the next new step.
    """
    return 1.0 - faults_per_h * (interval_s / 2 + detect_s + restart_s) / HOUR_S - cost_s / interval_s


def cost_s(interval_s: float, failures_every_s: float) -> float:
    """Return what a checkpoint costs whose best interval is this one: Young's c = sqrt(2 C M), the other way round."""
    return interval_s**2 / (2.0 * failures_every_s)


def fault_times(faults_per_h: float, hours: float, seed: int) -> list[float]:
    """Return random instants in seconds, as a Poisson process has them."""
    dice, found, at = random.Random(seed), [], 0.0
    while (at := at + dice.expovariate(faults_per_h / HOUR_S)) < hours * HOUR_S:
        found.append(at)
    return found


@dataclass(frozen=True)
class Trainer:
    """What a trainer does between faults."""

    first_s: float
    """From its first step to its first checkpoint."""
    interval_s: float
    """Between checkpoints from then on."""
    cost_s: float
    """How much of the interval a checkpoint takes."""

    def saved(self, ran_s: float) -> float:
        """Return how much of a stretch of training lies before its last checkpoint."""
        if ran_s < self.first_s:
            return 0.0
        return ran_s - (ran_s - self.first_s) % self.interval_s

    def spent(self, ran_s: float) -> float:
        """Return what checkpoints took of a stretch of training."""
        return 0.0 if ran_s < self.first_s else self.cost_s * (1 + (ran_s - self.first_s) // self.interval_s)


@dataclass(frozen=True)
class Outcome:
    """What faults took of some hours."""

    ettr: float
    faults: int
    """That hit a trainer, living or just starting."""
    lost_s: float
    """Work that was repeated, for each fault."""
    down_s: float
    """Time without a step, for each fault."""


def live(
    hours: float, faults: Sequence[float], trainer: Trainer, down_s: Callable[[int, float, float], float]
) -> Outcome:
    """Return what becomes of some hours with faults at these instants.

    Args:
        hours: how long.
        faults: instants in seconds.
        trainer: what happens between them.
        down_s: what its keeper makes of each.
    """
    useful = lost = down = 0.0
    begins = 0.0
    for number, at in enumerate(faults):
        ran = max(0.0, at - begins)
        saved = trainer.saved(ran)
        useful += saved - trainer.spent(ran)
        lost += ran - saved
        came_back = begins
        begins = at + down_s(number, at, ran)
        down += max(0.0, begins - max(at, came_back))
    end = hours * HOUR_S
    last = max(0.0, end - begins)
    useful += last - trainer.spent(last)
    count = max(1, len(faults))
    return Outcome(useful / end, len(faults), lost / count, down / count)
