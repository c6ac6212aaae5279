"""What an agent says of its host: the result of `status`, and the content of `status.json`.

"Unavailable" is None everywhere. Times are ISO 8601 in UTC; durations are seconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

TrainerState = Literal["QUEUED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL"]
"""QUEUED: waits for a slot. EXITED: its target is reached. FATAL: given up, see last_error."""


class GpuStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU; each reading is None where the driver does not give it."""

    index: int
    name: str | None = None
    utilization_percent: float | None = None
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: bool | None = None
    """Its clocks are held down for heat, or by the power supply."""
    error: str | None = None


class HostReadings(msgspec.Struct, frozen=True, kw_only=True):
    """The host itself."""

    cpu_count: int | None = None
    load_1m: float | None = None
    memory_total_mib: float | None = None
    memory_available_mib: float | None = None
    memory_pressure_percent: float | None = None
    """PSI: share of the last 10 s in which some task waited for memory."""
    disk_free_mib: float | None = None
    disk_total_mib: float | None = None


class TrainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One game: its process if it has one, and how far it is."""

    game: str
    state: TrainerState
    pid: int | None = None
    attempt: int = 0
    state_since: str | None = None
    retry_at: str | None = None
    """BACKOFF: when it starts again."""
    last_error: str | None = None
    global_step: int | None = None
    sps: float | None = None
    episodes: int | None = None
    episodes_per_hour: float | None = None
    best_return: float | None = None
    mean_return_100: float | None = None
    checkpoint_age_s: float | None = None
    progress: float | None = None
    """Share of the target in frames, 0 to 1."""
    target_frames: int | None = None


class NextAction(msgspec.Struct, frozen=True, kw_only=True):
    """The next thing the agent will do by itself."""

    kind: str
    """promote, review (goodput), start, release, enter (a mode, when the drain ends), retry (a FATAL game) or none."""
    at: str | None
    """When, if nothing happens before; None: no time can be given."""
    in_s: float | None
    reason: str


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """How long until every game has reached its target at the present speed."""

    hours_left: float | None


class AgentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's own process."""

    version: str
    pid: int
    host_uuid: str
    uptime_s: float
    rss_mib: float | None = None


class HoldStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A hold in force."""

    mode: str
    until: str | None
    no_fallback: bool
    who: str
    why: str


class IncidentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One crash, with the symptom it began with."""

    at: str
    mode: str
    what: str
    open: bool
    counts: bool
    """Whether it counts for the present mode's window."""


class ModeGoodput(msgspec.Struct, frozen=True, kw_only=True):
    """What is believed of one mode; all None: nothing was measured yet; only the speeds: they were not."""

    mode: str
    steps_per_s: float | None = None
    """All its trainers together, while they make progress."""
    crashes_per_h: float | None = None
    """Per progressing hour, at this hour of day."""
    crashes_per_h_low: float | None = None
    crashes_per_h_high: float | None = None
    """Its 16% and 84% quantiles."""
    restart_s: float | None = None
    """Downtime of a crash."""
    goodput_steps_per_s: float | None = None
    """Net of downtime and lost work."""


class CheckpointAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """How often checkpoints are taken, and how often would be best."""

    interval_s: float
    """As configured: never less often."""
    cost_s: float | None = None
    """What one costs, by the trainers' reports."""
    best_interval_s: float | None = None
    """Wastes the least at the present mode's crash rate; None: not known."""
    adaptive: bool = False
    """Whether new attempts are started with it."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole picture of one host."""

    schema_version: int = 1
    written_at: str
    agent: AgentInfo
    mode: str
    mode_since: str
    in_mode_s: float
    ladder: list[str]
    """All modes, lowest first."""
    changing_to: str | None = None
    """The mode after the drain that is going on."""
    stopped: bool = False
    """Stopped by an operator."""
    hold: HoldStatus | None = None
    uptime_s: float
    """Of the host."""
    boot: str | None = None
    """The identity of the host's present boot: another one means that it was rebooted."""
    reboot_announced_until: str | None = None
    """A reboot until then is announced and no incident."""
    host: HostReadings
    gpu: list[GpuStatus]
    gpu_error: str | None = None
    """Why there are no GPU readings."""
    stable_s: float
    """Stable time in this mode since the last incident; a promotion needs `stable_needed_s`."""
    stable_needed_s: float
    incidents_last_hour: int
    reboots_last_hour: int
    incidents: list[IncidentStatus]
    """Those of the last hour (at least of the policy's window), oldest first."""
    trainers: list[TrainerStatus]
    """Games that have a slot."""
    games: list[TrainerStatus]
    """All games in queue order."""
    alerts: list[str]
    """What a person should look at, newest last."""
    next_action: NextAction
    projection: Projection
    policy: str = "ladder"
    """ladder or goodput."""
    modes: list[ModeGoodput] = []
    """Lowest rung first."""
    checkpoint: CheckpointAdvice | None = None
