"""SIGTERM and SIGINT as a wish to stop: at once while starting up, at the next safe point while training.

Owns the process's signal handlers. Handlers only run between bytecodes of the main thread, so whatever calls into C for
long (building environments) must come back often.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Whether somebody has asked this process to stop; asking twice is asking once."""

    def __init__(self) -> None:
        self.requested = False
        self._farewell: Callable[[], None] | None = None

    def install(self) -> None:
        """Take over SIGTERM and SIGINT; call it in the main thread."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def ignore_from_now_on(self) -> None:
        """Let further signals pass: the work is saved and the interpreter is on its way out."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def request(self) -> None:
        """Ask to stop, as a signal does."""
        self.requested = True
        if self._farewell is not None:
            # Not an exception: raised inside an import or a native callback it could be swallowed, and there is
            # nothing to clean up before the first step.
            self._farewell()
            os._exit(0)

    @contextmanager
    def at_once(self, farewell: Callable[[], None]) -> Iterator[None]:
        """Within: stopping means calling `farewell` (from a signal handler) and ending the process with exit code 0."""
        self._farewell = farewell
        if self.requested:
            self.request()
        try:
            yield
        finally:
            self._farewell = None

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.request()
