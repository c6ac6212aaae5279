"""Runs policies on the suites of simulated hosts, and sums up; shared by the bench and its test."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from rlagent.policy import step
from rlagent.policy.decisions import Decision
from rlagent.policy.events import Event
from rlagent.policy.model import Rules, State
from rlagent.simulation import engine, hindsight
from rlagent.simulation.hosts import CELL_S, HostModel
from rlagent.simulation.machine import rates_of

WEEK_S = 7 * 86400.0
BASE = Rules(modes=(), games=())
POLICIES = {
    "ladder, factor 1": BASE,
    "ladder, factor 2": msgspec.structs.replace(BASE, cooldown_factor=2.0),
    "goodput": msgspec.structs.replace(BASE, policy="goodput"),
    "goodput, cap 3/h": msgspec.structs.replace(BASE, policy="goodput", max_crashes_cap=True),
}
SETTLED_S = 3 * 3600.0


class Result(NamedTuple):
    """One policy on one host."""

    host: str
    policy: str
    of_fixed: float
    """Useful steps as a share of the best single mode's."""
    of_schedule: float
    """The same of the best schedule in hindsight."""
    switches: int
    crashes: int
    settled: bool
    """Within 5% of the best mode's rate after 3 hours."""


def run(host: HostModel, policies: Sequence[str], seed: int) -> list[Result]:
    """Run always-light, always-medium and the named policies on a host for a week."""
    rates = rates_of(host, WEEK_S)
    fixed = [hindsight.fixed(host, rates, WEEK_S, seed, mode) for mode in range(len(host.modes))]
    best = max(machine.useful for machine in fixed)
    schedule = hindsight.best_schedule(host, rates, WEEK_S, seed)
    values = [hindsight.expected(host, mode, rates[mode][int(SETTLED_S / CELL_S)]) for mode in range(len(host.modes))]
    found = []
    for mode, name in enumerate(("always light", "always medium")):
        useful, crashes = fixed[mode].useful, fixed[mode].crashes
        good = values[mode] >= 0.95 * max(values)
        found.append(Result(host.name, name, useful / best, useful / schedule, 0, crashes, good))
    for name in policies:
        out = engine.simulate(host, POLICIES[name], WEEK_S, seed, rates)
        mode = [mode for since, mode in out.spans if since <= SETTLED_S][-1]
        good = values[mode] >= 0.95 * max(values)
        shares = (out.useful / best, out.useful / schedule)
        found.append(Result(host.name, name, *shares, out.switches, out.crashes, good))
    return found


def steps_ms(host: HostModel, name: str, seed: int) -> float:
    """Return the CPU time that a policy's own steps take of a host's week, the least of three times."""
    steps: list[tuple[State, Event]] = []

    def recorded(state: State, event: Event) -> tuple[State, tuple[Decision, ...]]:
        steps.append((state, event))
        return step(state, event)

    engine.simulate(host, POLICIES[name], WEEK_S, seed, policy=recorded)
    took_s = []
    for _ in range(3):
        begin = time.process_time()
        for state, event in steps:
            step(state, event)
        took_s.append(time.process_time() - begin)
    return min(took_s) * 1000


def figures(results: Iterable[Result]) -> dict[str, float]:
    """Return the figures of one policy over many hosts."""
    rows = list(results)
    fixed, schedule = [r.of_fixed for r in rows], [r.of_schedule for r in rows]
    mean: Callable[[list[float]], float] = statistics.fmean
    return {
        "hosts": len(rows),
        "median": round(statistics.median(fixed), 4),
        "p10": round(percentile(fixed, 0.1), 4),
        "worst": round(min(fixed), 4),
        "mean": round(mean(fixed), 4),
        "schedule_median": round(statistics.median(schedule), 4),
        "schedule_p10": round(percentile(schedule, 0.1), 4),
        "schedule_worst": round(min(schedule), 4),
        "switches": round(mean([r.switches for r in rows]), 1),
        "crashes": round(mean([r.crashes for r in rows]), 0),
        "settled": round(mean([r.settled for r in rows]), 3),
    }


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
