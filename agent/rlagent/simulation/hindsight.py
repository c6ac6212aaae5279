"""What could have been had on a simulated host: its best single mode, and the best schedule, known only afterwards."""

from __future__ import annotations

from collections.abc import Callable

from rlagent.policy.belief import goodput_of
from rlagent.simulation.hosts import CELL_S, HOUR_S, HostModel, Luck
from rlagent.simulation.machine import Machine

CYCLES_H = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Hours of the duty cycles tried where the rate depends on the past: there no schedule is best cell by cell."""


def fixed(host: HostModel, rates: list[list[float]], span_s: float, seed: int, mode: int) -> Machine:
    """Run one mode all the time."""
    return _run(host, rates, span_s, seed, lambda _t: mode)


def best_fixed(host: HostModel, rates: list[list[float]], span_s: float, seed: int) -> float:
    """Return the useful steps of the best single mode."""
    return max(fixed(host, rates, span_s, seed, mode).useful for mode in range(len(host.modes)))


def best_schedule(host: HostModel, rates: list[list[float]], span_s: float, seed: int) -> float:
    """Return the useful steps of the best schedule; changing modes costs nothing there.

    Where time alone makes the rates, that is the mode with the most expected goodput in each cell; where heat or age
    do, the best of the single modes and of the duty cycles between two of them.
    """
    best = best_fixed(host, rates, span_s, seed)
    if any(mode.heat or mode.infant != 1.0 or mode.dies_after_s for mode in host.modes):
        for upper in range(1, len(host.modes)):
            for lower in range(upper):
                for high in CYCLES_H:
                    for low in CYCLES_H:
                        plan = _cycle(upper, lower, high * HOUR_S, low * HOUR_S)
                        best = max(best, _run(host, rates, span_s, seed, plan).useful)
        return best
    choice = best_modes(host, rates)
    return max(best, _run(host, rates, span_s, seed, lambda t: choice[int(t / CELL_S)]).useful)


def expected(host: HostModel, mode: int, rate: float) -> float:
    """Return a mode's expected useful steps per second at a crash rate per progressing hour."""
    lost_s, down_s = host.checkpoint_interval_s / 2, host.reboot_s + host.start_s
    return goodput_of(host.modes[mode].speed, rate, lost_s, down_s)


def best_modes(host: HostModel, rates: list[list[float]]) -> list[int]:
    """Return the mode with the most expected goodput in each cell."""
    modes = range(len(host.modes))
    return [max(modes, key=lambda m: expected(host, m, rates[m][cell])) for cell in range(len(rates[0]))]


def _cycle(upper: int, lower: int, high_s: float, low_s: float) -> Callable[[float], int]:
    return lambda t: upper if t % (high_s + low_s) < high_s else lower


def _run(host: HostModel, rates: list[list[float]], span_s: float, seed: int, plan: Callable[[float], int]) -> Machine:
    luck = Luck(host, seed)
    machine = Machine(host, rates, luck)
    machine.rest(host.start_s)
    while machine.t < span_s:
        machine.mode = plan(machine.t)
        if machine.run(min(span_s, (int(machine.t / CELL_S + 1e-9) + 1) * CELL_S)):
            mode = machine.mode
            machine.rest(min(span_s, machine.t + luck.downtime_s(mode, host.reboot_s) + host.start_s))
    return machine
