"""One trainer for each game, kept by a shim (`rlagent.shim`) that outlives the agent.

Identity: an attempt is (host uuid, game, number); it stands in the environment of every process of the attempt, so that
also orphans of orphans are found. A lock in the run directory, held by the shim, makes a second trainer of a game
impossible even in the instants in which nothing else tells of the first. Single-threaded, never blocks. Must not judge
how a trainer ended: that is `exits`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from rlagent import files, shim
from rlagent.supervisor import procfs, signals
from rlagent.supervisor.exits import ExitRecord
from rlagent.supervisor.keeper import Keeper
from rlagent.supervisor.model import (
    MARKER,
    RUN_DIR,
    SHIM_MARKER,
    AttemptRecord,
    Exited,
    Launch,
    Pending,
    Process,
    Running,
    StopRecord,
    read,
    read_from_memory,
)

SHIM_GRACE_S = 10.0
"""A shim whose trainer was killed gets so long to record the exit."""
RECORD_GRACE_S = 2.0
"""After so long without attempt.json the trainer is looked for by its mark."""
ENDING_S = 2.0
"""So long after a trainer's end its shim is expected to say how at any moment."""


class Supervisor:
    """All trainers of this host."""

    def __init__(self, host_uuid: str, log_max_mib: float, log_keep: int) -> None:
        self._host_uuid = host_uuid
        self._log_bytes_max, self._log_keep = int(log_max_mib * 1024 * 1024), log_keep
        self._boot = procfs.boot_identity()
        self._keepers: dict[str, Keeper] = {}
        self._vanished: dict[str, str] = {}
        """The attempt of each game whose shim this agent saw end."""

    def ensure(self, launch: Launch, *, spawn: bool) -> Running | Pending | Exited | None:
        """Make an attempt run, or say how it ended; None: it never ran and must not start (`spawn`). Raises OSError."""
        keeper = self._keepers.get(launch.game)
        if keeper is not None:
            if keeper.attempt == launch.attempt and keeper.alive:
                return self._look_after(launch, keeper)
            if keeper.attempt == launch.attempt:
                self._vanished[launch.game] = self._id(launch)
            self._keepers.pop(launch.game).close()
        return self._take_up(launch, spawn=spawn)

    def stop(self, launch: Launch, grace_s: float) -> None:
        """Ask a living attempt to end, and kill all of it after the grace; asking again can only shorten the grace."""
        keeper = self._keepers.get(launch.game)
        if keeper is None or keeper.attempt != launch.attempt:
            return
        kill_at = time.monotonic() + grace_s
        keeper.kill_at = kill_at if keeper.kill_at is None else min(keeper.kill_at, kill_at)
        if keeper.term_sent or keeper.trainer is None:
            return
        # A stopped (SIGSTOP) trainer must wake up to hear it, and a stopped shim to record it.
        keeper.term_sent = signals.send(*keeper.trainer, signal.SIGTERM, signal.SIGCONT)
        signals.send(keeper.shim_pid, keeper.ticks, signal.SIGCONT)
        if keeper.term_sent:
            # The next agent must not send a second one: to many programs that means to leave at once.
            record = StopRecord(attempt_id=self._id(launch), boot=self._boot, kill_at=keeper.kill_at)
            with contextlib.suppress(OSError):
                files.replace(launch.run_dir / "stop.json", msgspec.json.encode(record), durable=False)

    def processes(self) -> dict[str, Process]:
        """Return the living attempts by game."""
        return {
            game: Process(attempt=keeper.attempt, shim_pid=keeper.shim_pid, trainer_pid=keeper.trainer_pid)
            for game, keeper in self._keepers.items()
            if keeper.alive
        }

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when a trainer or its shim ends."""
        return [descriptor for keeper in self._keepers.values() for descriptor in keeper.filenos()]

    @property
    def is_ending(self) -> bool:
        """Whether some trainer has just ended and its shim has not yet said how."""
        ended = [keeper.trainer_gone_at for keeper in self._keepers.values()]
        return any(at is not None and time.monotonic() < at + ENDING_S for at in ended)

    def used_attempts(self, runs: Path) -> dict[str, int]:
        """Return the last attempt of each game that left its record in the folder of all runs."""
        found: dict[str, int] = {}
        for path in runs.glob("*/attempt.json"):
            record = read(path, AttemptRecord)
            owner, _, number = ("", "", "") if record is None else record.attempt_id.rpartition(":")
            if owner == f"{self._host_uuid}:{path.parent.name}" and number.isdecimal():
                found[path.parent.name] = int(number)
        return found

    def any_alive(self) -> bool:
        """Whether any trainer of this host is alive, kept by a shim or not."""
        return any(of.startswith(f"{self._host_uuid}:") for of in procfs.marked(MARKER).values())

    def kill_strangers(self, games: Iterable[str]) -> None:
        """Kill trainers of games that this host no longer knows."""
        known = {f"{self._host_uuid}:{game}" for game in games}
        for pid, attempt_id in procfs.marked(MARKER).items():
            owner, _, _ = attempt_id.rpartition(":")
            if owner.startswith(f"{self._host_uuid}:") and owner not in known:
                signals.kill(pid)

    def _take_up(self, launch: Launch, *, spawn: bool) -> Running | Pending | Exited | None:
        """Find the attempt alive, or its end, or start it."""
        attempt_id = self._id(launch)
        began = read(launch.run_dir / "attempt.json", AttemptRecord)
        adopted = self._adopt(launch, attempt_id, began)
        if adopted is not None:
            return self._look_after(launch, adopted)
        lock = _try_lock(launch.run_dir)
        if lock is None:
            self._kill_older(launch, attempt_id)
            return Pending(why="another keeper still holds this game's lock")
        try:
            leftovers = self._leftovers(launch, began)
            for pid in leftovers:
                signals.kill(pid)
            if leftovers:
                return Pending(why=f"processes left by an earlier attempt are being killed: {sorted(leftovers)}")
            record = read(launch.run_dir / "exit.json", ExitRecord)
            if record is not None and record.attempt_id == attempt_id:
                return Exited(record=record)
            if attempt_id in (self._vanished.get(launch.game), None if began is None else began.attempt_id):
                return Exited(record=None)
            return self._spawn(launch, attempt_id, lock) if spawn else None
        finally:
            os.close(lock)

    def _adopt(self, launch: Launch, attempt_id: str, began: AttemptRecord | None) -> Keeper | None:
        """Watch an attempt that a former agent started."""
        if began is not None and began.attempt_id == attempt_id and began.boot == self._boot:
            shims = [began.shim_pid] if procfs.start_ticks(began.shim_pid) == began.shim_ticks else []
        else:
            shims = list(procfs.marked(SHIM_MARKER))
        # A shim leads its session: a trainer that is just being born shows the same environment, but doesn't.
        shims = [pid for pid in shims if procfs.mark(pid, SHIM_MARKER) == attempt_id and procfs.session(pid) == pid]
        ticks = procfs.start_ticks(shims[0]) if shims else None
        if ticks is None:
            return None
        keeper = self._keepers[launch.game] = Keeper(launch.attempt, shims[0], ticks)
        self._learn_trainer(launch, keeper)
        stopping = read(launch.run_dir / "stop.json", StopRecord)
        if stopping is not None and (stopping.attempt_id, stopping.boot) == (attempt_id, self._boot):
            keeper.term_sent, keeper.kill_at = True, stopping.kill_at
        return keeper

    def _spawn(self, launch: Launch, attempt_id: str, lock: int) -> Running:
        """Start the shim, which starts the trainer."""
        spec = {
            "attempt_id": attempt_id,
            "boot": self._boot,
            "command": launch.command,
            "env": {**launch.env, MARKER: attempt_id},
            "run_dir": str(launch.run_dir),
            "log_path": str(launch.log_path),
            "log_bytes_max": self._log_bytes_max,
            "log_files_kept": self._log_keep,
        }
        spec_path = launch.run_dir / "launch.json"
        launch.log_path.parent.mkdir(parents=True, exist_ok=True)
        # json, not msgspec: an inherited variable may hold bytes that are no UTF-8 (surrogates in Python).
        files.replace(spec_path, json.dumps(spec).encode(), durable=False)
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", shim.__file__, str(spec_path), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=launch.run_dir,
            env={"PATH": launch.env.get("PATH", os.defpath), SHIM_MARKER: attempt_id, RUN_DIR: str(launch.run_dir)},
            pass_fds=(lock,),
            start_new_session=True,
        )
        ticks = procfs.start_ticks(child.pid) or 0
        self._keepers[launch.game] = Keeper(launch.attempt, child.pid, ticks, child)
        return Running(trainer_pid=None, adopted=False)

    def _look_after(self, launch: Launch, keeper: Keeper) -> Running | Exited:
        """Learn the trainer's pid, notice its end, and enforce the deadline of a stop."""
        if keeper.trainer is None:
            self._learn_trainer(launch, keeper)
        now = time.monotonic()
        if keeper.trainer is None or keeper.notice_trainer(now):
            # A stopped (SIGSTOP) shim must wake up to record it.
            signals.send(keeper.shim_pid, keeper.ticks, signal.SIGCONT)
            record = read_from_memory(keeper.shim_pid)
            if record is not None and record.attempt_id == self._id(launch):
                # It keeps the lock until the disk takes the record; the next attempt kills it.
                self._keepers.pop(launch.game).close()
                return Exited(record=record)
        if keeper.give_up_at is not None and now >= keeper.give_up_at:
            signals.kill(keeper.shim_pid)
        elif keeper.kill_at is not None and now >= keeper.kill_at:
            for pid in self._attempt_processes(self._id(launch), keeper):
                signals.kill(pid)
            signals.send(keeper.shim_pid, keeper.ticks, signal.SIGCONT)
            keeper.give_up_at = keeper.give_up_at or now + SHIM_GRACE_S
        return Running(trainer_pid=keeper.trainer_pid, adopted=keeper.child is None)

    def _learn_trainer(self, launch: Launch, keeper: Keeper) -> None:
        attempt_id = self._id(launch)
        began = read(launch.run_dir / "attempt.json", AttemptRecord)
        if began is not None and (began.attempt_id, began.shim_pid) == (attempt_id, keeper.shim_pid):
            keeper.know_trainer(began.trainer_pid, began.trainer_ticks)
        elif keeper.child is None or keeper.kill_at is not None or time.monotonic() > keeper.since + RECORD_GRACE_S:
            # The record is missing (full disk): the shim's child with the attempt's mark is the trainer.
            for pid, of in procfs.marked(MARKER).items():
                ticks = procfs.start_ticks(pid)
                if of == attempt_id and procfs.parent(pid) == keeper.shim_pid and ticks is not None:
                    keeper.know_trainer(pid, ticks)

    def _attempt_processes(self, attempt_id: str, keeper: Keeper) -> set[int]:
        """Return the living processes of an attempt, without the shim: it records the exit."""
        in_session = procfs.members(keeper.shim_pid, keeper.ticks)
        marked = [pid for pid, of in procfs.marked(MARKER).items() if of == attempt_id]
        return {*in_session, *marked} - {keeper.shim_pid}

    def _kill_older(self, launch: Launch, attempt_id: str) -> None:
        """Kill other attempts of this game, shims too."""
        for marker in (SHIM_MARKER, MARKER):
            for pid, of in self._of_game(launch, marker).items():
                if of != attempt_id:
                    signals.kill(pid)

    def _leftovers(self, launch: Launch, began: AttemptRecord | None) -> set[int]:
        """Return the trainer processes of a game that lost their keeper."""
        found = set(self._of_game(launch, MARKER))
        # A program may overwrite its environment (setproctitle does): the keeper's session finds it too. While such
        # a process lives the session's number can't be given to a new process.
        if began is not None and began.boot == self._boot and procfs.start_ticks(began.shim_pid) is None:
            found |= set(procfs.members(began.shim_pid, began.shim_ticks))
        return found

    def _of_game(self, launch: Launch, marker: str) -> dict[int, str]:
        """Return pid -> attempt of the marked processes of a game.

        Also those that this run directory was given to by an agent with another identity: a lost journal takes the
        host's identity along, but not the trainers.
        """
        owner, run_dir = self._owner(launch.game), str(launch.run_dir)
        return {
            pid: of
            for pid, of in procfs.marked(marker).items()
            if of.rpartition(":")[0] == owner or procfs.mark(pid, RUN_DIR) == run_dir
        }

    def _owner(self, game: str) -> str:
        return f"{self._host_uuid}:{game}"

    def _id(self, launch: Launch) -> str:
        return f"{self._owner(launch.game)}:{launch.attempt}"


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
