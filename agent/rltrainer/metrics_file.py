"""metrics.jsonl: one JSON object a line for each episode and each iteration, `kind` says which.

Lines are held back until `flush`, and a checkpoint records the file's length: after a crash the file is cut back to it,
so that no episode appears twice. A full disk costs metrics, never the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

PENDING_MAX: Final = 20_000
"""Lines held back while the disk is full; older ones are dropped."""


class MetricsFile:
    """The metrics of one run, open at the point the run continues from."""

    def __init__(self, path: Path, offset: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        length = os.fstat(self._file).st_size
        if length < offset:
            say(f"metrics: {path} is {offset - length} bytes shorter than at the checkpoint; some of its past is lost")
        self._offset = min(length, offset)
        os.ftruncate(self._file, self._offset)
        self._pending: list[bytes] = []
        self._failing = False

    def add(self, kind: str, **values: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Note one record; it is on disk after the next flush."""
        self._pending.append(msgspec.json.encode({"kind": kind, **values}) + b"\n")
        del self._pending[:-PENDING_MAX]

    def flush(self) -> int:
        """Write what is held back; if that fails, say so once and keep it. Return the file's length in bytes."""
        content = memoryview(b"".join(self._pending))
        written = 0
        try:
            while written < len(content):
                written += os.pwrite(self._file, content[written:], self._offset + written)
        except OSError as error:
            self._fail(error)  # a part that was written is overwritten by the next flush
            return self._offset
        self._offset += written
        self._pending.clear()
        self._failing = False
        return self._offset

    def sync(self) -> None:
        """Let what is written survive a power cut; any thread may call it."""
        try:
            os.fsync(self._file)
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Write what is held back and close the file."""
        self.flush()
        os.close(self._file)

    def _fail(self, error: OSError) -> None:
        if not self._failing:
            self._say(f"metrics: can't write ({error.strerror}); trying again later, training goes on")
        self._failing = True
