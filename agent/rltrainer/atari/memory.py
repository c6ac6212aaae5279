"""The memory that the trainer shares with its environment workers: what goes in and comes out in every step.

It is anonymous (memfd): never a name in /dev/shm, so nothing is left behind by any kind of death.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rltrainer.atari.rules import OBS_SHAPE

_ALIGNMENT: Final = 64
"""Bytes in a cache line."""


@dataclass(frozen=True)
class Arrays:
    """One row for each environment; workers write their own rows, and only between `go` and `done`."""

    obs: NDArray[np.uint8]
    """Stacked frames [num_envs, 84, 84, 4]."""
    actions: NDArray[np.int32]
    """What to play; written by the trainer."""
    scores: NDArray[np.int32]
    """Raw score of the last step."""
    over: NDArray[np.bool_]
    """The game ended with the last step, and `obs` and `lives` are those of the next."""
    lives: NDArray[np.int32]


_DTYPES: Final[dict[str, tuple[type, tuple[int, ...]]]] = {
    "obs": (np.uint8, OBS_SHAPE), "actions": (np.int32, ()), "scores": (np.int32, ()), "over": (np.bool_, ()),
    "lives": (np.int32, ()),
}  # fmt: skip


def create(num_envs: int) -> int:
    """Return the descriptor of zeroed memory for so many environments."""
    descriptor = os.memfd_create("rltrain-environments")
    os.ftruncate(descriptor, _layout(num_envs)[1])
    return descriptor


def attach(descriptor: int, num_envs: int) -> Arrays:
    """Return the arrays in a shared memory; the descriptor may be closed afterwards."""
    places, size = _layout(num_envs)
    memory = mmap.mmap(descriptor, size)
    arrays: dict[str, Any] = {
        name: np.ndarray((num_envs, *shape), dtype, memory, offset=places[name])
        for name, (dtype, shape) in _DTYPES.items()
    }
    return Arrays(**arrays)


def _layout(num_envs: int) -> tuple[dict[str, int], int]:
    """Return where each array begins, and the size of all."""
    places, end = {}, 0
    for name, (dtype, shape) in _DTYPES.items():
        places[name] = end
        size = num_envs * int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places, end
