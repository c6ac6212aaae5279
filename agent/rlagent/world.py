"""Everything outside the agent that its loop touches: clocks, the host, processes, GPUs, reports, files.

The real ones are the defaults; whoever passes others decides what time it is and what the disk says.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from rlagent.journal import Journal
from rlagent.paths import Paths
from rlagent.probe import host
from rlagent.probe.gpu import GpuProbe
from rlagent.probe.progress import Heartbeat
from rlagent.protocol.status import GpuStatus, HostReadings
from rlagent.publish import Publisher
from rlagent.recovery import Known, open_journal
from rlagent.supervisor import Exited, Launch, Pending, Process, Running, Supervisor


class HostProbe(Protocol):
    """What the agent asks of its host, as `rlagent.probe.host` answers it."""

    def boot_identity(self) -> str:
        """Return what names this boot."""

    def uptime_s(self) -> float:
        """Return the age of this boot, seconds."""

    def readings(self, folder: Path) -> HostReadings:
        """Return load, memory and disk."""

    def disk_is_full(self, folder: Path) -> bool:
        """Return whether there is no room for a trainer's report."""

    def cpu_count(self) -> int:
        """Return how many CPUs may be kept busy."""

    def oom_counter(self, pid: int) -> Path:
        """Return where the kernel counts its kills for memory in a process's group."""

    def oom_kills(self, counter: Path) -> int:
        """Return that count."""

    def rss_mib(self, pid: int) -> float | None:
        """Return a process's resident memory."""


class Trainers(Protocol):
    """What the agent asks of its supervisor, as `rlagent.supervisor.Supervisor` answers it."""

    def ensure(self, launch: Launch, *, spawn: bool) -> Running | Pending | Exited | None:
        """Make an attempt run, or say how it ended. Raises OSError."""

    def stop(self, launch: Launch, grace_s: float) -> None:
        """Ask a living attempt to end, and kill it after the grace."""

    def processes(self) -> dict[str, Process]:
        """Return the living attempts by game."""

    @property
    def is_ending(self) -> bool:
        """Whether a trainer is on its way out."""

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when an attempt ends."""

    def used_attempts(self, runs: Path) -> dict[str, int]:
        """Return the last attempt of each game that left its record."""

    def any_alive(self) -> bool:
        """Whether any trainer of this host is alive."""

    def kill_strangers(self, games: Iterable[str]) -> None:
        """Kill trainers of games that this host no longer knows."""


class Gpus(Protocol):
    """What the agent asks of its GPUs, as `rlagent.probe.gpu.GpuProbe` answers it."""

    @property
    def has_answered(self) -> bool:
        """Whether the driver has answered at all."""

    def readings(self) -> tuple[list[GpuStatus], str | None]:
        """Return each GPU's readings, and what is wrong with all of them."""

    def lost(self) -> frozenset[int]:
        """Return the GPUs that the driver lost."""

    def stop(self) -> None:
        """Ask no more."""


@dataclasses.dataclass(frozen=True)
class World:
    """The outside world, in parts; each maker is called once in an agent's life."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    host: HostProbe = host
    journal: Callable[[Path, Known], Journal] = open_journal
    trainers: Callable[[str, float, int], Trainers] = Supervisor
    gpus: Callable[[], Gpus] = GpuProbe
    heartbeat: Callable[[Path], Heartbeat] = Heartbeat
    publisher: Callable[[Paths], Publisher] = Publisher
