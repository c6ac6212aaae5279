"""A recorded run played back up to any point, as a killed program or a power cut leaves the disk."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """One recorded call."""

    op: str
    number: int
    offset: int
    path: str
    data: bytes = b""


def read(trace: Path) -> list[Call]:
    """Read a recording."""
    calls, content, at = [], trace.read_bytes(), 0
    while at < len(content):
        end = content.index(b"\n", at)
        op, number, offset, length, path = content[at:end].decode().split(" ", 4)
        at, data = end + 1, b""
        if op in ("write", "rename"):
            data, at = content[at : at + int(length)], at + int(length) + 1
        calls.append(Call(op, int(number), int(offset), path, data))
    return calls


@dataclass
class Inode:
    """A file's content: as programs see it, and as far as it was synced."""

    seen: bytearray = field(default_factory=bytearray)
    synced: bytearray = field(default_factory=bytearray)


@dataclass
class Disk:
    """Files by path: as programs see them, and as far as their folder was synced."""

    folder: str
    seen: dict[str, Inode] = field(default_factory=dict)
    synced: dict[str, Inode] = field(default_factory=dict)

    def apply(self, call: Call) -> None:
        """Do one call."""
        if call.op == "open":
            inode = self.seen.setdefault(call.path, Inode())
            if call.number:
                inode.seen.clear()
        elif call.op == "write":
            content = self.seen[call.path].seen
            content.extend(bytes(max(0, call.offset - len(content))))
            content[call.offset : call.offset + len(call.data)] = call.data
        elif call.op == "truncate":
            content = self.seen[call.path].seen
            content.extend(bytes(max(0, call.offset - len(content))))
            del content[call.offset :]
        elif call.op == "sync" and call.path == self.folder:
            self.synced = dict(self.seen)
        elif call.op == "sync":
            inode = self.seen[call.path]
            inode.synced = bytearray(inode.seen)
        elif call.op == "rename":
            self.seen[call.data.decode()] = self.seen.pop(call.path)
        elif call.op == "unlink":
            self.seen.pop(call.path, None)  # what was not there may be removed too

    def states(self) -> Iterator[tuple[str, bool, dict[str, bytes]]]:
        """Yield what may be found: how, whether the power was cut, and the files."""
        yield "killed", False, {path: bytes(inode.seen) for path, inode in self.seen.items()}
        yield "power cut, nothing unsynced", True, {path: bytes(inode.synced) for path, inode in self.synced.items()}
        yield "power cut, names but no data", True, {path: bytes(inode.synced) for path, inode in self.seen.items()}
        yield "power cut, data but no names", True, {path: bytes(inode.seen) for path, inode in self.synced.items()}


@dataclass(frozen=True)
class Remains:
    """What is on the disk at one point of the run."""

    how: str
    cut: bool
    begun: int
    acked: list[int]
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        """What tells this from other remains: the same files after the same operations read the same."""
        told = hashlib.sha256(repr((self.begun, self.acked)).encode())
        for path, content in sorted(self.files.items()):
            told.update(f"{path} {len(content)} ".encode() + content)
        return told.hexdigest()

    def put(self, original: str, folder: Path) -> None:
        """Write the files into a folder."""
        for path, content in self.files.items():
            place = folder / os.path.relpath(path, original)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def every_prefix(calls: list[Call], folder: str) -> Iterator[Remains]:
    """Yield what is left when the run ends after each call, and in the middle of each write."""
    disk, begun, acked = Disk(folder), 0, []
    for number, call in enumerate(calls):
        if call.op == "note":
            word, _, n = call.path.partition(" ")
            begun = int(n) if word == "begin" else begun
            acked = [*acked, int(n)] if word == "ack" else acked
            continue
        if call.op == "write" and len(call.data) > 1:
            half = copy.deepcopy(disk)
            half.apply(Call(call.op, call.number, call.offset, call.path, call.data[: len(call.data) // 2]))
            for how, cut, files in half.states():
                yield Remains(f"{how}, within call {number}", cut, begun, acked, files)
        disk.apply(call)
        for how, cut, files in disk.states():
            yield Remains(f"{how}, after call {number} ({call.op} {call.path})", cut, begun, acked, files)
