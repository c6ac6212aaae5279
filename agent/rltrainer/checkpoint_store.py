"""The folder of checkpoints: which is newest, how many are kept, what happens to damaged ones.

Knows files and headers only, not torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from rltrainer import __version__, atomic, checkpoint_file
from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.errors import DamagedCheckpointError
from rltrainer.tally import Tally

_PATTERN: Final = "ckpt-*.pt"


def paths(folder: Path) -> list[Path]:
    """Return a folder's checkpoints, oldest first."""
    return sorted(folder.glob(_PATTERN))


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.quarantine = folder / "quarantine"
        self._keep = keep
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

    def save(self, game: str, tally: Tally, metrics_offset: int, payload: bytes) -> Checkpoint:
        """Commit a checkpoint and remove those that are no longer kept.

        Raises:
            OSError: nothing was saved; all older ones are still there.
        """
        header = Header(
            game=game,
            written_by=__version__,
            saved_at=time.time(),
            tally=msgspec.structs.replace(tally),  # the run goes on counting in its own
            metrics_offset=metrics_offset,
        )
        path = self.folder / f"ckpt-{tally.global_step:012d}.pt"
        checkpoint_file.write(path, header, payload)
        _keep_newest(self.folder, self._keep)
        return Checkpoint(path, header, payload)

    def _quarantine(self, path: Path, why: str) -> None:
        self.quarantine.mkdir(exist_ok=True)
        path.replace(self.quarantine / path.name)
        atomic.sync_folder(self.folder)
        _keep_newest(self.quarantine, self._keep)
        self._say(f"QUARANTINE: {path.name} is damaged ({why}); moved to {self.quarantine}, trying the one before")


def _keep_newest(folder: Path, keep: int) -> None:
    for path in paths(folder)[:-keep]:
        path.unlink(missing_ok=True)
