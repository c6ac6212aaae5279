"""A world that does what a test says, for the agent's loop in the test's own process: clocks, host, trainers, GPUs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from policy_driver import WALL
from rlagent.config import Config, GameSection, ModeSection, parse
from rlagent.daemon import Daemon
from rlagent.journal import Journal, Stamp
from rlagent.paths import Paths
from rlagent.policy import State
from rlagent.policy import events as ev
from rlagent.protocol.status import AgentInfo, GpuStatus, HostReadings
from rlagent.recovery import open_journal
from rlagent.statusview import GameReading, Readings
from rlagent.supervisor import Exited, ExitRecord, Pending, Process, Running
from rlagent.world import World


class Clock:
    """Both clocks; time passes only when a test lets it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL + self.now

    def stamp(self) -> Stamp:
        return Stamp(t=self.now, wall=self.wall(), monotonic=self.now, boot="kernel/1")


class HostFacts:
    """What the host tells of itself."""

    def __init__(self) -> None:
        self.boot = "kernel/1"
        self.seen = HostReadings(cpu_count=8, disk_free_mib=50_000.0)
        self.looks = 0
        self.full = False
        self.kills = 0

    def boot_identity(self) -> str:
        return self.boot

    def uptime_s(self) -> float:
        return 5000.0

    def readings(self, _folder) -> HostReadings:
        self.looks += 1
        return self.seen

    def disk_is_full(self, _folder) -> bool:
        return self.full

    def cpu_count(self) -> int:
        return 8

    def oom_counter(self, _pid) -> Path:
        return Path("counter")

    def oom_kills(self, _counter) -> int:
        return self.kills

    def rss_mib(self, _pid) -> float:
        return 30.0


class TrainersOf:
    """A supervisor whose trainers do what a test says."""

    is_ending = False

    def __init__(self) -> None:
        self.outcomes: dict[str, object] = {}
        """By game: what is answered instead of the usual, an error to be raised included."""
        self.asked: list[tuple[str, int, bool]] = []
        """Each game and attempt that was asked for, and whether it was to be started."""
        self.launches: dict[str, object] = {}
        self.stops: list[tuple[str, int, float]] = []
        self.alive: dict[str, Process] = {}
        self.strangers: list[list[str]] = []
        self.attempts: dict[str, int] = {}
        self.living = False

    def ensure(self, launch, *, spawn: bool):
        self.asked.append((launch.game, launch.attempt, spawn))
        self.launches[launch.game] = launch
        outcome = self.outcomes.get(launch.game, Running(trainer_pid=100 + launch.attempt, adopted=False))
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Running):
            self.alive[launch.game] = Process(attempt=launch.attempt, shim_pid=7, trainer_pid=outcome.trainer_pid)
        else:
            self.alive.pop(launch.game, None)
        return outcome

    def ends(self, game: str, attempt: int = 1, **record) -> None:
        """Let a trainer have ended: by default with exit code 1."""
        values = {"code": 1, "signal": None} | record
        self.outcomes[game] = Exited(record=ExitRecord(attempt_id=f"h:{game}:{attempt}", **values))
        self.alive.pop(game, None)

    def waits(self, game: str, why: str = "the lock is held") -> None:
        self.outcomes[game] = Pending(why=why)

    def stop(self, launch, grace_s: float) -> None:
        self.stops.append((launch.game, launch.attempt, grace_s))

    def processes(self) -> dict[str, Process]:
        return dict(self.alive)

    def filenos(self) -> list[int]:
        return []

    def used_attempts(self, _runs) -> dict[str, int]:
        return self.attempts

    def any_alive(self) -> bool:
        return self.living

    def kill_strangers(self, games) -> None:
        self.strangers.append(list(games))


class Gpus:
    """A driver that answers what a test says."""

    def __init__(self, *gpus: GpuStatus, error: str | None = "no driver") -> None:
        self.gpus, self.error = list(gpus), error
        self.lost_ones: frozenset[int] = frozenset()
        self.has_answered = False
        self.stopped = False

    def readings(self) -> tuple[list[GpuStatus], str | None]:
        return self.gpus, self.error

    def lost(self) -> frozenset[int]:
        return self.lost_ones

    def stop(self) -> None:
        self.stopped = True


@dataclasses.dataclass
class Parts:
    """The parts of a world, for a test to turn."""

    clock: Clock = dataclasses.field(default_factory=Clock)
    host: HostFacts = dataclasses.field(default_factory=HostFacts)
    trainers: TrainersOf = dataclasses.field(default_factory=TrainersOf)
    gpus: Gpus = dataclasses.field(default_factory=Gpus)

    def world(self, **more) -> World:
        return World(
            monotonic=self.clock.monotonic,
            wall=self.clock.wall,
            host=self.host,
            trainers=lambda *_: self.trainers,
            gpus=lambda: self.gpus,
            **more,
        )


def a_world() -> World:
    """Return a world in which nothing happens."""
    return Parts().world()


def config(text: str = "", *, games: tuple[str, ...] = ("A", "B", "C")) -> Config:
    """Return a configuration with two modes, of one and two games, and the given sections."""
    modes = tuple(
        ModeSection(name=name, games=count, num_envs=8 * count, batch_size=64)
        for name, count in (("light", 1), ("medium", 2))
    )
    queue = tuple(GameSection(name=name, target_frames=1000) for name in games)
    return msgspec.structs.replace(parse(text), modes=modes, games=queue)


def readings(state: State, *, now: float | None = None, games: dict[str, GameReading] | None = None) -> Readings:
    """Return what the probes of a quiet host know."""
    t = state.t if now is None else now
    return Readings(
        t=t,
        wall=WALL + t,
        agent=AgentInfo(version="1", pid=1, host_uuid="u", uptime_s=1.0),
        uptime_s=5000.0,
        host=HostReadings(),
        gpu=[],
        gpu_error=None,
        games=games or {},
        alerts=[],
    )


class FullJournal(Journal):
    """A journal on a disk that a test fills."""

    fault: Exception | None = None

    def append(self, *what):
        if self.fault is not None:
            raise self.fault
        return super().append(*what)


class Agents:
    """Agents of one host, one after another."""

    def __init__(self, folder, text: str = "") -> None:
        self.folder, self.parts, self.paths = folder, Parts(), Paths(folder / "var")
        self.paths.logs.mkdir(parents=True)
        self.config = config(text)
        self.daemon: Daemon | None = None

    def start(self) -> Daemon:
        """Start the next agent; the last one is killed."""
        self.kill()
        self.daemon = Daemon(self.config, self.paths, self.parts.world(journal=self.journal))
        self.daemon.take_over()
        return self.daemon

    @staticmethod
    def journal(path, known) -> FullJournal:
        open_journal(path, known).close()
        return FullJournal(path)

    def kill(self) -> None:
        if self.daemon is not None:
            self.daemon._journal.close()
        self.daemon = None

    def turn(self, after_s: float = 1.0) -> None:
        self.parts.clock.now += after_s
        self.daemon.turn()

    def events(self) -> list[ev.Event]:
        return [entry.event for entry in self.daemon._journal.entries()]

    def kinds(self) -> list[str]:
        return [str(type(event).__struct_config__.tag) for event in self.events()]
