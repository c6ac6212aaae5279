"""The host: which boot this is, load, memory, disk, pressure, kernel kills for memory. Reads only; never raises."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path

from rlagent.protocol.status import HostReadings
from rlagent.supervisor import procfs

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
MIB = 1024 * 1024
UNLIMITED = 2**60
"""What old control groups say instead of no limit is larger than this."""
FULL_BYTES = 64 * 1024
"""With less free space than this a trainer's report may find no room."""


def boot_identity() -> str:
    """Return what names this boot: the kernel's boot id and the start of PID 1."""
    return procfs.boot_identity()


def uptime_s() -> float:
    """Return the age of PID 1, seconds: the host's uptime, or the container's."""
    since_boot = float((_read(PROC / "uptime") or "0").split()[0])
    started = (procfs.start_ticks(1) or 0) / os.sysconf("SC_CLK_TCK")
    return max(0.0, since_boot - started)


def readings(folder: Path) -> HostReadings:
    """Return what there is to read, a container's limits included; the disk is the one that `folder` is on."""
    memory = _meminfo(_read(PROC / "meminfo") or "")
    total, available = memory.get("MemTotal"), memory.get("MemAvailable")
    for limit, used in _memory_limits():
        total = limit if total is None else min(total, limit)
        available = max(0.0, limit - used if available is None else min(available, limit - used))
    return HostReadings(
        cpu_count=cpu_count(),
        load_1m=_load(),
        memory_total_mib=total,
        memory_available_mib=available,
        memory_pressure_percent=_pressure(_read(PROC / "pressure/memory") or ""),
        disk_free_mib=_disk(folder, "free"),
        disk_total_mib=_disk(folder, "total"),
    )


def disk_is_full(folder: Path) -> bool:
    """Return whether this user finds no room for a small file on the disk of a folder, by space or by number."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    root = os.geteuid() == 0
    free, files = (found.f_bfree, found.f_ffree) if root else (found.f_bavail, found.f_favail)
    return free * found.f_frsize < FULL_BYTES or (found.f_files > 0 and files == 0)


def cpu_count() -> int:
    """Return how many CPUs this process may keep busy: its affinity, and a container's quota."""
    count = len(os.sched_getaffinity(0))
    for group in _groups("cpu"):
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        words = (_read(group / "cpu.max") or f"{quota} {period}").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            count = min(count, max(1, math.ceil(int(words[0]) / int(words[1]))))
    return count


def oom_counter(pid: int) -> Path:
    """Return the file in which the kernel counts what it has killed for memory in a process's own control group.

    The whole host's count where there is no such file.
    """
    for group in _groups("memory", str(pid)):
        for name in ("memory.events", "memory.oom_control"):
            if re.search(r"^oom_kill ", _read(group / name) or "", re.MULTILINE):
                return group / name
    return PROC / "vmstat"


def oom_kills(counter: Path) -> int:
    """Return a counter's count; only its growth tells anything."""
    return sum(int(n) for n in re.findall(r"^oom_kill (\d+)$", _read(counter) or "", re.MULTILINE))


def rss_mib(pid: int) -> float | None:
    """Return a process's resident memory."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", _read(PROC / str(pid) / "status") or "", re.MULTILINE)
    return None if found is None else int(found.group(1)) / 1024


def _meminfo(text: str) -> dict[str, float]:
    """Return the fields of /proc/meminfo in MiB."""
    return {name: int(kib) / 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def _pressure(text: str) -> float | None:
    found = re.search(r"^some avg10=([\d.]+)", text, re.MULTILINE)
    return None if found is None else float(found.group(1))


def _memory_limits() -> list[tuple[float, float]]:
    """Return limit and use, in MiB, of each control group around this process that has a limit."""
    found = []
    for group in _groups("memory"):
        limit = (_read(group / "memory.max") or _read(group / "memory.limit_in_bytes") or "").strip()
        used = (_read(group / "memory.current") or _read(group / "memory.usage_in_bytes") or "").strip()
        if limit.isdigit() and used.isdigit() and int(limit) < UNLIMITED:
            # The page cache gives way when memory is needed.
            caches = re.findall(r"^(?:total_)?inactive_file (\d+)$", _read(group / "memory.stat") or "", re.MULTILINE)
            busy = int(used) - max(map(int, caches), default=0)
            found.append((int(limit) / MIB, max(0, busy) / MIB))
    return found


def _groups(controller: str, process: str = "self") -> list[Path]:
    """Return the folders of a process's control group and of those around it, innermost first."""
    lines = [
        line.split(":", 2) for line in (_read(PROC / process / "cgroup") or "").splitlines() if line.count(":") >= 2
    ]
    own = next(((CGROUP / controller, path) for _, names, path in lines if controller in names.split(",")), None)
    unified = next(((CGROUP, path) for _, names, path in lines if names == ""), None)
    root, path = own or unified or (CGROUP, "/")
    # A container may see its path on the host, which doesn't exist inside: its own limits are at the root then.
    inner = root / path.strip("/")
    return [folder for folder in (inner, *inner.parents) if folder == root or root in folder.parents]


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _disk(folder: Path, field: str) -> float | None:
    try:
        return float(getattr(shutil.disk_usage(folder), field)) / 1024 / 1024
    except OSError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
