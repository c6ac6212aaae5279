"""One living shim, as the agent watches it."""

from __future__ import annotations

import os
import subprocess
import time

from rlagent.supervisor import procfs


class Keeper:
    """A shim, what is known of its trainer, and of a stop that is going on. Times are monotonic seconds."""

    def __init__(self, attempt: int, shim_pid: int, ticks: int, child: subprocess.Popen[bytes] | None = None) -> None:
        """`child`: this agent started it; without, it is adopted."""
        self.attempt, self.shim_pid, self.ticks, self.child = attempt, shim_pid, ticks, child
        self.since = time.monotonic()
        self.trainer: tuple[int, int] | None = None
        """Its pid and start ticks, once known."""
        self.term_sent = False
        self.kill_at: float | None = None
        """When a stop loses its patience; None: not being stopped."""
        self.give_up_at: float | None = None
        """When the shim itself is killed, because the end of its trainer is not being recorded."""
        try:
            self.pidfd: int | None = os.pidfd_open(shim_pid)
        except OSError:
            self.pidfd = None  # gone already, or a kernel before 5.3: the next look tells

    @property
    def alive(self) -> bool:
        """Whether the shim exists; reaps it when it was our child."""
        if self.child is not None and self.child.poll() is not None:
            return False
        return procfs.start_ticks(self.shim_pid) == self.ticks

    @property
    def trainer_pid(self) -> int | None:
        """The trainer's pid, once known."""
        return None if self.trainer is None else self.trainer[0]

    def close(self) -> None:
        """Release the process descriptor."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
