"""Answers of slow programs, remembered between runs for as long as nothing that they depend on has changed.

A stamp stands for all that an answer depends on. Whatever can't be read or written is as if it had never been there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

Part = tuple[str, bytes | None]
"""A name, and what stands behind it; None: nothing does."""


class _Book(msgspec.Struct):
    stamp: str
    answers: dict[str, Any]


def stamp(contents: Iterable[Part]) -> str:
    """Return one word for all of these."""
    digest = hashlib.sha256()
    for name, content in contents:
        kind = b"-" if content is None else str(len(content)).encode()
        digest.update(b"\0".join([name.encode(errors="surrogateescape"), kind, content or b""]))
    return digest.hexdigest()


def file(path: Path) -> Part:
    """Return a file for a stamp."""
    try:
        return str(path), path.read_bytes()
    except OSError:
        return str(path), None


def installed(path: str) -> Part:
    """Return a program or module for a stamp: by when it was installed, not by all that is in it."""
    try:
        found = os.stat(path)  # noqa: PTH116  # a Path would be made for nothing else
    except OSError:
        return path, None
    return path, f"{found.st_mtime_ns} {found.st_size}".encode()


def load(name: str, current: str) -> dict[str, Any]:
    """Return the answers under a name, if they were given under this stamp."""
    try:
        book = msgspec.json.decode(_place(name).read_bytes(), type=_Book)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return book.answers if book.stamp == current else {}


def save(name: str, current: str, answers: Mapping[str, Any]) -> None:
    """Remember these answers beside those of the same stamp; others are forgotten."""
    place = _place(name)
    content = msgspec.json.encode(_Book(current, {**load(name, current), **answers}))
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, written = tempfile.mkstemp(prefix=f".{name}-", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as new:
                new.write(content)
            Path(written).replace(place)
        except OSError:
            Path(written).unlink(missing_ok=True)
            raise


def _place(name: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return folder / "rlfleet" / f"{name}.json"
