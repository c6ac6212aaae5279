"""Reads the host every few seconds, for the status and for the guard, and says what the guard finds in it."""

from __future__ import annotations

from rlagent.config import Config
from rlagent.guard import Guard, Sample
from rlagent.paths import Paths
from rlagent.policy import State
from rlagent.protocol.status import HostReadings
from rlagent.senses import Senses
from rlagent.world import Gpus, World

READ_S = 5.0
"""Between two readings of the host: they cost more than all else in a turn, and the kernel's averages span 10 s."""


class Lookout:
    """The host's readings, and what is wrong with them."""

    def __init__(self, config: Config, paths: Paths, senses: Senses, gpu: Gpus, world: World) -> None:
        self._settings, self._paths = config.guard, paths
        self._senses, self._gpu, self._host = senses, gpu, world.host
        self._guard = Guard(config.guard)
        self._read_at = world.monotonic()
        self.host: HostReadings = self._host.readings(paths.state_dir)
        """The last readings."""

    def look(self, state: State, at: float) -> list[dict[str, object]]:
        """Read when it is time; returns the fields of each `guard_tripped` that follows."""
        if at < self._read_at + READ_S:
            return []
        self._read_at, self.host = at, self._host.readings(self._paths.state_dir)
        sample = Sample(
            at=at, host=self.host, gpus=tuple(self._gpu.readings()[0]), sps=self._sps(state), work=_work(state)
        )
        rest = {"act": self._settings.mode == "act", "actions_max": self._settings.actions_per_hour}
        return [{"cause": found.cause, "evidence": found.evidence, **rest} for found in self._guard.look(sample)]

    def warnings(self) -> list[str]:
        """Return what the guard finds wrong now."""
        return self._guard.warnings()

    def _sps(self, state: State) -> float | None:
        """Return the speed of all trainers together, if all of them make progress and report one."""
        if not state.all_progressing:
            return None
        readings = self._senses.games()
        progress = [readings[game.name].progress for game in state.games if game.has_slot and game.name in readings]
        speeds = [report.sps for report in progress if report is not None and report.sps is not None]
        return sum(speeds) if len(speeds) == len(progress) and speeds else None


def _work(state: State) -> tuple[object, ...]:
    return (state.visit, *(game.name for game in state.games if game.has_slot))
