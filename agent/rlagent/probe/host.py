"""The host: which boot this is, load, memory, disk, pressure, kernel kills for memory. Reads only; never raises."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from rlagent.protocol.status import HostReadings
from rlagent.supervisor import procfs

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def boot_identity() -> str:
    """Return what names this boot: the kernel's boot id and the start of PID 1.

    A restarted container keeps the kernel's boot id but gets a new PID 1. The wall clock plays no part.
    """
    boot_id = _read(PROC / "sys/kernel/random/boot_id") or "unknown"
    return f"{boot_id.strip()}/{procfs.start_ticks(1) or 0}"


def uptime_s() -> float:
    """Return the age of PID 1, seconds: the host's uptime, or the container's."""
    since_boot = float((_read(PROC / "uptime") or "0").split()[0])
    started = (procfs.start_ticks(1) or 0) / os.sysconf("SC_CLK_TCK")
    return max(0.0, since_boot - started)


def readings(folder: Path) -> HostReadings:
    """Return what there is to read; the disk is the one that `folder` is on."""
    memory = _meminfo(_read(PROC / "meminfo") or "")
    return HostReadings(
        cpu_count=len(os.sched_getaffinity(0)),
        load_1m=_load(),
        memory_total_mib=memory.get("MemTotal"),
        memory_available_mib=memory.get("MemAvailable"),
        memory_pressure_percent=_pressure(_read(PROC / "pressure/memory") or ""),
        disk_free_mib=_disk(folder, "free"),
        disk_total_mib=_disk(folder, "total"),
    )


def oom_kills() -> int:
    """Return how often the kernel has killed for memory, host and control group together; only the growth counts."""
    texts = (
        _read(PROC / "vmstat"),
        _read(CGROUP / "memory.events"),
        _read(CGROUP / "memory/memory.oom_control"),
    )
    return sum(int(n) for text in texts for n in re.findall(r"^oom_kill (\d+)$", text or "", re.MULTILINE))


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
