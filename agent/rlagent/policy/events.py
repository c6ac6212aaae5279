"""Everything the agent learns, as values. Each is journaled before it is acted on."""

from __future__ import annotations

from typing import Literal

import msgspec

from rlagent.policy.model import Rules

ExitKind = Literal["done", "config", "error", "signal", "oom", "hang", "stopped", "outside", "lost"]
"""How a trainer ended: target reached; wrong configuration; exit code; signal; killed for memory; killed by us for
hanging; stopped by us; stopped by somebody else; unknown, its keeper vanished."""


class Configured(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="configured"):
    """The configuration was read, for the first time or changed."""

    t: float
    wall: float
    rules: Rules
    used_attempts: dict[str, int] = {}
    """The last attempt of each game that left a trace on this host, told to a new journal: no number is used twice."""


class AgentStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="agent_started"):
    """The agent came up. A boot identity other than the last one is a reboot."""

    t: float
    wall: float
    boot: str
    version: str


class AgentStopping(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="agent_stopping"):
    """The agent was told to end; trainers go on."""

    t: float
    wall: float
    reason: str


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="tick"):
    """Time passed."""

    t: float
    wall: float


class TrainerStarted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="trainer_started"):
    """A trainer's process exists (spawned, or adopted after an agent restart)."""

    t: float
    wall: float
    game: str
    attempt: int
    pid: int
    adopted: bool = False


class TrainerProgressed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="trainer_progressed"):
    """A trainer took its first new step, or the first one after a stall."""

    t: float
    wall: float
    game: str
    attempt: int
    global_step: int


class TrainerStalled(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="trainer_stalled"):
    """A trainer has not taken a step for longer than usual; not yet a hang."""

    t: float
    wall: float
    game: str
    attempt: int
    silent_s: float


class TrainerHung(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="trainer_hung"):
    """A trainer has not taken a step for the hang timeout."""

    t: float
    wall: float
    game: str
    attempt: int
    silent_s: float


class TrainerExited(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="trainer_exited"):
    """A trainer's process is gone, and all its children."""

    t: float
    wall: float
    game: str
    attempt: int
    exit: ExitKind
    detail: str
    global_step: int | None = None


class CheckpointCommitted(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="checkpoint_committed"):
    """A trainer reports a new checkpoint on disk."""

    t: float
    wall: float
    game: str
    global_step: int


class GpuLost(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="gpu_lost"):
    """The driver lost a GPU."""

    t: float
    wall: float
    gpu: int


class GpuBack(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="gpu_back"):
    """A lost GPU answers again."""

    t: float
    wall: float
    gpu: int


class RebootAnnounced(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="reboot_announced"):
    """An operator is about to reboot the host: the next reboot is no incident."""

    t: float
    wall: float
    who: str
    why: str


class HoldRequested(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="hold"):
    """An operator wants a mode, and wants to stay in it."""

    t: float
    wall: float
    mode: str
    for_s: float | None
    no_fallback: bool
    who: str
    why: str


class ReleaseRequested(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="release"):
    """An operator ends a hold."""

    t: float
    wall: float
    who: str
    why: str


class RollbackRequested(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rollback"):
    """An operator demotes now."""

    t: float
    wall: float
    to: str | None
    who: str
    why: str


class StopRequested(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="stop"):
    """An operator stops all trainers."""

    t: float
    wall: float
    who: str
    why: str
    until_restart: bool = False
    """Only until the agent's next start; False: until an operator starts them."""


class StartRequested(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="start"):
    """An operator starts all trainers, FATAL ones too."""

    t: float
    wall: float
    who: str
    why: str


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
