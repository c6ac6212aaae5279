"""Processes as /proc shows them: identity by (pid, start ticks), and who belongs to which attempt. Reads only."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
_STATE, _PARENT, _SESSION, _START, _MEMORY, _ENVIRONMENT_END = 0, 1, 3, 19, 20, 48
"""Places in /proc/PID/stat after the program's name."""
_EXEC_LOOKS, _EXEC_PAUSE_S = 100, 0.001


def boot_identity() -> str:
    """Return what names this boot: the kernel's boot id and the start of PID 1.

    A restarted container keeps the kernel's boot id but gets a new PID 1. The wall clock plays no part.
    """
    try:
        boot_id = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        boot_id = "unknown"
    return f"{boot_id}/{start_ticks(1) or 0}"


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone or only a zombie is left."""
    fields = _stat(pid)
    return None if fields is None or fields[_STATE] in ("Z", "X") else int(fields[_START])


def parent(pid: int) -> int | None:
    """Return the parent's pid."""
    fields = _stat(pid)
    return None if fields is None else int(fields[_PARENT])


def session(pid: int) -> int | None:
    """Return the session's id: the pid of the process that began it."""
    fields = _stat(pid)
    return None if fields is None else int(fields[_SESSION])


def members(session_id: int, since_ticks: int) -> list[int]:
    """Return the living processes of a session that started at or after an instant."""
    found = []
    for pid in _pids():
        fields = _stat(pid)
        if fields is not None and int(fields[_SESSION]) == session_id and fields[_STATE] not in ("Z", "X"):
            found += [pid] if int(fields[_START]) >= since_ticks else []
    return found


def mark(pid: int, marker: str) -> str | None:
    """Return the value of a variable in a process's environment; None without it, or when it is another user's."""
    prefix = f"{marker}=".encode()
    for variable in _environment(pid).split(b"\0"):
        if variable.startswith(prefix):
            return variable[len(prefix) :].decode(errors="replace")
    return None


def marked(marker: str) -> dict[int, str]:
    """Return pid -> value of each living process of this user that has an environment variable."""
    marks = {pid: mark(pid, marker) for pid in _pids()}
    return {pid: value for pid, value in marks.items() if value is not None and start_ticks(pid) is not None}


def _environment(pid: int) -> bytes:
    """Return a process's environment; empty when there is none, or when it is another user's."""
    file, seen = PROC / str(pid) / "environ", b""
    with contextlib.suppress(OSError):
        seen = file.read_bytes()
        # For a moment within execve a process has no environment: most of those that were started just now.
        for _ in range(_EXEC_LOOKS):
            if seen or not _is_in_execve(pid):
                break
            time.sleep(_EXEC_PAUSE_S)
        seen = seen or file.read_bytes()
    return seen


def _is_in_execve(pid: int) -> bool:
    """Whether a process has memory, unlike the kernel's own, but not yet its environment."""
    fields = _stat(pid)
    if fields is None or fields[_STATE] in ("Z", "X") or len(fields) <= _ENVIRONMENT_END:
        return False
    return fields[_MEMORY] != "0" and fields[_ENVIRONMENT_END] == "0"


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the program's name, the state first."""
    try:
        # Asked several times a turn for each trainer: pathlib would cost as much again.
        descriptor = os.open(f"{PROC}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return content.rpartition(b")")[2].decode().split() or None
