"""A Bayes-optimal learner for one question: is the faster mode, whose crash rate never changes, worth it?

The slower mode's goodput is known, the faster one's speed too; its crash rate is drawn from a known prior. Leaving is
for ever, as nothing new is learned elsewhere: an optimal stopping problem, solved backwards over (crashes, progressing
quarter hours). It knows more than any policy can: the prior, the speeds, the restart time, that nothing drifts.
"""

from __future__ import annotations

import math

import numpy as np

from rlagent.simulation.hindsight import expected
from rlagent.simulation.hosts import HOUR_S, HostModel, Luck
from rlagent.simulation.machine import Machine, rates_of

STEP_S = 900.0
RATES = 24
"""Points of the prior."""
CRASHES_MAX = 1500
"""At so many crashes it leaves; a mode that is worth staying in does not get there within a week."""


def useful_steps(host: HostModel, prior: tuple[float, float], span_s: float, seed: int, first_s: float) -> float:
    """Return the useful steps of the optimal learner that begins in the faster mode after `first_s` in the slower."""
    stays = boundary(host, prior, span_s - first_s)
    machine = Machine(host, rates_of(host, span_s), Luck(host, seed))
    machine.rest(host.start_s)
    _work(machine, 0, first_s)
    machine.rest(machine.t + host.drain_s + host.start_s)
    began, crashes, up_s = machine.t, machine.crashes, 0.0
    while machine.t < span_s:
        quarter, n = int(up_s / STEP_S), machine.crashes - crashes
        if n > CRASHES_MAX or quarter >= len(stays) or not stays[quarter][n]:
            machine.rest(machine.t + host.drain_s + host.start_s)
            _work(machine, 0, span_s)
            break
        machine.mode = 1
        until = min(span_s, machine.t + STEP_S - up_s % STEP_S)
        before = machine.t
        crashed = machine.run(until)
        up_s += machine.t - before + (0.0 if crashed else 1e-6)
        if crashed:
            machine.rest(min(span_s, machine.t + machine.luck.downtime_s(1, host.reboot_s) + host.start_s))
    if began <= 0:
        raise AssertionError(began)
    return machine.useful


def boundary(host: HostModel, prior: tuple[float, float], span_s: float) -> list[np.ndarray]:
    """Return for each progressing quarter hour whether to stay after 0, 1, 2 ... crashes."""
    rates = np.exp(np.linspace(math.log(prior[0]), math.log(prior[1]), RATES))
    down_s = host.reboot_s + host.start_s
    slow = expected(host, 0, host.modes[0].crashes_per_h)
    speed, lost_s = host.modes[1].speed, host.checkpoint_interval_s / 2
    quarters, counts = int(span_s / STEP_S), np.arange(CRASHES_MAX + 1)
    jumps = np.arange(24)
    chances = _poisson(rates * STEP_S / HOUR_S, jumps)  # [rate, jump]
    target = np.minimum(counts[:, None] + jumps[None, :], CRASHES_MAX)
    after: np.ndarray | None = None
    plan: list[np.ndarray] = []
    for quarter in range(quarters, -1, -1):
        hours = quarter * STEP_S / HOUR_S
        left_s = np.maximum(0.0, span_s - quarter * STEP_S - counts * down_s)
        leave = slow * left_s
        if after is None:
            after = leave
        log_posterior = counts[:, None] * np.log(rates)[None, :] - rates[None, :] * hours
        posterior = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        jump = posterior @ chances  # [count, jump]
        mean = posterior @ rates
        gained = speed * (STEP_S - mean * STEP_S / HOUR_S * lost_s)
        stay = np.where(left_s > 0, gained + (jump * after[target]).sum(axis=1), 0.0)
        stay[-len(jumps) :] = 0.0  # beyond the table
        plan.append(stay >= leave)
        after = np.maximum(stay, leave)
    return plan[::-1]


def _poisson(means: np.ndarray, counts: np.ndarray) -> np.ndarray:
    logs = np.array([math.lgamma(n + 1) for n in counts])
    chances = np.exp(counts[None, :] * np.log(means)[:, None] - means[:, None] - logs[None, :])
    return chances / chances.sum(axis=1, keepdims=True)


def _work(machine: Machine, mode: int, until: float) -> None:
    machine.mode = mode
    while machine.t < until:
        if machine.run(until):
            down_s = machine.luck.downtime_s(mode, machine.host.reboot_s)
            machine.rest(min(until, machine.t + down_s + machine.host.start_s))
