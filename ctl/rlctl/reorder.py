"""Puts what comes from many hosts into the order of its times, at the price of a short wait. Pure."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class Reorder(Generic[T]):
    """Holds each item back for a moment, in which an earlier one may still come."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._heap: list[tuple[float, int, float, T]] = []
        self._count = 0

    def push(self, arrived: float, at: float, item: T) -> None:
        """Take an item that belongs to a time; `arrived` is now, by the reader's monotonic clock."""
        heapq.heappush(self._heap, (at, self._count, arrived, item))
        self._count += 1

    def due(self, now: float) -> list[T]:
        """Return what has waited long enough, with all that belongs before it: a clock that is ahead delays nobody."""
        waited = [entry for entry in self._heap if now - entry[2] >= self._hold_s]
        if not waited:
            return []
        last = max(waited)
        found = []
        while self._heap and self._heap[0][:2] <= last[:2]:
            found.append(heapq.heappop(self._heap)[3])
        return found

    def rest(self) -> list[T]:
        """Return all that is left, in order."""
        return [heapq.heappop(self._heap)[3] for _ in range(len(self._heap))]
