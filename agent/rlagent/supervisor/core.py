"""One trainer for each game, kept by a shim (`rlagent.shim`) that outlives the agent.

Identity: an attempt is (host uuid, game, number); it stands in the environment of every process of the attempt, so that
also orphans of orphans are found. A lock in the run directory, held by the shim, makes a second trainer of a game
impossible even in the instants in which nothing else tells of the first. Single-threaded, never blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from rlagent import files, shim
from rlagent.supervisor import procfs
from rlagent.supervisor.exits import ExitRecord

MARKER = "RLFLEET_ATTEMPT_ID"
"""In the environment of a trainer and of everything it starts."""
SHIM_MARKER = "RLFLEET_SHIM_OF"
"""In the environment of a shim."""
SHIM_GRACE_S = 10.0
"""A shim whose trainer was killed gets so long to record the exit."""


Record = TypeVar("Record", bound=msgspec.Struct)


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one attempt of a game."""

    game: str
    attempt: int
    run_dir: Path
    log_path: Path
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt is alive; the trainer's pid is None until its shim has told it."""

    trainer_pid: int | None
    adopted: bool


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Something of this game is still on its way in or out: ask again."""

    why: str


class Exited(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt is over; without a record nobody knows how."""

    record: ExitRecord | None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A living attempt's processes."""

    attempt: int
    shim_pid: int
    trainer_pid: int | None


class _AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the shim wrote in attempt.json."""

    attempt_id: str
    shim_pid: int
    shim_ticks: int | None
    trainer_pid: int
    trainer_ticks: int | None


class _Watched:
    """A living shim."""

    def __init__(self, attempt: int, shim_pid: int, ticks: int, *, adopted: bool) -> None:
        self.attempt, self.shim_pid, self.ticks, self.adopted = attempt, shim_pid, ticks, adopted
        self.child: subprocess.Popen[bytes] | None = None
        self.trainer: tuple[int, int] | None = None
        self.term_sent = False
        self.kill_at: float | None = None
        self.give_up_at: float | None = None
        try:
            self.pidfd: int | None = os.pidfd_open(shim_pid)
        except OSError:
            self.pidfd = None  # gone already, or a kernel before 5.3: the next look tells

    @property
    def alive(self) -> bool:
        """Whether the shim exists; reaps it when it was our child."""
        if self.child is not None and self.child.poll() is not None:
            return False
        return procfs.start_ticks(self.shim_pid) == self.ticks

    def close(self) -> None:
        """Release the process descriptor."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class Supervisor:
    """All trainers of this host."""

    def __init__(self, host_uuid: str, log_max_mib: float, log_keep: int) -> None:
        self._host_uuid = host_uuid
        self._log_bytes_max, self._log_keep = int(log_max_mib * 1024 * 1024), log_keep
        self._watched: dict[str, _Watched] = {}

    def ensure(self, launch: Launch, *, spawn: bool) -> Running | Pending | Exited | None:
        """Make an attempt run, or say how it ended; None: it never ran and must not start (`spawn`). Raises OSError."""
        watched = self._watched.get(launch.game)
        if watched is not None and watched.attempt == launch.attempt:
            if watched.alive:
                return self._look_after(launch, watched)
            self._forget(launch.game)
        elif watched is not None:
            self._forget(launch.game)
        return self._take_up(launch, spawn=spawn)

    def stop(self, launch: Launch, grace_s: float) -> None:
        """Ask a living attempt to end, and kill its whole process group after the grace; asking again does nothing."""
        watched = self._watched.get(launch.game)
        if watched is None or watched.attempt != launch.attempt or watched.term_sent:
            return
        now = time.monotonic()
        if watched.kill_at is None:
            watched.kill_at = now + grace_s
        if watched.trainer is not None:
            # A stopped (SIGSTOP) trainer must wake up to hear it.
            watched.term_sent = _signal(watched.trainer, signal.SIGTERM) and _signal(watched.trainer, signal.SIGCONT)

    def processes(self) -> dict[str, Process]:
        """Return the living attempts by game."""
        return {
            game: Process(
                attempt=watched.attempt,
                shim_pid=watched.shim_pid,
                trainer_pid=None if watched.trainer is None else watched.trainer[0],
            )
            for game, watched in self._watched.items()
            if watched.alive
        }

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when a shim ends."""
        return [watched.pidfd for watched in self._watched.values() if watched.pidfd is not None]

    def kill_strangers(self, games: Iterable[str]) -> None:
        """Kill trainers of games that this host no longer knows."""
        known = {f"{self._host_uuid}:{game}" for game in games}
        for pid, attempt_id in procfs.marked(MARKER).items():
            owner, _, _ = attempt_id.rpartition(":")
            if owner.startswith(f"{self._host_uuid}:") and owner not in known:
                _kill(pid)

    def _take_up(self, launch: Launch, *, spawn: bool) -> Running | Pending | Exited | None:
        """Find the attempt alive, or its end, or start it."""
        attempt_id = self._id(launch)
        adopted = self._adopt(launch, attempt_id)
        if adopted is not None:
            return adopted
        lock = _try_lock(launch.run_dir)
        if lock is None:
            self._kill_older(launch, attempt_id)
            return Pending(why="another keeper still holds this game's lock")
        try:
            if self._kill_all(launch.game):
                return Pending(why="processes left by an earlier attempt are being killed")
            record = _read(launch.run_dir / "exit.json", ExitRecord)
            if record is not None and record.attempt_id == attempt_id:
                return Exited(record=record)
            began = _read(launch.run_dir / "attempt.json", _AttemptRecord)
            if began is not None and began.attempt_id == attempt_id:
                return Exited(record=None)
            return self._spawn(launch, attempt_id, lock) if spawn else None
        finally:
            os.close(lock)

    def _adopt(self, launch: Launch, attempt_id: str) -> Running | None:
        """Watch an attempt that a former agent started."""
        began = _read(launch.run_dir / "attempt.json", _AttemptRecord)
        if began is not None and began.attempt_id == attempt_id and began.shim_ticks is not None:
            found = (began.shim_pid, began.shim_ticks)
        else:
            shims = [pid for pid, of in procfs.marked(SHIM_MARKER).items() if of == attempt_id]
            found = (shims[0], procfs.start_ticks(shims[0]) or 0) if shims else (0, 0)
        if found[0] == 0 or procfs.start_ticks(found[0]) != found[1]:
            return None
        watched = _Watched(launch.attempt, found[0], found[1], adopted=True)
        self._watched[launch.game] = watched
        self._learn_trainer(launch, watched)
        return Running(trainer_pid=None if watched.trainer is None else watched.trainer[0], adopted=True)

    def _spawn(self, launch: Launch, attempt_id: str, lock: int) -> Running:
        """Start the shim, which starts the trainer."""
        spec = {
            "attempt_id": attempt_id,
            "command": launch.command,
            "env": {**launch.env, MARKER: attempt_id},
            "run_dir": str(launch.run_dir),
            "log_path": str(launch.log_path),
            "log_bytes_max": self._log_bytes_max,
            "log_files_kept": self._log_keep,
        }
        spec_path = launch.run_dir / "launch.json"
        launch.log_path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(spec_path, msgspec.json.encode(spec), durable=False)
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", shim.__file__, str(spec_path), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=launch.run_dir,
            env={"PATH": launch.env.get("PATH", os.defpath), SHIM_MARKER: attempt_id},
            pass_fds=(lock,),
            start_new_session=True,
        )
        watched = _Watched(launch.attempt, child.pid, procfs.start_ticks(child.pid) or 0, adopted=False)
        watched.child = child
        self._watched[launch.game] = watched
        return Running(trainer_pid=None, adopted=False)

    def _look_after(self, launch: Launch, watched: _Watched) -> Running:
        """Learn the trainer's pid, and enforce the deadline of a stop."""
        if watched.trainer is None:
            self._learn_trainer(launch, watched)
        now = time.monotonic()
        if watched.give_up_at is not None and now >= watched.give_up_at:
            _kill(watched.shim_pid)
        elif watched.kill_at is not None and now >= watched.kill_at:
            self._kill_attempt(self._id(launch), watched)
            watched.give_up_at = watched.give_up_at or now + SHIM_GRACE_S
        return Running(trainer_pid=None if watched.trainer is None else watched.trainer[0], adopted=watched.adopted)

    def _learn_trainer(self, launch: Launch, watched: _Watched) -> None:
        attempt_id = self._id(launch)
        began = _read(launch.run_dir / "attempt.json", _AttemptRecord)
        if began is not None and began.attempt_id == attempt_id and began.trainer_ticks is not None:
            watched.trainer = (began.trainer_pid, began.trainer_ticks)
        elif watched.adopted or watched.kill_at is not None:
            # The record is missing (full disk): the shim's child with the attempt's mark is the trainer.
            for pid, of in procfs.marked(MARKER).items():
                if of == attempt_id and procfs.parent(pid) == watched.shim_pid:
                    watched.trainer = (pid, procfs.start_ticks(pid) or 0)

    def _kill_attempt(self, attempt_id: str, watched: _Watched) -> None:
        """Kill the trainer's process group and everything with its mark, not the shim: it records the exit."""
        if watched.trainer is not None and procfs.start_ticks(watched.trainer[0]) == watched.trainer[1]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(watched.trainer[0], signal.SIGKILL)
        for pid, of in procfs.marked(MARKER).items():
            if of == attempt_id:
                _kill(pid)

    def _kill_older(self, launch: Launch, attempt_id: str) -> None:
        """Kill other attempts of this game, shims too."""
        owner = f"{self._host_uuid}:{launch.game}"
        for marker in (SHIM_MARKER, MARKER):
            for pid, of in procfs.marked(marker).items():
                if of.rpartition(":")[0] == owner and of != attempt_id:
                    _kill(pid)

    def _kill_all(self, game: str) -> bool:
        """Kill every trainer process of a game that has no keeper; True when there was one."""
        owner = f"{self._host_uuid}:{game}"
        orphans = [pid for pid, of in procfs.marked(MARKER).items() if of.rpartition(":")[0] == owner]
        for pid in orphans:
            _kill(pid)
        return bool(orphans)

    def _forget(self, game: str) -> None:
        self._watched.pop(game).close()

    def _id(self, launch: Launch) -> str:
        return f"{self._host_uuid}:{launch.game}:{launch.attempt}"


def _try_lock(run_dir: Path) -> int | None:
    """Take the game's lock without waiting; None when a shim holds it. Raises OSError."""
    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _read(path: Path, kind: type[Record]) -> Record | None:
    """Read a record; None when there is none or it isn't one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def _signal(process: tuple[int, int], number: int) -> bool:
    """Signal exactly this process, never a later one with its pid; False when it is gone."""
    pid, ticks = process
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        descriptor = None
    try:
        if procfs.start_ticks(pid) != ticks:
            return False
        if descriptor is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
