"""What a simulated host is: modes with a speed and a crash rate, and all that makes the rate change."""

from __future__ import annotations

import math
from random import Random

import msgspec

CELL_S = 600.0
"""Crash rates are constant for so long."""
HOUR_S = 3600.0
DAY_S = 86400.0


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable, compared by content."""


class ModeModel(_Value, frozen=True, kw_only=True):
    """One mode of a host."""

    name: str
    slots: int
    """Games at once."""
    speed: float
    """Environment steps per second of all its trainers together."""
    crashes_per_h: float
    """Crashes per progressing hour, before anything changes it."""
    daily: float = 0.0
    """The rate swings over the day by a factor of e to plus and minus this."""
    steps: tuple[tuple[float, float], ...] = ()
    """(hour, factor): from that hour on the rate is the base rate times the factor."""
    walk: tuple[float, ...] = ()
    """A factor for each hour."""
    burst: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """(every h, for h, factor); every 0: no bursts."""
    dies_after_s: float | None = None
    """Crashes for certain after so much progress."""
    heat: float = 0.0
    """Full heat multiplies the rate by e to this."""
    warms: float = 0.0
    """The heat, 0 to 1, that this mode tends to."""
    infant: float = 1.0
    """In the first hour after a start the rate is this many times as high."""

    def rate_at(self, t: float) -> float:
        """Return crashes an hour at `t` seconds, as far as time alone tells."""
        hour = t / HOUR_S
        rate = self.crashes_per_h
        if self.daily:
            rate *= math.exp(self.daily * math.sin(2 * math.pi * t / DAY_S))
        for since, factor in self.steps:
            if hour >= since:
                rate = self.crashes_per_h * factor
        if self.walk:
            rate *= self.walk[min(int(hour), len(self.walk) - 1)]
        every, lasts, factor = self.burst
        if every and hour % every < lasts:
            rate *= factor
        return rate


class HostModel(_Value, frozen=True, kw_only=True):
    """A host: what its modes do, how long it takes to come back, what checkpoints cost."""

    name: str
    modes: tuple[ModeModel, ...]
    """Lowest rung first."""
    reboot_s: float = 120.0
    """Mean time until a crashed host is back; each one is between half and one and a half of it."""
    start_s: float = 30.0
    """From a trainer's start to its first step."""
    drain_s: float = 3.0
    """A graceful stop, with its checkpoint."""
    checkpoint_interval_s: float = 90.0
    speed_noise: float = 0.1
    """Standard deviation of a measured speed, as a share of it."""
    heat_time_s: float = 2 * HOUR_S
    """Heat follows the mode with this time constant."""


class Luck:
    """A host's chance, the same for every policy: for each mode its crashes and restart times, drawn in order."""

    def __init__(self, host: HostModel, seed: int) -> None:
        self._streams = [Random(f"{seed}/{host.name}/{mode.name}") for mode in host.modes]
        self.noise = Random(f"{seed}/{host.name}/noise")

    def work(self, mode: int) -> float:
        """Return how much hazard the next crash of a mode needs: unit exponential."""
        return self._streams[mode].expovariate(1.0)

    def downtime_s(self, mode: int, mean_s: float) -> float:
        """Return how long the host is away after a crash of a mode."""
        return mean_s * self._streams[mode].uniform(0.5, 1.5)
