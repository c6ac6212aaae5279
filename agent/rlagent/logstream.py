"""Several logs as one stream of records, each line with its time and its place, so that a reader can go on later.

Reads only. What belongs to a log across its rotations is told by `rlagent.logtail`.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from rlagent import logtail
from rlagent.protocol.logs import AGENT, LogBeat, LogLine, LogNotice, LogRecord, LogStart

POLL_S: Final = 0.25
BEAT_S: Final = 2.0
_CHUNK: Final = 65536
_CHECKED_BYTES: Final = 64
"""So much of a line's end tells whether a place still is where it was."""
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?(Z?)")


def choose(wanted: Sequence[str], games: Sequence[str]) -> list[str]:
    """Return the sources that names and patterns mean, each once; raises KeyError for one that means none."""
    found: dict[str, None] = {}
    for name in wanted or [AGENT]:
        matched = [AGENT] if name == AGENT else [game for game in games if fnmatch.fnmatchcase(game, name)]
        if not matched:
            raise KeyError(name)
        found |= dict.fromkeys(matched)
    return list(found)


def stream(
    paths: Mapping[str, Path],
    lines: int,
    places: Mapping[str, str],
    host_uuid: str | None,
    *,
    follow: bool,
    alive: Callable[[], bool],
) -> Iterator[LogRecord]:
    """Yield the last lines of each source, or all after its place, in the order of their times; then what comes.

    Ends at the end of the logs, or, following, when `alive` says that nobody reads any more.
    """
    yield LogBeat(at=time.time(), host_uuid=host_uuid)
    sources = [_Source(name, path) for name, path in paths.items()]
    backlog: list[LogLine] = []
    for source in sources:
        place = places.get(source.name)
        if place is None:
            yield LogStart(source=source.name, place=source.begin(lines))
        elif not source.resume(place):
            text = f"{source.name}: lines may be missing: its log was rotated away or emptied in the meantime"
            yield LogNotice(text=text)
        backlog += source.read(fresh=False)
    yield from sorted(backlog, key=lambda line: line.at)
    beat = time.monotonic()
    while follow and alive():
        new = [line for source in sources for line in source.read(fresh=True)]
        yield from sorted(new, key=lambda line: line.at)
        if time.monotonic() - beat >= BEAT_S:
            yield LogBeat(at=time.time())
            beat = time.monotonic()
        time.sleep(POLL_S)


class _Source:
    """One log, read line by line; a line without its end is not read yet."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._file: BinaryIO | None = None
        self._pending = b""
        self._last_at = 0.0

    def begin(self, lines: int) -> str:
        """Stand before the last so many lines, in a rotated file if the newest has fewer; returns that place."""
        files = logtail.open_all(self._path)
        chosen = files[0] if files else None
        for file in files:
            size = os.fstat(file.fileno()).st_size
            found = logtail.tail(file, lines, size)
            file.seek(size - sum(map(len, found)))
            chosen = file
            lines -= len(found)
            if lines <= 0:
                break
        self._take(chosen, files)
        return "" if chosen is None else _place(chosen, chosen.tell(), b"")

    def resume(self, place: str) -> bool:
        """Stand behind a place; False: it is gone, and this stands at the oldest line that is left."""
        files = logtail.open_all(self._path)
        # No place: there was no log yet, so that all of it is new.
        inode, offset, checksum, length = map(int, place.split(":")) if place else (0, 0, 0, 0)
        for file in files:
            if os.fstat(file.fileno()).st_ino == inode and offset >= length:
                file.seek(offset - length)
                if zlib.crc32(file.read(length)) == checksum:
                    self._take(file, files)
                    return True
        for file in files:
            file.seek(0)
        self._take(files[-1] if files else None, files)
        return not place

    def read(self, *, fresh: bool) -> list[LogLine]:
        """Return the lines that are there by now; `fresh`: they came just now."""
        found: list[LogLine] = []
        if self._file is None:
            self._take(next(reversed(files := logtail.open_all(self._path)), None), files)
        while self._file is not None:
            while chunk := self._file.read(_CHUNK):
                found += self._split(self._file, chunk, fresh=fresh)
            following = logtail.successor(self._file, self._path)
            if following is None:
                break
            # The writer renames only after its last write.
            while chunk := self._file.read(_CHUNK):
                found += self._split(self._file, chunk, fresh=fresh)
            if self._pending:
                found += self._split(self._file, b"\n", fresh=fresh)
            self._file.close()
            self._file = following
        if self._file is not None and os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # somebody emptied it
            self._pending = b""
        return found

    def _take(self, chosen: BinaryIO | None, files: Sequence[BinaryIO]) -> None:
        logtail.close_all([file for file in files if file is not chosen])
        self._file, self._pending = chosen, b""

    def _split(self, file: BinaryIO, chunk: bytes, *, fresh: bool) -> list[LogLine]:
        stat = os.fstat(file.fileno())
        *whole, rest = (self._pending + chunk).split(b"\n")
        end = file.tell() - len(rest) - sum(len(line) + 1 for line in whole)
        found = []
        for line in whole:
            end += len(line) + 1
            text = line.decode("utf-8", "replace")
            # Lines of one log never change their order, whatever their times say.
            self._last_at = max(
                self._last_at, stamp(text) or (time.time() if fresh else self._last_at or stat.st_mtime)
            )
            place = _place(file, end, line + b"\n")
            found.append(LogLine(source=self.name, at=self._last_at, text=text, place=place))
        self._pending = rest
        return found


def _place(file: BinaryIO, offset: int, before: bytes) -> str:
    """Return what names an offset in a file, and the bytes before it, by which it is known again."""
    checked = before[-_CHECKED_BYTES:]
    return f"{os.fstat(file.fileno()).st_ino}:{offset}:{zlib.crc32(checked)}:{len(checked)}"


def stamp(text: str) -> float | None:
    """Return the time a line begins with, seconds since the epoch: UTC with a Z, else in the host's zone."""
    found = _STAMP.match(text)
    if found is None:
        return None
    day, clock, fraction, utc = found.groups()
    try:
        at = dt.datetime.fromisoformat(f"{day}T{clock}{'+00:00' if utc else ''}")
    except ValueError:
        return None
    return at.timestamp() + float(f"0.{fraction or 0}")
