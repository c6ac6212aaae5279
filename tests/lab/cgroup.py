"""Control groups of the lab: every process of a lab is in one, so that all of it can be killed at once.

nspawn puts a host's processes below the group it is started in, whatever they do; nothing in a host can leave it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from pathlib import Path

from lab.commands import LabError

PARENT = "rlfleet-lab"


@functools.cache
def roots() -> tuple[Path, ...]:
    """Return the hierarchies that processes are put into: version 2, and systemd's own old one where it is mounted."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    found = [Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"][:1]
    found += [
        Path(place)
        for _, place, kind, options, *_ in mounts
        if kind == "cgroup" and "name=systemd" in options.split(",")
    ][:1]
    return tuple(found)


def unified() -> Path | None:
    """Return where version 2 is mounted."""
    return next((root for root in roots() if (root / "cgroup.controllers").exists()), None)


class Group:
    """A control group of the lab's, in each hierarchy, by its path below the lab's own."""

    def __init__(self, path: str) -> None:
        self._folders = [root / PARENT / path for root in roots()]

    @property
    def entrances(self) -> list[Path]:
        """The files that a process writes its id to, to enter with all its children to come."""
        return [folder / "cgroup.procs" for folder in self._folders]

    def entering(self, *words: object) -> list[str]:
        """Return a command that enters the group, which must exist, and becomes another command there."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.entrances[0]), *map(str, words)]

    def create(self) -> None:
        """Make the group; it may be there already."""
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)

    def can_kill(self) -> bool:
        """Tell whether the kernel can kill the group at once."""
        return (self._folders[0] / "cgroup.kill").exists()

    def pids(self) -> list[int]:
        """Return the processes in it and in all groups below, in no order."""
        found: list[int] = []
        # os.walk passes over folders that vanish while it looks, rglob does not.
        for folder, _, _ in os.walk(self._folders[0]):
            with contextlib.suppress(OSError):  # the group is gone, or the process
                found += [int(word) for word in (Path(folder) / "cgroup.procs").read_text(encoding="ascii").split()]
        return found

    def kill(self, timeout_s: float = 120) -> None:
        """Send SIGKILL to all in it in one instant, and wait until nothing is left; does nothing if there is none."""
        deadline = time.monotonic() + timeout_s
        while self.pids():
            # Again and again: a killed harness may just have started a process, which enters only now.
            with contextlib.suppress(FileNotFoundError):
                (self._folders[0] / "cgroup.kill").write_text("1", encoding="ascii")
            if time.monotonic() > deadline:
                raise LabError(f"{self._folders[0]}: processes {self.pids()} outlive SIGKILL after {timeout_s:g} s")
            time.sleep(0.02)

    def remove(self) -> None:
        """Remove it with all groups below, and the lab's own parent if it was the last; its processes must be gone."""
        for folder in self._folders:
            for below, _, _ in os.walk(folder, topdown=False):
                _remove_when_free(Path(below))
            if folder.exists():
                _remove_when_free(folder)
            with contextlib.suppress(OSError):
                _parent(folder).rmdir()  # other labs may be in it


def _parent(folder: Path) -> Path:
    """Return the lab's own group above a folder."""
    return next(above for above in folder.parents if above.name == PARENT)


def _remove_when_free(folder: Path, timeout_s: float = 60) -> None:
    """Remove a group; one whose last process is just dying is busy for an instant."""
    deadline = time.monotonic() + timeout_s
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
