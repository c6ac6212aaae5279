"""TensorBoard events under run_dir/tb, with CleanRL's names. Nice to have: no fault in here ends a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

RETRY_S: Final = 60.0
"""After a fault (a full disk), events are dropped for so long."""


class Board:
    """An event file that is opened with the first value and opened anew after a fault."""

    def __init__(self, folder: Path, global_step: int, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        # Values after the point the run continues from come from work that was lost: TensorBoard hides them.
        self._purge_step = global_step + 1 if global_step else 0
        self._writer: SummaryWriter | None = None
        self._retry_s = float("-inf")

    def add(self, values: Mapping[str, float], global_step: int) -> None:
        """Note values at a step."""
        if time.monotonic() < self._retry_s:
            return
        try:
            if self._writer is None:
                self._writer = self._open()
            for name, value in values.items():
                self._writer.add_scalar(name, value, global_step)
        except (OSError, ImportError) as error:
            self._fail(error)

    def flush(self) -> None:
        """Write what is held back."""
        if self._writer is not None:
            try:
                self._writer.flush()
            except OSError as error:
                self._fail(error)

    def close(self) -> None:
        """Write what is held back and close the file."""
        self.flush()
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - only once there is something to show

        return SummaryWriter(str(self._folder), purge_step=self._purge_step, flush_secs=10)

    def _fail(self, error: Exception) -> None:
        self._say(f"tensorboard: no events for {RETRY_S:.0f} s ({error})")
        self._writer = None
        self._retry_s = time.monotonic() + RETRY_S
