"""A simulated host at work: progress, crashes, lost work, heat. It knows no policy.

A crash comes when the hazard gathered since the last one reaches what `Luck` asked for; each mode gathers its own, so
that two policies that run the same mode at the same time see the same crashes.
"""

from __future__ import annotations

import math

from rlagent.simulation.hosts import CELL_S, HOUR_S, HostModel, Luck

ROUNDING_S = 1e-6
"""Times this close are the same."""


class Machine:
    """One host from time 0 on."""

    def __init__(self, host: HostModel, rates: list[list[float]], luck: Luck) -> None:
        """`rates`: crashes an hour of each mode in each cell."""
        self.host, self._rates, self.luck = host, rates, luck
        self._left = [luck.work(mode) for mode in range(len(host.modes))]
        self.t = 0.0
        self.mode = 0
        self.useful = 0.0
        """Environment steps that were not lost."""
        self.crashes = 0
        self.age_s = 0.0
        """Progress since the trainers' start."""
        self.lived_s = 0.0
        """The same, at the last crash."""
        self._heat = 0.0

    def run(self, until: float) -> bool:
        """Make progress until then, or until a crash: True. The time is then that of the crash."""
        model, began = self.host.modes[self.mode], self.t
        crashed = self._burn(until)
        self.useful += model.speed * (self.t - began)
        if crashed:
            self.crashes += 1
            self._left[self.mode] = self.luck.work(self.mode)
            self.useful -= model.speed * (self.age_s % self.host.checkpoint_interval_s)
            self.lived_s, self.age_s = self.age_s, 0.0
        return crashed

    def rest(self, until: float) -> None:
        """Let time pass without progress: down, draining, starting."""
        self._warm(max(0.0, until - self.t), 0.0)
        self.t = max(self.t, until)
        self.age_s = 0.0

    def _burn(self, until: float) -> bool:
        model, rates = self.host.modes[self.mode], self._rates[self.mode]
        left = self._left[self.mode]
        last = len(rates) - 1
        dies = math.inf if model.dies_after_s is None else model.dies_after_s
        aged = model.infant != 1.0
        while self.t < until:
            cell = int(self.t / CELL_S)
            end = min(until, (cell + 1) * CELL_S, self.t + dies - self.age_s)
            rate = rates[min(cell, last)] / HOUR_S
            if model.heat:
                rate *= math.exp(model.heat * self._heat)
            if aged and self.age_s < HOUR_S - ROUNDING_S:
                rate *= model.infant
                end = min(end, self.t + HOUR_S - self.age_s)
            span = end - self.t
            if rate * span >= left:
                span = left / rate
                self._advance(span)
                return True
            left -= rate * span
            self._advance(span)
            if self.age_s >= dies - ROUNDING_S:
                return True
        self._left[self.mode] = left
        return False

    def _advance(self, span: float) -> None:
        self.t += span
        self.age_s += span
        self._warm(span, self.host.modes[self.mode].warms)

    def _warm(self, span: float, towards: float) -> None:
        if self._heat or towards:
            self._heat += (towards - self._heat) * (1.0 - math.exp(-span / self.host.heat_time_s))


def rates_of(host: HostModel, span_s: float) -> list[list[float]]:
    """Return crashes an hour of each mode in each cell of the span."""
    cells = int(span_s / CELL_S) + 1
    return [[mode.rate_at((cell + 0.5) * CELL_S) for cell in range(cells)] for mode in host.modes]
