"""The end of a log file, and what is appended to it, across rotations (`x.log` becomes `x.log.1`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK = 65536
_POLL_S = 0.25


def last_lines(path: Path, count: int) -> list[bytes]:
    """Return the last lines of a log, from rotated files too when the newest is short; [] without a log."""
    lines: list[bytes] = []
    number = 0
    while len(lines) < count:
        rotated = path if number == 0 else path.with_name(f"{path.name}.{number}")
        try:
            with rotated.open("rb") as file:
                lines = _tail(file, count - len(lines)) + lines
        except FileNotFoundError:
            break
        number += 1
    return lines


def follow(path: Path, lines: int) -> Iterator[bytes]:
    """Yield the last lines, then whatever is appended, for ever; a rotation loses nothing."""
    file = _wait_for(path)
    yield from last_lines(path, lines)
    file.seek(0, os.SEEK_END)
    while True:
        chunk = file.read(_CHUNK)
        if chunk:
            yield chunk
            continue
        yield b""  # lets the caller notice that nobody reads any more
        if _rotated(file, path):
            # The writer renames only after its last write: what is there now is all there will be.
            yield file.read()
            file.close()
            file = _wait_for(path)
            continue
        time.sleep(_POLL_S)


def _tail(file: BinaryIO, count: int) -> list[bytes]:
    position = file.seek(0, os.SEEK_END)
    data = b""
    while position > 0 and data.count(b"\n") <= count:
        step = min(_CHUNK, position)
        position = file.seek(position - step)
        data = file.read(step) + data
    return data.splitlines(keepends=True)[-count:] if count > 0 else []


def _rotated(file: BinaryIO, path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return False


def _wait_for(path: Path) -> BinaryIO:
    while True:
        try:
            return path.open("rb")
        except FileNotFoundError:
            time.sleep(_POLL_S)
