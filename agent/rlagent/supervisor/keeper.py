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
        self.trainer_gone_at: float | None = None
        """When the trainer was seen to have ended, while the shim still has to say how."""
        self.term_sent = False
        self.kill_at: float | None = None
        """When a stop loses its patience; None: not being stopped."""
        self.give_up_at: float | None = None
        """When the shim itself is killed, because the end of its trainer is not being recorded."""
        self.pidfd = _open(shim_pid)
        self.trainer_pidfd: int | None = None

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

    def know_trainer(self, pid: int, ticks: int) -> None:
        """Watch the trainer too, now that it is known."""
        self.trainer = (pid, ticks)
        self.trainer_pidfd = _open(pid)

    def notice_trainer(self, now: float) -> bool:
        """Whether the trainer has ended although the shim is still there; its descriptor has then told all it can."""
        if self.trainer is None or procfs.start_ticks(self.trainer[0]) == self.trainer[1]:
            return False
        if self.trainer_gone_at is None:
            self.trainer_gone_at = now
        _close(self.trainer_pidfd)
        self.trainer_pidfd = None
        return True

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when the trainer or the shim ends."""
        return [fd for fd in (self.pidfd, self.trainer_pidfd) if fd is not None]

    def close(self) -> None:
        """Release the process descriptors."""
        for descriptor in self.filenos():
            _close(descriptor)
        self.pidfd = self.trainer_pidfd = None


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None  # gone already, or a kernel before 5.3: the next look tells


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
