"""Processes as /proc shows them: identity by (pid, start ticks), and who belongs to which attempt. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or only a zombie is left."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else int(fields[19])


def parent(pid: int) -> int | None:
    """Return the parent's pid."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def marked(marker: str) -> dict[int, str]:
    """Return pid -> value of each process of this user that has an environment variable."""
    prefix = f"{marker}=".encode()
    found: dict[int, str] = {}
    for pid in _pids():
        try:
            environ = (PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue  # another user's, or gone
        for variable in environ.split(b"\0"):
            if variable.startswith(prefix) and start_ticks(pid) is not None:
                found[pid] = variable[len(prefix) :].decode(errors="replace")
                break
    return found


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the program's name, the state first."""
    try:
        content = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    return content.rpartition(b")")[2].decode().split()
