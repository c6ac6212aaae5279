"""The progress file: this trainer's heartbeat for the agent (`rlagent.protocol.progress`).

While training, the loop itself beats, so that a hung loop falls silent. Only while starting up, when the main thread is
busy importing, a thread beats for it, and not for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from rlagent.protocol import progress
from rltrainer import atomic
from rltrainer.args import FRAMESKIP
from rltrainer.checkpoint_file import Checkpoint
from rltrainer.tally import Tally

BEAT_S: Final = 1.0
"""Between two reports while nothing special happens; readers expect one at least every 2 seconds."""

START_UP_MAX_S: Final = 600.0
"""A start-up that takes longer is hung: let it look so."""


FAREWELL_MAX_S: Final = 10.0
"""A heartbeat that takes longer to write than this is hung."""


class ProgressFile:
    """The last report and the file it is written to."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._written_s = float("-inf")
        self._failing = False
        self._writing = threading.Lock()
        self.report = progress.Progress(global_step=0, frameskip=FRAMESKIP, phase="starting", finished=False)

    def update(self, **changes: Any) -> None:  # noqa: ANN401 - the fields of Progress
        """Change fields of the next report; only the main thread does, also while another one writes."""
        self.report = msgspec.structs.replace(self.report, **changes)

    def count(self, tally: Tally) -> None:
        """Take a tally into the next report."""
        self.update(
            global_step=tally.global_step,
            episodes=tally.episodes,
            best_return=tally.best_return,
            mean_return_100=tally.mean_return_100,
            last_return=tally.last_return,
        )

    def saved(self, checkpoint: Checkpoint, cost_s: float | None = None) -> None:
        """Take a committed checkpoint, and how long training stood still for it, into the next report."""
        header = checkpoint.header
        self.update(
            checkpoint=progress.CheckpointReport(
                global_step=header.tally.global_step,
                saved_at=header.saved_at,
                cost_s=cost_s,
                path=str(checkpoint.path),
            )
        )

    def is_due(self) -> bool:
        """Return whether the last report is old enough for the next."""
        return time.monotonic() >= self._written_s + BEAT_S

    def hurry(self) -> None:
        """Let the next report be due at once."""
        self._written_s = float("-inf")

    def write(self, **changes: Any) -> None:  # noqa: ANN401 - the fields of Progress
        """Change fields and replace the file now; a failure is said once and otherwise costs only the report."""
        if changes:
            self.update(**changes)
        self._written_s = time.monotonic()
        try:
            with self._writing:
                self._replace("tmp")
        except OSError as error:
            if not self._failing:
                self._say(f"progress: can't write {self._path} ({error.strerror}); training goes on unseen")
            self._failing = True
        else:
            self._failing = False

    def farewell(self) -> None:
        """Report a stop before the first step, from a signal handler, as the last thing this process does."""
        self._say("stop: asked to while starting up; nothing to save")
        self.update(phase="stopping")
        # Kept for good, so that the start-up's heartbeat can't write over this report; it alone may hold it now.
        self._writing.acquire(timeout=FAREWELL_MAX_S)
        try:
            self._replace("stop.tmp")
        except OSError as error:
            self._say(f"progress: can't write {self._path} ({error.strerror})")

    def _replace(self, suffix: str) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{suffix}")
        atomic.replace(self._path, (progress.encode(self.report),), temporary=temporary, durable=False)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Within: a thread writes a report every second, for at most START_UP_MAX_S."""
        over = threading.Event()

        def beat() -> None:
            deadline_s = time.monotonic() + START_UP_MAX_S
            while not over.is_set() and time.monotonic() < deadline_s:
                self.write()
                over.wait(BEAT_S)

        thread = threading.Thread(target=beat, name="start-up heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
