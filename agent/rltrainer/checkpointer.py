"""When a checkpoint is taken, and its way to the disk: a copy in memory by the main thread, the rest by another.

The main thread goes on training while the copy is packed, hashed, written and synced. One checkpoint at a time.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.checkpoint_store import CheckpointStore
from rltrainer.report import Reporter

FAILURES_EVERY_S: Final = 3600.0
"""Mean time between failures that checkpoints are made for: a host at the edge of what the ladder tolerates."""

INTERVAL_MIN_S: Final = 5.0
"""More often is of no use: a restart costs about as much."""


def interval_s(cost_s: float, configured_s: float) -> float:
    """Return the time between checkpoints that loses least: to saving them, and to repeating work after a failure.

    Young's first-order optimum (1974, Daly 2006): sqrt(2 * cost * mean time between failures); never more than is
    configured, and not under five seconds unless less is configured.
    """
    return min(configured_s, max(INTERVAL_MIN_S, math.sqrt(2.0 * cost_s * FAILURES_EVERY_S)))


@dataclass(frozen=True)
class Shot:
    """A run at one instant, copied."""

    header: Header
    envs: Callable[[], bytes]
    payload: Callable[[], bytes]
    """Both are called by the writing thread."""


class Checkpointer:
    """Takes and writes a run's checkpoints.

    Args:
        store: where they go.
        report: is told of each, by the main thread.
        shoot: copies the run as it is now; must be quick.
        configured_s: the longest interval.
    """

    def __init__(
        self, store: CheckpointStore, report: Reporter, shoot: Callable[[], Shot], configured_s: float
    ) -> None:
        self._store = store
        self._report = report
        self._shoot = shoot
        self._configured_s = configured_s
        self._thread: threading.Thread | None = None
        self._outcome: Checkpoint | Exception | None = None
        self._step = 0
        self._taken_s = time.monotonic()
        self.stall_s = 0.0
        """How long the last one stopped the main thread."""
        self._took_s = 0.0
        self.cost_s = 0.0
        """What the last one cost: the main thread's stop, and the other's time on a CPU."""

    @property
    def interval_s(self) -> float:
        """Time between checkpoints at the present cost."""
        return interval_s(self.cost_s, self._configured_s)

    def is_due(self, iteration_s: float) -> bool:
        """Return whether after another iteration the interval would be over."""
        self.collect()
        return self._thread is None and time.monotonic() + iteration_s >= self._taken_s + self.interval_s

    def begin(self) -> None:
        """Take a checkpoint and let the other thread write it; the one before must be through."""
        began_s = self._taken_s = time.monotonic()
        shot = self._shoot()
        self._step = shot.header.tally.global_step
        self.stall_s = time.monotonic() - began_s
        self._thread = threading.Thread(target=self._write, args=(shot,), name="checkpoint writer")
        self._thread.start()

    def collect(self, *, wait: bool = False) -> bool:
        """Report the checkpoint that is through; return whether it is on disk.

        Args:
            wait: for the one that is being written.
        """
        if self._thread is None or (self._thread.is_alive() and not wait):
            return False
        self._thread.join()
        self._thread = None
        if isinstance(self._outcome, Checkpoint):
            self._report.saved(self._outcome, self._took_s, self.stall_s)
            return True
        why = getattr(self._outcome, "strerror", None) or repr(self._outcome)
        self._report.not_saved(self._step, why)
        return False

    def save_now(self) -> bool:
        """Take a checkpoint and wait until it is written; return whether it is on disk."""
        self.collect(wait=True)
        self.begin()
        return self.collect(wait=True)

    def _write(self, shot: Shot) -> None:
        began_s, cpu_s = time.monotonic(), time.thread_time()
        try:
            self._report.sync()
            self._outcome = self._store.save(shot.header, shot.envs(), shot.payload())
        except Exception as error:  # noqa: BLE001 - whatever it is, training goes on and the failure is told
            self._outcome = error
        self._took_s = time.monotonic() - began_s + self.stall_s
        self.cost_s = time.thread_time() - cpu_s + self.stall_s
