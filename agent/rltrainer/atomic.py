"""Replace a file so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def replace(path: Path, parts: Iterable[bytes], *, temporary: Path, durable: bool) -> None:
    """Write `parts` to a temporary file in the same folder and rename it over `path`.

    Args:
        path: the file to replace.
        parts: its new content, written one after another.
        temporary: the file to write first; removed again if anything fails.
        durable: survive a power cut too: sync the file before the rename and the folder after it.

    Raises:
        OSError: the file is as it was.
    """
    try:
        with temporary.open("wb", buffering=0) as file:
            for part in parts:
                _write_all(file.fileno(), part)
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, part: bytes) -> None:
    view = memoryview(part)
    while view:
        view = view[os.write(descriptor, view) :]
