"""Makes the trainers match the policy's state; what it learns while trying comes back as events.

Every act asks for a state of the world, not for a change: asked again, also by another agent after a SIGKILL, it
changes nothing more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import msgspec

from rlagent import logtail
from rlagent.config import Config
from rlagent.gpus import GpuSpread
from rlagent.journal import Stamp
from rlagent.launches import identity, launch
from rlagent.oom import OomWatch
from rlagent.paths import Paths
from rlagent.policy import State
from rlagent.policy import events as ev
from rlagent.policy.model import Game
from rlagent.senses import Senses
from rlagent.statusview import best_interval_s
from rlagent.supervisor import Evidence, Exited, Launch, Pending, Running, classify
from rlagent.world import HostProbe, Trainers

log = logging.getLogger(__name__)

HANG_GRACE_S = 10.0
"""A trainer that hangs gets at most so long to answer SIGTERM."""
LAST_LINE_CHARS = 200
PENDING_S_MAX = 30.0
"""Longer than this nothing should be on its way in or out."""


class Hands:
    """Starts, stops and asks after trainers."""

    def __init__(self, config: Config, paths: Paths, supervisor: Trainers, senses: Senses, host: HostProbe) -> None:
        self._config, self._paths, self._supervisor, self._senses = config, paths, supervisor, senses
        self._gpus = GpuSpread(senses.gpus)
        self._host = host
        self._announced: dict[str, int] = {}
        self._troubles: dict[str, str] = {}
        self._pending_since: dict[str, float] = {}
        self._oom = OomWatch(host)

    def act(self, state: State, now: Callable[[], Stamp]) -> list[ev.Event]:
        """Start what should run, stop what should not; returns what is news."""
        found: list[ev.Event] = []
        for game in state.games:
            if game.status == "STARTING" and not self._gpus.is_known():
                continue
            if game.has_process:
                found += self._act_on(state, game, now)
        return found

    def troubles(self) -> list[str]:
        """Return what keeps games from starting, for people."""
        return list(self._troubles.values())

    def _act_on(self, state: State, game: Game, now: Callable[[], Stamp]) -> list[ev.Event]:
        stopping = game.status == "STOPPING"
        wanted = self._launch(state, game)
        try:
            outcome = self._supervisor.ensure(wanted, spawn=game.status == "STARTING")
        except OSError as error:
            self._trouble(game, f"can't start {game.name}: {error}; trying again")
            return []
        stamp = now()
        if self._is_stuck(game, outcome, stamp.monotonic):
            return []
        who: dict[str, Any] = {"t": stamp.t, "wall": stamp.wall, "game": game.name, "attempt": game.attempt}
        match outcome:
            case Running(trainer_pid=pid, adopted=adopted):
                if pid is not None:
                    self._oom.look(game.name, game.attempt, pid, stamp.monotonic)
                if stopping:
                    self._supervisor.stop(wanted, self._grace_s(game))
                return self._announce(game, who, pid, adopted=adopted)
            case Exited():
                kind, detail = classify(outcome.record, self._evidence(game, stopping=stopping))
            case _:
                kind, detail = ("stopped", "it had not started") if stopping else ("lost", "it was not there any more")
        return [
            ev.TrainerExited(
                **who,
                exit=kind,
                detail=detail,
                global_step=self._senses.global_step(game.name),
                checkpoint_step=self._senses.last_checkpoint(game.name),
            )
        ]

    def _is_stuck(self, game: Game, outcome: object, at: float) -> bool:
        """Whether something of an earlier attempt is still in the way; an alert when it does not go away."""
        if not isinstance(outcome, Pending):
            self._pending_since.pop(game.name, None)
            self._troubles.pop(game.name, None)
            return False
        since = self._pending_since.setdefault(game.name, at)
        if at - since > PENDING_S_MAX:
            self._trouble(game, f"{game.name} has waited {at - since:.0f} s: {outcome.why}")
        return True

    def _trouble(self, game: Game, text: str) -> None:
        if game.name not in self._troubles:
            log.error("%s", text)
        self._troubles[game.name] = text

    def _announce(self, game: Game, who: dict[str, Any], pid: int | None, *, adopted: bool) -> list[ev.Event]:
        """Tell of a new process once its pid is known."""
        if pid is None or self._announced.get(game.name) == game.attempt:
            return []
        self._announced[game.name] = game.attempt
        return [ev.TrainerStarted(**who, pid=pid, adopted=adopted)]

    def _evidence(self, game: Game, *, stopping: bool) -> Evidence:
        return Evidence(
            finished=self._senses.finished(game.name),
            said_stopping=self._senses.said_stopping(game.name),
            stopped_by_us=stopping,
            killed_for_hang=game.stop_reason == "hang",
            oom_killed=self._oom.was_killed(game.name, game.attempt),
            last_line=self._last_line(game.name),
        )

    def _last_line(self, game: str) -> str | None:
        for line in reversed(logtail.last_lines(self._paths.game_log(game), 10)):
            text = line.decode(errors="replace").strip()
            if text:
                return text[:LAST_LINE_CHARS]
        return None

    def _grace_s(self, game: Game) -> float:
        timeout = self._config.supervisor.stop_timeout_s
        return min(timeout, HANG_GRACE_S) if game.stop_reason == "hang" else timeout

    def _launch(self, state: State, game: Game) -> Launch:
        if game.status != "STARTING":
            # Only asked after: its game or mode may not even be configured any more.
            return identity(self._paths, game)
        interval_s = self._checkpoint_interval_s(state) if self._config.trainer.adaptive_checkpoints else None
        mode, cpus = self._config.mode(state.mode), self._host.cpu_count()
        wanted = launch(
            self._config, self._paths, mode, game, cpu_count=cpus, environ=os.environ, checkpoint_interval_s=interval_s
        )
        gpu = self._gpus.variables(game.slot, state.lost_gpus, wanted.env)
        return msgspec.structs.replace(wanted, env=wanted.env | gpu)

    def _checkpoint_interval_s(self, state: State) -> float | None:
        best_s = best_interval_s(self._config, state, state.t, state.wall, self._senses.checkpoint_cost_s())
        return None if best_s is None else round(best_s, 1)
