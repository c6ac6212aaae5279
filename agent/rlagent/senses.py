"""What the world shows: compares trainers, their reports and the GPUs with the policy's state; differences are events.

Reads only. Acting is `rlagent.hands`; exits are reported there too, because asking for a trainer's process is what
tells that it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rlagent.config import Config
from rlagent.journal import Stamp
from rlagent.paths import Paths
from rlagent.policy import State
from rlagent.policy import events as ev
from rlagent.policy.model import Game
from rlagent.probe.gpu import GpuProbe
from rlagent.probe.progress import Heartbeat
from rlagent.statusview import GameReading
from rlagent.supervisor import Supervisor


class Senses:
    """Looks at everything once a turn."""

    def __init__(self, config: Config, paths: Paths, supervisor: Supervisor, gpu: GpuProbe) -> None:
        self._settings = config.supervisor
        self._supervisor, self._gpu = supervisor, gpu
        self._heartbeats = {game.name: Heartbeat(paths.progress_file(game.name)) for game in config.games}
        self._attempts: dict[str, int] = {}
        self._checkpoints: dict[str, int] = {}

    def look(self, state: State, now: Callable[[], Stamp]) -> list[ev.Event]:
        """Return what is new, in the order in which it is to be recorded."""
        found: list[ev.Event] = []
        stamp, lost, known = now(), self._gpu.lost(), set(state.lost_gpus)
        found += [ev.GpuLost(t=stamp.t, wall=stamp.wall, gpu=gpu) for gpu in sorted(lost - known)]
        if self._gpu.has_answered:
            found += [ev.GpuBack(t=stamp.t, wall=stamp.wall, gpu=gpu) for gpu in sorted(known - lost)]
        alive = self._supervisor.processes()
        for game in state.games:
            heartbeat = self._heartbeats.get(game.name)
            if heartbeat is not None:
                found += self._listen(game, heartbeat, alive=game.name in alive, stamp=now())
        return found

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
        heartbeat.look(time.monotonic())
        return None if heartbeat.last is None else heartbeat.last.finished

    def global_step(self, game: str) -> int | None:
        """Return the step count of a game's last report."""
        heartbeat = self._heartbeats.get(game)
        return None if heartbeat is None or heartbeat.last is None else heartbeat.last.global_step

    def said_stopping(self, game: str) -> bool:
        """Whether a game's last report says that its trainer was stopping, as it does after a SIGTERM."""
        heartbeat = self._heartbeats.get(game)
        return heartbeat is not None and heartbeat.said_stopping

    def warnings(self) -> list[str]:
        """Return what is wrong with reports."""
        return [heartbeat.warning for heartbeat in self._heartbeats.values() if heartbeat.warning is not None]

    def _listen(self, game: Game, heartbeat: Heartbeat, *, alive: bool, stamp: Stamp) -> list[ev.Event]:
        """Judge the reports of one game."""
        at = stamp.monotonic
        if self._attempts.get(game.name) != game.attempt:
            self._attempts[game.name] = game.attempt
            heartbeat.begin(at)
            self._note_checkpoint(game, heartbeat)
            return []
        grew = heartbeat.look(at)
        found = self._note_checkpoint(game, heartbeat, stamp)
        if not alive or game.status not in ("STARTING", "RUNNING"):
            return found
        who: dict[str, Any] = {"t": stamp.t, "wall": stamp.wall, "game": game.name, "attempt": game.attempt}
        if grew and not game.progressing and heartbeat.last is not None:
            return [*found, ev.TrainerProgressed(**who, global_step=heartbeat.last.global_step)]
        silent_s = heartbeat.silent_s(at)
        if heartbeat.is_hung(at, self._settings.hang_timeout_s, self._settings.start_timeout_s):
            return [*found, ev.TrainerHung(**who, silent_s=silent_s)]
        if game.progressing and heartbeat.is_stalled(at):
            return [*found, ev.TrainerStalled(**who, silent_s=silent_s)]
        return found

    def _note_checkpoint(self, game: Game, heartbeat: Heartbeat, stamp: Stamp | None = None) -> list[ev.Event]:
        """Tell of a checkpoint that was not there before; without a stamp only remember it."""
        checkpoint = None if heartbeat.last is None else heartbeat.last.checkpoint
        step = -1 if checkpoint is None else checkpoint.global_step
        known = self._checkpoints.get(game.name)
        self._checkpoints[game.name] = step
        if stamp is None or step < 0 or step == known:
            return []
        return [ev.CheckpointCommitted(t=stamp.t, wall=stamp.wall, game=game.name, global_step=step)]
