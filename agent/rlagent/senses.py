"""What the world shows: compares trainers, their reports and the GPUs with the policy's state; differences are events.

Reads only. Acting is `rlagent.hands`; exits are reported there too, because asking for a trainer's process is what
tells that it is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlagent import statusview
from rlagent.config import Config
from rlagent.journal import Stamp
from rlagent.paths import Paths
from rlagent.policy import State
from rlagent.policy import events as ev
from rlagent.policy.model import Game
from rlagent.probe.progress import Heartbeat
from rlagent.probe.throughput import Throughput
from rlagent.statusview import GameReading
from rlagent.world import Gpus, Trainers, World


class Senses:
    """Looks at everything once a turn."""

    def __init__(self, config: Config, paths: Paths, supervisor: Trainers, gpu: Gpus, world: World) -> None:
        self._settings, self._runs, self._disk_is_full = config.supervisor, paths.runs, world.host.disk_is_full
        self._full = False
        self._supervisor, self.gpus, self._monotonic = supervisor, gpu, world.monotonic
        self._heartbeats = {game.name: world.heartbeat(paths.progress_file(game.name)) for game in config.games}
        self._attempts: dict[str, int] = {}
        self._checkpoints: dict[str, int | None] = {}
        self._throughput = Throughput()
        self.hangs_in_s = float("inf")
        """Seconds from the last look until the first trainer counts as hung if it takes no step."""

    def look(self, state: State, now: Callable[[], Stamp]) -> list[ev.Event]:
        """Return what is new, in the order in which it is to be recorded."""
        found: list[ev.Event] = []
        stamp, lost, known = now(), self.gpus.lost(), set(state.lost_gpus)
        found += [ev.GpuLost(t=stamp.t, wall=stamp.wall, gpu=gpu) for gpu in sorted(lost - known)]
        if self.gpus.has_answered:
            found += [ev.GpuBack(t=stamp.t, wall=stamp.wall, gpu=gpu) for gpu in sorted(known - lost)]
        alive, self._full = self._supervisor.processes(), self._disk_is_full(self._runs)
        self.hangs_in_s = float("inf")
        for game in state.games:
            heartbeat = self._heartbeats.get(game.name)
            if heartbeat is not None:
                found += self._listen(game, heartbeat, alive=game.name in alive, stamp=now())
        return found + self._measure(state, now())

    def games(self) -> dict[str, GameReading]:
        """Return the last report of each game, and its process."""
        alive = self._supervisor.processes()
        return {
            name: GameReading(pid=alive[name].trainer_pid if name in alive else None, progress=heartbeat.last)
            for name, heartbeat in self._heartbeats.items()
        }

    def finished(self, game: str) -> bool | None:
        """Return what a game's very last report says of its target; asked when its trainer has just ended."""
        heartbeat = self._heartbeats.get(game)
        if heartbeat is None:
            return None
        heartbeat.look(self._monotonic())
        return None if heartbeat.last is None else heartbeat.last.finished

    def last_checkpoint(self, game: str) -> int | None:
        """Return the step of a checkpoint that was not told of yet; asked when a game's trainer has just ended."""
        heartbeat = self._heartbeats.get(game)
        step = None if heartbeat is None else _checkpoint(heartbeat)
        return None if step == self._checkpoints.get(game, step) else step

    def global_step(self, game: str) -> int | None:
        """Return the step count of a game's last report."""
        heartbeat = self._heartbeats.get(game)
        return None if heartbeat is None or heartbeat.last is None else heartbeat.last.global_step

    def checkpoint_cost_s(self) -> float | None:
        """Return what a checkpoint costs by the trainers' last reports, the dearest one; None: none says."""
        return statusview.checkpoint_cost_s(self.games())

    def said_stopping(self, game: str) -> bool:
        """Whether a game's last report says that its trainer was stopping, as it does after a SIGTERM."""
        heartbeat = self._heartbeats.get(game)
        return heartbeat is not None and heartbeat.said_stopping

    def warnings(self) -> list[str]:
        """Return what is wrong with reports."""
        full = f"{self._runs}: no space: trainers can't report, so none is taken for hung; free some space"
        wrong = [heartbeat.warning for heartbeat in self._heartbeats.values() if heartbeat.warning is not None]
        return [full, *wrong] if self._full else wrong

    def _measure(self, state: State, stamp: Stamp) -> list[ev.Event]:
        """Return how fast all trainers together are, once they have been at it for a while."""
        running = state.games if state.all_progressing else ()
        attempts = {game.name: game.attempt for game in running if game.has_slot}
        speed = self._throughput.look(stamp.monotonic, attempts, {name: self.global_step(name) for name in attempts})
        if speed is None:
            return []
        return [ev.SpeedMeasured(t=stamp.t, wall=stamp.wall, steps_per_s=speed[0], over_s=speed[1])]

    def _listen(self, game: Game, heartbeat: Heartbeat, *, alive: bool, stamp: Stamp) -> list[ev.Event]:
        """Judge the reports of one game."""
        at = stamp.monotonic
        if self._attempts.get(game.name) != game.attempt:
            self._attempts[game.name] = game.attempt
            heartbeat.begin(at)
            self._new_checkpoint(game.name, heartbeat)
            return []
        grew = heartbeat.look(at, disk_full=self._full)
        step = self._new_checkpoint(game.name, heartbeat)
        found: list[ev.Event] = []
        if step is not None and game.has_process:  # the last one of a trainer that has ended is told with its end
            found.append(ev.CheckpointCommitted(t=stamp.t, wall=stamp.wall, game=game.name, global_step=step))
        if not alive or game.status not in ("STARTING", "RUNNING"):
            return found
        who: dict[str, Any] = {"t": stamp.t, "wall": stamp.wall, "game": game.name, "attempt": game.attempt}
        if grew and not game.progressing and heartbeat.last is not None:
            return [*found, ev.TrainerProgressed(**who, global_step=heartbeat.last.global_step)]
        silent_s = heartbeat.silent_s(at)
        hangs_in_s = heartbeat.hangs_in_s(at, self._settings.hang_timeout_s, self._settings.start_timeout_s)
        self.hangs_in_s = min(self.hangs_in_s, hangs_in_s)
        if heartbeat.is_hung(at, self._settings.hang_timeout_s, self._settings.start_timeout_s):
            return [*found, ev.TrainerHung(**who, silent_s=silent_s)]
        if game.progressing and heartbeat.is_stalled(at):
            return [*found, ev.TrainerStalled(**who, silent_s=silent_s)]
        return found

    def _new_checkpoint(self, game: str, heartbeat: Heartbeat) -> int | None:
        """Return the step of a checkpoint that was not there at the last look; None: none, or the first look."""
        step = _checkpoint(heartbeat)
        known = self._checkpoints.get(game, step)
        self._checkpoints[game] = step
        return None if step == known else step


def _checkpoint(heartbeat: Heartbeat) -> int | None:
    checkpoint = None if heartbeat.last is None else heartbeat.last.checkpoint
    return None if checkpoint is None else checkpoint.global_step
