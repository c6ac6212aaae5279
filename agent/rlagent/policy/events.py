"""Everything the agent learns, as values. Each is journaled before it is acted on."""

from __future__ import annotations

from typing import Literal

import msgspec

from rlagent.policy.model import Rules, State

ExitKind = Literal["done", "config", "error", "signal", "oom", "hang", "stopped", "outside", "lost"]
"""How a trainer ended: target reached; wrong configuration; exit code; signal; killed for memory; killed by us for
hanging; stopped by us; stopped by somebody else; unknown, its keeper vanished."""
GuardCause = Literal["memory", "disk", "gpu_temperature", "gpu_throttle", "sps"]
"""What the guard saw: memory running out; a disk nearly full; a GPU too hot, or slowed down for heat; falling speed."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", gc=False):
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
    request_id: str = ""
    """Names one wish: asked again, after a lost reply, it is done once. Empty: not named."""


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
    checkpoint_step: int | None = None
    """A checkpoint that its last report tells of, and that no event has told of before."""


class CheckpointCommitted(_Event, frozen=True, kw_only=True, tag="checkpoint_committed"):
    """A trainer reports a new checkpoint on disk."""

    game: str
    global_step: int


class SpeedMeasured(_Event, frozen=True, kw_only=True, tag="speed_measured"):
    """All trainers of the mode together took so many steps a second, over a while in which each made progress."""

    steps_per_s: float
    over_s: float


class GpuLost(_Event, frozen=True, kw_only=True, tag="gpu_lost"):
    """The driver lost a GPU."""

    gpu: int


class GpuBack(_Event, frozen=True, kw_only=True, tag="gpu_back"):
    """A lost GPU answers again."""

    gpu: int


class GuardTripped(_Event, frozen=True, kw_only=True, tag="guard_tripped"):
    """Something that comes before a host's death has gone on for too long (`rlagent.guard`)."""

    cause: GuardCause
    evidence: str
    """Readings, limits and duration, for people."""
    act: bool
    """False: only say what would be done."""
    actions_max: int
    """So many automatic mode changes within an hour at most."""


class JournalRecovered(_Event, frozen=True, kw_only=True, tag="journal_recovered"):
    """The journal was damaged or lost: this is the state that could be saved; folding begins anew here."""

    state: State
    how: str
    """What was wrong, what was saved and from where, in a sentence."""


class JournalBack(_Event, frozen=True, kw_only=True, tag="journal_back"):
    """The journal takes lines again: what happened since its last line could not be told."""


class RebootAnnounced(_Wish, frozen=True, kw_only=True, tag="reboot_announced"):
    """An operator is about to reboot the host: the next reboot is no incident."""

    drain: bool = False
    """Stop all trainers until it has happened, is withdrawn or its time is over."""


class RebootWithdrawn(_Wish, frozen=True, kw_only=True, tag="reboot_withdrawn"):
    """An announced reboot will not happen."""


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


class ScaleRequested(_Wish, frozen=True, kw_only=True, tag="scale"):
    """An operator wants a mode now; automation goes on from there."""

    mode: str


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
    | SpeedMeasured
    | GpuLost
    | GpuBack
    | GuardTripped
    | JournalRecovered
    | JournalBack
    | RebootAnnounced
    | RebootWithdrawn
    | HoldRequested
    | ReleaseRequested
    | RollbackRequested
    | ScaleRequested
    | StopRequested
    | StartRequested
)

OBSERVATIONS = (Tick, CheckpointCommitted)
"""Events so frequent that they are journaled only when they change something."""
