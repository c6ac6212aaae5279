"""The folder of checkpoints: which is newest, how many are kept, what happens to damaged ones.

Knows files and headers only, not torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from rltrainer import atomic, checkpoint_file
from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.errors import DamagedCheckpointError

_PATTERN: Final = "ckpt-*.pt"


def paths(folder: Path) -> list[Path]:
    """Return a folder's checkpoints, oldest first."""
    return sorted(folder.glob(_PATTERN))


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int, say: Callable[[str], None], *, disk_mib: float = 1024) -> None:
        self.folder = folder
        self.quarantine = folder / "quarantine"
        self._keep = keep
        self._disk_mib = disk_mib
        self._say = say

    def remove_stale_temporaries(self) -> None:
        """Remove what a killed trainer had not finished writing; call it under the run's lock."""
        for path in self.folder.glob(f"*{checkpoint_file.TEMPORARY_SUFFIX}"):
            path.unlink()
            self._say(f"checkpoint: removed {path.name}, which was never finished")

    def newest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, after moving damaged newer ones to quarantine; None: there is none.

        Raises:
            ConfigurationError: the newest is whole, but from a newer rltrain.
        """
        for path in reversed(paths(self.folder)):
            try:
                return checkpoint_file.read(path)
            except DamagedCheckpointError as damage:
                self._quarantine(path, damage.why)
        return None

    def has_damaged(self) -> bool:
        """Return whether checkpoints lie in quarantine."""
        return bool(paths(self.quarantine))

    def save(self, header: Header, envs: bytes, payload: bytes) -> Checkpoint:
        """Commit a checkpoint and remove those that are no longer kept.

        Raises:
            OSError: nothing was saved; all older ones are still there.
        """
        header = msgspec.structs.replace(header, envs_bytes=len(envs))
        path = self.folder / f"ckpt-{header.tally.global_step:012d}.pt"
        checkpoint_file.write(path, header, envs, payload)
        _keep_newest(self.folder, self._keep, self._disk_mib)
        return Checkpoint(path, header, envs, payload)

    def _quarantine(self, path: Path, why: str) -> None:
        self.quarantine.mkdir(exist_ok=True)
        path.replace(self.quarantine / path.name)
        atomic.sync_folder(self.folder)
        _keep_newest(self.quarantine, self._keep, self._disk_mib)
        self._say(f"QUARANTINE: {path.name} is damaged ({why}); moved to {self.quarantine}, trying the one before")


def _keep_newest(folder: Path, keep: int, disk_mib: float) -> None:
    """Remove the oldest until so many, on so much disk, are left; the newest always stays."""
    newest_first = paths(folder)[::-1]
    used_mib = 0.0
    for place, path in enumerate(newest_first):
        used_mib += path.stat().st_size / 2**20
        if place > 0 and (place >= keep or used_mib > disk_mib):
            path.unlink(missing_ok=True)
