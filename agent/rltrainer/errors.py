"""What can go wrong in a way that a person can act on.

TrainerError                  exit 1: may pass, try again
├── RunDirBusyError           another trainer works in this folder
├── DeviceLostError           this build of torch can use a GPU but sees none
├── WorkerLostError           an environment worker died or failed
├── CheckpointNotSavedError   stopping or done, and the last checkpoint could not be written
├── DamagedCheckpointError    a checkpoint's bytes are not those that were written; the store catches it
└── ConfigurationError        exit 2: the same start will fail again, don't retry
"""

from __future__ import annotations

from pathlib import Path


class TrainerError(Exception):
    """A failure with a message for a person: place, fault, next step."""

    exit_code = 1


class ConfigurationError(TrainerError):
    """The arguments, the run directory or the machine don't fit: retrying can't help."""

    exit_code = 2


class RunDirBusyError(TrainerError):
    """Another trainer holds the lock of this run directory."""


class DeviceLostError(TrainerError):
    """A GPU was asked for and none answers, though torch was built for one."""


class WorkerLostError(TrainerError):
    """A process that plays games died or failed; its games' state is lost back to the last checkpoint."""


class CheckpointNotSavedError(TrainerError):
    """The run ended but its last checkpoint could not be written."""


class DamagedCheckpointError(TrainerError):
    """A checkpoint is empty, cut off or altered."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why
