"""Runs policies on the suites of simulated hosts, and sums up; shared by the bench and its test."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from rlagent.policy.model import Rules
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
    step_ms: float
    """CPU time of the whole simulated week; 0: not simulated by steps."""


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
        found.append(Result(host.name, name, useful / best, useful / schedule, 0, crashes, good, 0.0))
    for name in policies:
        begin = time.process_time()
        out = engine.simulate(host, POLICIES[name], WEEK_S, seed, rates)
        step_ms = (time.process_time() - begin) * 1000
        mode = [mode for since, mode in out.spans if since <= SETTLED_S][-1]
        good = values[mode] >= 0.95 * max(values)
        shares = (out.useful / best, out.useful / schedule)
        found.append(Result(host.name, name, *shares, out.switches, out.crashes, good, step_ms))
    return found


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
        "week_ms": round(statistics.median(r.step_ms for r in rows), 1),
        "week_ms_mean": round(mean([r.step_ms for r in rows]), 1),
    }


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
