"""Reads known_hosts files as OpenSSH does: plain, wildcard, negated and hashed names, ports, revoked keys.

Each file is read once in a run, and a key is only decoded when its host is asked for: 64 hosts cost no more than one.
Certificate authorities are passed over: paramiko can't check host certificates.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import fnmatch
import functools
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

Verdict = Literal["known", "unknown", "changed", "revoked"]

_HASH_MAGIC = "|1|"
_SSH_PORT = 22


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line: a key, and whose it is."""

    names: tuple[str, ...]
    key_type: str
    key: str
    """Base64."""
    revoked: bool


@dataclasses.dataclass(frozen=True)
class KnownKeys:
    """What the files say of one host."""

    entries: tuple[Entry, ...]
    """Its own, under the name with the port."""
    portless: tuple[Entry, ...]
    """Those of the same machine on the usual port; they may vouch for a key, but not condemn one."""
    revoked: frozenset[str]

    @property
    def key_types(self) -> tuple[str, ...]:
        """The types of its keys, which the server should be asked for first."""
        return tuple(dict.fromkeys(entry.key_type for entry in (*self.entries, *self.portless)))

    def judge(self, key_type: str, key: bytes) -> Verdict:
        """Say whether a key that the host shows is the one that is known."""
        shown = base64.b64encode(key).decode()
        if shown in self.revoked:
            return "revoked"
        if any((entry.key_type, entry.key) == (key_type, shown) for entry in (*self.entries, *self.portless)):
            return "known"
        return "changed" if self.entries else "unknown"


def find(files: Iterable[str], name: str, port: int | None) -> KnownKeys:
    """Return what the files say of a host; port None: an alias, which stands for itself."""
    entries = [entry for file in files for entry in _read(file)]
    full = _name(name, port)
    mine = tuple(entry for entry in entries if _matches(entry.names, full))
    portless = () if full == name.lower() else tuple(e for e in entries if _matches(e.names, name.lower()))
    revoked = frozenset(entry.key for entry in (*mine, *portless) if entry.revoked)
    return KnownKeys(_valid(mine), _valid(portless), revoked)


def add(file: str, name: str, port: int | None, key_type: str, key: bytes) -> None:
    """Append a host's key in one write, so that parallel runs don't mix their lines; raises OSError."""
    path = Path(file).expanduser()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{_name(name, port)} {key_type} {base64.b64encode(key).decode()}\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":  # else ours would become part of that line
            line = f"\n{line}"
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _name(name: str, port: int | None) -> str:
    return name.lower() if port in {None, _SSH_PORT} else f"[{name.lower()}]:{port}"


def _valid(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if not entry.revoked)


@functools.cache
def _read(file: str) -> tuple[Entry, ...]:
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(entry for line in text.splitlines() if (entry := _parsed(line)) is not None)


def _parsed(line: str) -> Entry | None:
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else None
    if len(words) < 3 or words[0].startswith("#") or marker not in {None, "@revoked"}:
        return None
    return Entry(tuple(words[0].split(",")), words[1], words[2], revoked=marker is not None)


def _matches(names: Sequence[str], wanted: str) -> bool:
    """Say whether a line is about a host: one name fits, and none that begins with ! does."""
    if any(name.startswith("!") and _fits(name[1:], wanted) for name in names):
        return False
    return any(not name.startswith("!") and _fits(name, wanted) for name in names)


def _fits(name: str, wanted: str) -> bool:
    if name.startswith(_HASH_MAGIC):
        return _hashed(name, wanted)
    if "*" in name or "?" in name:
        return fnmatch.fnmatchcase(wanted, name.lower().replace("[", "[[]"))
    return name.lower() == wanted


@functools.lru_cache(maxsize=65536)
def _hashed(name: str, wanted: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in name.removeprefix(_HASH_MAGIC).split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.digest(salt, wanted.encode(), hashlib.sha1), digest)
