"""Area interpolation of a screen to 84x84, exact: the same bytes on every machine.

Sizes share a divisor with 84, so that the weights repeat in small blocks, and in units of the overlap they are whole
numbers: float32 products of small matrices, which are fast, hold every sum without rounding (below 2^24).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 84


class AreaResize:
    """Shrinks screens of one shape; `to` writes into the caller's memory and allocates nothing."""

    def __init__(self, height: int, width: int) -> None:
        rows, columns = _overlaps(height), _overlaps(width)
        self._rows = rows
        self._columns = np.ascontiguousarray(columns.T)
        self._scale = np.float32(1.0 / (rows.shape[1] * columns.shape[1]))
        blocks = SIDE // rows.shape[0]
        self._screen = np.empty((height, width), np.float32)
        self._screen_blocks = self._screen.reshape(blocks, rows.shape[1], width)
        self._low = np.empty((blocks, rows.shape[0], width), np.float32)
        self._low_blocks = self._low.reshape(-1, columns.shape[1])
        self._small = np.empty((SIDE, SIDE), np.float32)
        self._small_blocks = self._small.reshape(-1, columns.shape[0])

    def to(self, small: NDArray[np.unsignedinteger], screen: NDArray[np.uint8]) -> None:
        """Write a screen [height, width] as `small` [84, 84], 0 to 255."""
        np.copyto(self._screen, screen)
        np.matmul(self._rows, self._screen_blocks, out=self._low)
        np.matmul(self._low_blocks, self._columns, out=self._small_blocks)
        np.multiply(self._small, self._scale, out=self._small)
        np.rint(self._small, out=self._small)
        np.copyto(small, self._small, casting="unsafe")


def _overlaps(size: int) -> NDArray[np.float32]:
    """Return how much of each input pixel lies in each output pixel of one block, [outputs, inputs], as whole numbers.

    `size / g` inputs give `84 / g` outputs, g the greatest common divisor; on a ruler where an input is `84 / g` long
    and an output `size / g`, all ends are whole numbers.
    """
    divisor = math.gcd(size, SIDE)
    inputs, outputs = size // divisor, SIDE // divisor
    ends_in = np.arange(inputs + 1) * outputs
    ends_out = np.arange(outputs + 1) * inputs
    until = np.minimum(ends_out[1:, None], ends_in[None, 1:])
    since = np.maximum(ends_out[:-1, None], ends_in[None, :-1])
    overlaps: NDArray[np.float32] = np.maximum(until - since, 0).astype(np.float32)
    return overlaps
