"""Everything the agent learns, as values. Each is journaled before it is acted on."""

from __future__ import annotations

from typing import Literal

import msgspec

from rlagent.policy.model import Rules

ExitKind = Literal["done", "config", "error", "signal", "oom", "hang", "stopped", "outside", "lost"]
"""How a trainer ended: target reached; wrong configuration; exit code; signal; killed for memory; killed by us for
hanging; stopped by us; stopped by somebody else; unknown, its keeper vanished."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every event has."""

    t: float
    """Policy time, seconds."""
    wall: float
    """Seconds since the epoch, for people."""


class _TrainerEvent(_Event, frozen=True, kw_only=True):
    """News of one attempt of a game."""

    game: str
    attempt: int


class _Wish(_Event, frozen=True, kw_only=True):
    """What an operator asks for."""

    who: str
    why: str


class Configured(_Event, frozen=True, kw_only=True, tag="configured"):
    """The configuration was read, for the first time or changed."""

    rules: Rules
    used_attempts: dict[str, int] = {}
    """The last attempt of each game that left a trace on this host, told to a new journal: no number is used twice."""


class AgentStarted(_Event, frozen=True, kw_only=True, tag="agent_started"):
    """The agent came up. A boot identity other than the last one is a reboot."""

    boot: str
    version: str


class AgentStopping(_Event, frozen=True, kw_only=True, tag="agent_stopping"):
    """The agent was told to end; trainers go on."""

    reason: str


class Tick(_Event, frozen=True, kw_only=True, tag="tick"):
    """Time passed."""


class TrainerStarted(_TrainerEvent, frozen=True, kw_only=True, tag="trainer_started"):
    """A trainer's process exists (spawned, or adopted after an agent restart)."""

    pid: int
    adopted: bool = False


class TrainerProgressed(_TrainerEvent, frozen=True, kw_only=True, tag="trainer_progressed"):
    """A trainer took its first new step, or the first one after a stall."""

    global_step: int


class TrainerStalled(_TrainerEvent, frozen=True, kw_only=True, tag="trainer_stalled"):
    """A trainer has not taken a step for longer than usual; not yet a hang."""

    silent_s: float


class TrainerHung(_TrainerEvent, frozen=True, kw_only=True, tag="trainer_hung"):
    """A trainer has not taken a step for the hang timeout."""

    silent_s: float


class TrainerExited(_TrainerEvent, frozen=True, kw_only=True, tag="trainer_exited"):
    """A trainer's process is gone, and all its children."""

    exit: ExitKind
    detail: str
    global_step: int | None = None


class CheckpointCommitted(_Event, frozen=True, kw_only=True, tag="checkpoint_committed"):
    """A trainer reports a new checkpoint on disk."""

    game: str
    global_step: int


class GpuLost(_Event, frozen=True, kw_only=True, tag="gpu_lost"):
    """The driver lost a GPU."""

    gpu: int


class GpuBack(_Event, frozen=True, kw_only=True, tag="gpu_back"):
    """A lost GPU answers again."""

    gpu: int


class RebootAnnounced(_Wish, frozen=True, kw_only=True, tag="reboot_announced"):
    """An operator is about to reboot the host: the next reboot is no incident."""


class HoldRequested(_Wish, frozen=True, kw_only=True, tag="hold"):
    """An operator wants a mode, and wants to stay in it."""

    mode: str
    for_s: float | None
    no_fallback: bool


class ReleaseRequested(_Wish, frozen=True, kw_only=True, tag="release"):
    """An operator ends a hold."""


class RollbackRequested(_Wish, frozen=True, kw_only=True, tag="rollback"):
    """An operator demotes now."""

    to: str | None


class StopRequested(_Wish, frozen=True, kw_only=True, tag="stop"):
    """An operator stops all trainers."""

    until_restart: bool = False
    """Only until the agent's next start; False: until an operator starts them."""


class StartRequested(_Wish, frozen=True, kw_only=True, tag="start"):
    """An operator starts all trainers, FATAL ones too."""


Event = (
    Configured
    | AgentStarted
    | AgentStopping
    | Tick
    | TrainerStarted
    | TrainerProgressed
    | TrainerStalled
    | TrainerHung
    | TrainerExited
    | CheckpointCommitted
    | GpuLost
    | GpuBack
    | RebootAnnounced
    | HoldRequested
    | ReleaseRequested
    | RollbackRequested
    | StopRequested
    | StartRequested
)

OBSERVATIONS = (Tick, CheckpointCommitted)
"""Events so frequent that they are journaled only when they change something."""
