"""A simulated machine: time, boots, trainers, a disk and GPUs, in the shape that the agent's loop asks for them.

It also keeps the truth (who was alive when, what really crashed), which the checkers compare the agent's story with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
from pathlib import Path

from rlagent.journal import Journal, JournalError
from rlagent.probe.progress import Heartbeat
from rlagent.protocol.progress import CheckpointReport, Progress
from rlagent.protocol.status import HostReadings
from rlagent.supervisor import Exited, ExitRecord, Pending, Process, Running
from sim.checkers import Violation

REPORT_S = 5.0
STEPS_PER_S = 100
IDLE_S = 45.0
"""Between two turns of the agent when nothing goes on."""
NOTICE_S = 5 * IDLE_S
"""A silence is noticed within this: a turn sees the last step, three pauses are usual, the next turn sees the stall."""
GiB = 1024.0


FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


class Killed(BaseException):
    """The agent is killed here and now; no `except Exception` of it may notice."""


@dataclasses.dataclass
class Trainer:
    """One attempt's process. Times are true seconds since the simulation began."""

    game: str
    attempt: int
    mode: str
    boot: int
    born: float
    life: int
    """The agent that started it."""
    first_step: float
    dies: float
    """When it crashes by itself."""
    record: ExitRecord
    """How."""
    silent: float
    """When it stops taking steps without dying: a hang."""
    stop_s: float
    """How long it takes after SIGTERM; infinite: it ignores it."""
    stop_record: ExitRecord
    """How it ends then."""
    checkpoint_s: float
    step0: int
    known: bool = False
    term: float | None = None
    kill_at: float | None = None
    ended: float | None = None
    how: ExitRecord | None = None
    crashed: bool = False
    """It ended by a fault of its own, not told to."""
    stopped_first: bool = False
    """It was to stop before it ended, said the journal."""
    told: bool = False
    """The agent knows of its crash."""
    stop_said: bool = False
    """The journal says that it is to stop."""

    @property
    def alive(self) -> bool:
        return self.ended is None

    @property
    def crash_shows(self) -> bool:
        """Whether its end can be told from what a stop leads to: by then only a fault's signal can."""
        return self.crashed and (not self.stopped_first or self.how.signal in FAULTS)

    def steps_until(self, at: float) -> int:
        """Return its step count as of its last report."""
        last = min(at, self.silent, math.inf if self.ended is None else self.ended)
        if last < self.first_step:
            return self.step0
        return self.step0 + 1 + int((last - self.first_step) // REPORT_S) * int(REPORT_S * STEPS_PER_S)


class SimHost:
    """The machine; `point` is called wherever a kill of the agent could fall between two of its acts."""

    def __init__(self, model, folder) -> None:
        self.model, self.folder = model, folder
        self.now = 0.0
        self.wall_offset = 1_800_000_000.0
        self.boot, self.booted = 0, 0.0
        self.kernel, self.kernel_booted = 0, 0.0
        self.life = 0
        self.fuse: int | None = None
        self.disk_full = False
        self.lost_gpus: frozenset[int] = frozenset()
        self.told_gpus: frozenset[int] = frozenset()
        self.trainers: dict[str, Trainer] = {}
        self.history: list[Trainer] = []
        self.steps: dict[str, int] = {}
        self.saved: dict[str, int] = {}
        self.mode = model.config.modes[0].name
        self.good_s, self.oom = 0.0, 0
        self.gpu_faults = 0
        self.reboots: list[tuple[float, bool]] = []
        """True time of each reboot, and whether it had been announced in time."""
        self.story: list[str] = []

    def note(self, text: str) -> None:
        self.story.append(f"{self.now:10.1f}  {text}")

    def point(self) -> None:
        """Die here if the fuse says so."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.fuse = None
                self.note("agent killed")
                raise Killed

    def monotonic(self) -> float:
        return self.now - self.kernel_booted

    def wall(self) -> float:
        return self.now + self.wall_offset

    def next_end(self) -> float:
        """Return when the next trainer ends by itself."""
        ends = [self._end_of(t)[0] for t in self.trainers.values() if t.alive]
        return min(ends, default=math.inf)

    def advance(self, seconds: float) -> None:
        """Let time pass, and trainers with it."""
        until = self.now + seconds
        while True:
            end = min(until, self.next_end())
            self._count_good(end)
            self.now = max(self.now, end)
            for trainer in self.trainers.values():
                if trainer.alive and self._end_of(trainer)[0] <= self.now:
                    self._end(trainer, *self._end_of(trainer)[1:])
            if end >= until:
                return

    def reboot(self, *, announced: bool, container: bool, down_s: float, jump_s: float) -> None:
        """Go down with everything and come back as another boot."""
        for trainer in self.trainers.values():
            if trainer.alive:
                trainer.ended, trainer.how = self.now, None
                self.saved[trainer.game] = trainer.steps_until(self.now)
        self.note(f"reboot, {'announced' if announced else 'unannounced'}, down {down_s:.0f} s, jump {jump_s:.0f} s")
        self.reboots.append((self.now, announced))
        self.now += down_s
        self.wall_offset += jump_s
        self.boot, self.booted, self.lost_gpus = self.boot + 1, self.now, frozenset()
        if not container:
            self.kernel, self.kernel_booted = self.kernel + 1, self.now
        if not announced:
            self.fault()

    def fault(self) -> None:
        """Note a true fault that the agent can know of: stable time begins anew."""
        self.good_s = 0.0

    def alive(self) -> list[Trainer]:
        return [trainer for trainer in self.trainers.values() if trainer.alive]

    def spawn(self, launch) -> Trainer:
        """Start a process, unless that breaks an invariant."""
        mode = launch.env["RLFLEET_MODE"]
        alive = self.alive()
        slots = self.model.config.mode(mode).games
        if any(other.mode != mode or other.game == launch.game for other in alive) or len(alive) >= slots:
            others = ", ".join(f"{other.game} of {other.mode}" for other in alive)
            raise Violation("one set of trainers", f"{launch.game} of {mode} starts beside {others}")
        if mode != self.mode:
            self.mode = mode
            self.fault()
        trainer = self.model.trainer(self, launch.game, launch.attempt, mode)
        self.trainers[launch.game] = trainer
        self.history.append(trainer)
        self.note(f"{launch.game} {launch.attempt} starts in {mode}")
        return trainer

    def _end_of(self, trainer: Trainer) -> tuple[float, ExitRecord | None, bool]:
        """Return when a trainer ends as things are, how, and whether that is a crash of its own."""
        target = self.model.target_s(trainer)
        finish = ExitRecord(attempt_id="", code=0, signal=None)
        ends = [(trainer.dies, trainer.record, True)]
        if target < trainer.silent:
            ends.append((target, finish, False))
        if trainer.term is not None:
            ends.append((trainer.term + trainer.stop_s, trainer.stop_record, trainer.stop_record.code != 0))
        return min(ends, key=lambda end: end[0])

    def _end(self, trainer: Trainer, how: ExitRecord | None, crashed: bool) -> None:  # noqa: FBT001
        trainer.ended, trainer.how, trainer.crashed = self.now, how, crashed
        trainer.stopped_first = trainer.stop_said
        self.saved[trainer.game] = trainer.steps_until(self.now)
        if crashed:
            self.oom += how is not None and how.signal == signal.SIGKILL and self.model.oom
        said = "done" if how and how.code == 0 and not crashed else str(how and (how.code, how.signal))
        self.note(f"{trainer.game} {trainer.attempt} ends: {said}{', a crash' if crashed else ''}")

    def _count_good(self, until: float) -> None:
        """Count true progress; a silence counts as long as the agent can't have noticed it."""
        alive = self.alive()
        if alive:
            begin = max(self.now, *(t.first_step for t in alive))
            end = min(until, *(t.silent + NOTICE_S for t in alive))
            self.good_s += max(0.0, end - begin)

    # What the agent asks of `rlagent.probe.host`.

    def boot_identity(self) -> str:
        return f"kernel-{self.kernel}/{self.boot}"

    def uptime_s(self) -> float:
        return self.now - self.booted

    def readings(self, _folder) -> HostReadings:
        return HostReadings(cpu_count=4, disk_free_mib=0.0 if self.disk_full else 50 * GiB)

    def disk_is_full(self, _folder) -> bool:
        return self.disk_full

    def cpu_count(self) -> int:
        return 4

    def oom_counter(self, _pid) -> Path:
        return Path("vmstat")

    def oom_kills(self, _counter) -> int:
        return self.oom

    def rss_mib(self, _pid) -> float:
        return 30.0


class SimTrainers:
    """The supervisor of one agent's life."""

    def __init__(self, host: SimHost) -> None:
        self.host = host
        self.life = host.life

    def ensure(self, launch, *, spawn):
        host = self.host
        host.point()
        trainer = host.trainers.get(launch.game)
        if trainer is not None and trainer.attempt == launch.attempt:
            return self._look_after(trainer)
        if trainer is not None and trainer.alive:
            self._kill(trainer)
            return Pending(why="an older attempt is being killed")
        if not spawn:
            return None
        if host.disk_full and host.model.rng.random() < 0.5:
            raise OSError(28, "No space left on device")
        host.spawn(launch)
        host.point()
        return Running(trainer_pid=None, adopted=False)

    def _look_after(self, trainer):
        if not trainer.alive:
            # What a full disk refuses may be lost in a reboot.
            if trainer.crash_shows and not trainer.told and not self.host.disk_full:
                trainer.told = True
                self.host.fault()
            return Exited(record=trainer.how)
        if trainer.kill_at is not None and self.host.now >= trainer.kill_at:
            self._kill(trainer)
        trainer.known = True
        return Running(trainer_pid=1000 + trainer.attempt, adopted=trainer.life != self.life)

    def _kill(self, trainer) -> None:
        if trainer.term is None:
            raise Violation("graceful stop", f"{trainer.game} killed without SIGTERM")
        self.host._end(trainer, ExitRecord(attempt_id="", code=None, signal=9), False)

    def stop(self, launch, grace_s):
        self.host.point()
        trainer = self.host.trainers.get(launch.game)
        if trainer is None or trainer.attempt != launch.attempt or not trainer.alive:
            return
        kill_at = self.host.now + grace_s
        trainer.kill_at = kill_at if trainer.kill_at is None else min(trainer.kill_at, kill_at)
        if trainer.term is None:
            trainer.term = self.host.now
            self.host.note(f"{trainer.game} {trainer.attempt} is asked to stop")

    def processes(self):
        return {t.game: Process(attempt=t.attempt, shim_pid=1, trainer_pid=1000 + t.attempt) for t in self.host.alive()}

    is_ending = False

    def filenos(self):
        return []

    def used_attempts(self, _runs):
        return {game: trainer.attempt for game, trainer in self.host.trainers.items()}

    def any_alive(self):
        return bool(self.host.alive())

    def kill_strangers(self, games):
        known = set(games)
        for trainer in self.host.alive():
            if trainer.game not in known:
                self._kill(trainer)


class SimGpus:
    """One GPU."""

    has_answered = True

    def __init__(self, host: SimHost) -> None:
        self.host = host

    def readings(self):
        return [], None

    def lost(self):
        if not self.host.disk_full:  # what it refuses may be over before it can be told
            if self.host.lost_gpus - self.host.told_gpus:
                self.host.fault()
            self.host.told_gpus = self.host.lost_gpus
        return self.host.lost_gpus

    def stop(self):
        pass


class SimHeartbeat(Heartbeat):
    """The production judge of reports, on reports that are not files."""

    def __init__(self, host: SimHost, path) -> None:
        super().__init__(path)
        self._host, self._game = host, path.parent.name

    def _stat(self):
        trainer = self._host.trainers.get(self._game)
        if trainer is None or self._host.disk_full:  # nor can a trainer report then
            return None
        return trainer.attempt, trainer.steps_until(self._host.now), int(trainer.alive)

    def _read(self):
        host, trainer = self._host, self._host.trainers[self._game]
        step = trainer.steps_until(host.now)
        saved = None
        if trainer.checkpoint_s < math.inf and step > trainer.step0:
            every = int(trainer.checkpoint_s * STEPS_PER_S)
            saved = CheckpointReport(global_step=step // every * every, saved_at=host.wall())
        done = trainer.how is not None and trainer.how.code == 0 and not trainer.crashed and trainer.term is None
        return Progress(global_step=step, checkpoint=saved, finished=done, frameskip=4)


class SimJournal(Journal):
    """The production journal on a disk that may be full, of an agent that may be killed before or after each commit."""

    def __init__(self, host: SimHost, path) -> None:
        self._host = host
        host.point()
        super().__init__(path)

    def append(self, stamp, event, decisions, state):
        host = self._host
        host.point()
        if host.disk_full:
            raise JournalError(self.path, "can't write: database or disk is full")
        before = self.state
        seq = super().append(stamp, event, decisions, state)
        host.model.fold.see(event, decisions, before, state, host)
        for decision in decisions:
            if decision.kind == "stop" and decision.game in host.trainers:
                host.trainers[decision.game].stop_said = True
            host.note(f"  {decision.kind}: {decision.reason}")
        host.point()
        return seq

    def abandon(self) -> None:
        """Leave the file as a killed process does."""
        with contextlib.suppress(Exception):
            self._db.close()


class SimPublisher:
    """Takes the status, which must be possible to build in every state."""

    def __init__(self, host: SimHost) -> None:
        self.host, self.seq = host, -1

    def is_due(self, seq, now):
        return seq != self.seq

    def publish(self, status, state, seq, now):
        self.host.point()
        self.seq = seq
        assert status.next_action.reason
