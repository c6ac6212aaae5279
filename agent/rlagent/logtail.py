"""The end of a log file, and what is appended to it, across rotations (`x.log` becomes `x.log.1`).

Reads only, while somebody else writes and rotates: files are told apart by what they are, not by their names, which
change at any instant.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

_CHUNK = 65536
_POLL_S = 0.25


def last_lines(path: Path, count: int) -> list[bytes]:
    """Return the last lines of a log, from rotated files too when the newest is short; [] without a log."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(file) for file in open_all(path)]
        return _last_lines(files, _sizes(files), count)


def follow(path: Path, lines: int) -> Iterator[bytes]:
    """Yield the last lines, then whatever is appended, for ever; a rotation loses nothing and repeats nothing.

    Only files that were deleted before they could be read are lost. An empty chunk: nothing new at the moment.
    """
    file, first = _begin(path, lines)
    yield from first
    while True:
        chunk = file.read(_CHUNK)
        if chunk:
            yield chunk
            continue
        yield b""  # lets the caller notice that nobody reads any more
        following = successor(file, path)
        if following is not None:
            # The writer renames only after its last write: what is there now is all there will be.
            while chunk := file.read(_CHUNK):
                yield chunk
            file.close()
            file = following
            continue
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)  # somebody emptied it
        time.sleep(_POLL_S)


def _begin(path: Path, count: int) -> tuple[BinaryIO, list[bytes]]:
    """Return the newest file, placed behind its last lines, and those lines; waits for a log to come into being."""
    while not (files := open_all(path)):
        time.sleep(_POLL_S)
    sizes = _sizes(files)
    lines = _last_lines(files, sizes, count)
    files[0].seek(sizes[0])
    close_all(files[1:])
    return files[0], lines


def _last_lines(files: Sequence[BinaryIO], sizes: Sequence[int], count: int) -> list[bytes]:
    """Return the last lines of files, newest first, as they were when they had these sizes."""
    lines: list[bytes] = []
    for file, size in zip(files, sizes, strict=True):
        lines = tail(file, count - len(lines), size) + lines
        if len(lines) >= count:
            break
    return lines


def tail(file: BinaryIO, count: int, end: int) -> list[bytes]:
    """Return at most so many lines before a place."""
    position, data = end, b""
    while position > 0 and data.count(b"\n") <= count:
        step = min(_CHUNK, position)
        position = file.seek(position - step)
        data = file.read(step) + data
    # Not splitlines: a progress bar's carriage returns end no line.
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    whole = lines if lines[-1] else lines[:-1]
    return whole[-count:] if count > 0 else []


def successor(file: BinaryIO, path: Path) -> BinaryIO | None:
    """Open the file that the writer went on with after this one; None while this is the newest."""
    try:
        if os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return None
    except FileNotFoundError:
        return None
    files = open_all(path)
    own = os.fstat(file.fileno())
    newer = []
    for other in files:
        stat = os.fstat(other.fileno())
        if os.path.samestat(stat, own):
            break
        newer.append((stat.st_mtime_ns, other))
    else:
        # This one was deleted: what was written since is newer than it, older rotated files are not.
        newer = newer[:1] + [entry for entry in newer[1:] if entry[0] >= own.st_mtime_ns]
    following = newer[-1][1] if newer else None
    close_all([other for other in files if other is not following])
    return following


def open_all(path: Path) -> list[BinaryIO]:
    """Open a log and its rotated files, newest first."""
    found: list[BinaryIO] = []
    last = -1
    # Upwards, as rotation renames: a file that moves meanwhile may be met twice, but is never missed. Those that have
    # moved beyond the last number by now are looked for once more.
    while ahead := [number for number in _numbers(path) if number > last]:
        for number in ahead:
            with contextlib.suppress(FileNotFoundError):
                _add(found, path.with_name(f"{path.name}.{number}") if number else path)
        last = ahead[-1]
    return found


def _numbers(path: Path) -> list[int]:
    """Return the numbers under which files of a log may be found, in order; 0 stands for the newest."""
    try:
        stems = [entry.name.rpartition(".") for entry in path.parent.iterdir()]
    except FileNotFoundError:
        return []
    numbers = {int(suffix) for stem, _, suffix in stems if stem == path.name and suffix.isdecimal()}
    return sorted({0, 1} | numbers | {number + 1 for number in numbers})


def _add(found: list[BinaryIO], path: Path) -> None:
    """Open a file; one that was found before has moved here, behind all that was found since.

    Raises FileNotFoundError.
    """
    file = path.open("rb")
    for other in found:
        if os.path.samestat(os.fstat(other.fileno()), os.fstat(file.fileno())):
            found.remove(other)
            other.close()
            break
    found.append(file)


def _sizes(files: Sequence[BinaryIO]) -> list[int]:
    return [os.fstat(file.fileno()).st_size for file in files]


def close_all(files: Sequence[BinaryIO]) -> None:
    """Close them all."""
    for file in files:
        file.close()
