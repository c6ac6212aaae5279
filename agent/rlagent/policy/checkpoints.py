"""How often to take a checkpoint: rarely costs work at a crash, often costs time."""

from __future__ import annotations

import math

INTERVAL_S_MIN = 5.0
"""More often than this is not asked for: a checkpoint may cost more than what its trainer sees of it."""


def best_interval_s(crashes_per_h: float, cost_s: float, longest_s: float) -> float:
    """Return the seconds between two checkpoints that waste the least, at most `longest_s`.

    Young (1974), A first order approximation to the optimum checkpoint interval: sqrt(2 C M), C the cost of one
    checkpoint, M the mean time between failures. Daly (2006) refines it where C is no longer small against M, which
    the limits here exclude.
    """
    between_s = 3600.0 / max(crashes_per_h, 1e-9)
    return max(min(INTERVAL_S_MIN, longest_s), min(longest_s, math.sqrt(2.0 * max(cost_s, 0.0) * between_s)))
