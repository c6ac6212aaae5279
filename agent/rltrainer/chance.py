"""Chance as a function: every draw of the learner is determined by the run's seed and where in the run it is.

So there is no generator whose state must be saved, a draw is the same on a CPU and on a GPU, and work that is done
again after a kill draws the same numbers again. The games have generators of their own (`rltrainer.atari.game`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ACTIONS: Final = 1
_SHUFFLE: Final = 2


def gumbel(seed: int, iteration: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return Gumbel noise for an iteration: adding it to log-probabilities and taking the largest samples an action."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, _ACTIONS, iteration])))
    return rng.gumbel(size=shape).astype(np.float32)


def permutation(seed: int, iteration: int, epoch: int, length: int) -> NDArray[np.int64]:
    """Return the order in which an epoch learns from its steps."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, _SHUFFLE, iteration, epoch])))
    return rng.permutation(length)
