"""A run's folder: where each thing lies in it, and the lock that keeps it to one trainer."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rltrainer.errors import ConfigurationError, RunDirBusyError

_LASTING: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG})
"""Faults that no retry mends; a full disk may."""


@dataclass(frozen=True)
class RunDir:
    """The folder of one run; it outlives every attempt."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, newest last by name."""
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: episodes and iterations."""
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.root / "tb"

    def set_metrics_aside(self) -> Path:
        """Rename metrics.jsonl, so that a run that begins again doesn't write over it; return its new name."""
        number = next(n for n in itertools.count(1) if not self.metrics.with_name(f"metrics.{n}.jsonl").exists())
        aside = self.metrics.with_name(f"metrics.{number}.jsonl")
        if self.metrics.exists():
            self.metrics.replace(aside)
        return aside

    def take(self) -> int:
        """Make the folder and lock it for this process; return the lock's descriptor, to be kept open.

        Raises:
            ConfigurationError: it can't be made or written.
            RunDirBusyError: another trainer works in it.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if error.errno not in _LASTING:
                raise
            raise ConfigurationError(
                f"--run-dir {self.root}: can't write there ({error.strerror}: {error.filename}); name another folder"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise RunDirBusyError(
                f"--run-dir {self.root}: in use by another rltrain (PID {owner}); stop it first"
            ) from None
        with suppress(OSError):  # the owner's PID is for people: a full disk must not stop a resume
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock
