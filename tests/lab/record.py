"""Knows which labs are on the machine, and removes what dead ones left: processes, namespaces, mounts, files.

A lab writes its record before it makes anything else, and the record goes last: whatever is left can be found.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab import cgroup, netns, places
from lab.commands import run

_RECORD = "record.json"
_NSPAWN = Path("/run/systemd/nspawn")


def folder(lab: str) -> Path:
    """Return the folder of a lab."""
    return places.STATE / lab


def namespace(lab: str) -> str:
    """Return the network namespace of a lab."""
    return places.PREFIX + lab


def create(lab: str, *, kept: bool) -> Path:
    """Record a lab and return its folder, empty; a kept one outlives this process. Replaces one of the same name."""
    remove(lab)
    made = folder(lab)
    made.mkdir(parents=True)
    owner = None if kept else [os.getpid(), _started(os.getpid())]
    (made / _RECORD).write_text(json.dumps({"owner": owner}), encoding="utf-8")
    return made


def labs() -> list[str]:
    """Return the labs on the machine, dead ones too."""
    return sorted(path.name for path in places.STATE.glob("*") if path.is_dir())


def dead(lab: str) -> bool:
    """Tell whether a lab belongs to a process that is gone."""
    try:
        owner = json.loads((folder(lab) / _RECORD).read_text(encoding="utf-8"))["owner"]
    except (OSError, ValueError, KeyError):
        return True  # killed while it was recorded, or removed halfway
    return owner is not None and _started(owner[0]) != owner[1]


def sweep() -> list[str]:
    """Remove what dead labs left; return their names."""
    places.STATE.mkdir(parents=True, exist_ok=True)
    with alone():
        found = [lab for lab in labs() if dead(lab)]
        for lab in found:
            remove(lab)
    return found


def remove(lab: str) -> None:
    """Remove a lab with all that belongs to it, however far it got; does nothing if there is none."""
    group = cgroup.Group(lab)
    group.kill()
    group.remove()
    netns.delete(namespace(lab))
    _unlock(lab)
    for place in _mounts_below(folder(lab)):
        run("umount", "--lazy", place)
    for left in (_NSPAWN / "propagate").glob(f"{namespace(lab)}-*"):
        left.rmdir()
    for child in folder(lab).glob("*"):
        if child.name != _RECORD:
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    shutil.rmtree(folder(lab), ignore_errors=True)


@contextmanager
def alone() -> Iterator[None]:
    """Keep other processes from making or removing labs meanwhile."""
    places.STATE.mkdir(parents=True, exist_ok=True)
    with (places.STATE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _started(pid: int) -> int | None:
    """Return when a process started, in ticks since boot, or None if there is none; a zombie counts as none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _mounts_below(top: Path) -> list[str]:
    """Return what is mounted below a folder, innermost first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mounted = [line.split()[1] for line in lines]
    return sorted((place for place in mounted if place.startswith(f"{top}/")), key=len, reverse=True)


def _unlock(lab: str) -> None:
    """Remove the lock files that killed nspawns left of a lab's roots."""
    for root in folder(lab).glob("hosts/*/root"):
        with suppress(OSError):
            stat = root.stat()
            (_NSPAWN / "locks" / f"inode-{stat.st_dev}:{stat.st_ino}").unlink()
