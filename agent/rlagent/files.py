"""Files that are replaced as a whole: a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def replace(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file's content atomically; `durable` also survives a power cut right after. Raises OSError.

    The temporary file has a fixed name: one writer at a time, and one left by a killed writer is simply overwritten.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        sync_directory(path.parent)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content durably; its name is once its directory is synced. Raises OSError."""
    with source.open("rb") as original, target.open("wb") as file:
        shutil.copyfileobj(original, file)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
