"""What the policy knows: its rules, the games, the incidents, and where it stands on the ladder.

Values only. Everything is immutable and encodes to JSON, so that the journal can hold it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from rlagent.policy.evidence import Evidence

GameStatus = Literal["QUEUED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL"]
StopReason = Literal["", "drain", "hang", "operator", "resize"]
FatalKind = Literal["", "crash", "config"]
PolicyKind = Literal["ladder", "goodput"]
TransitionKind = Literal["promote", "demote", "rollback", "hold", "scale", "reconfigure"]

_WITH_PROCESS = frozenset({"STARTING", "RUNNING", "STOPPING"})
WITH_SLOT = frozenset({"STARTING", "RUNNING", "STOPPING", "BACKOFF"})
"""Statuses of a game that occupies one of the mode's slots."""

HOUR_S = 3600.0
ANNOUNCED_REBOOT_S = 1800.0
"""An announced reboot must come within so much time, else it isn't that one."""


class _Value(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Immutable, compared by content."""


class Mode(_Value, frozen=True, kw_only=True):
    """One rung."""

    name: str
    slots: int
    """Games that train at once."""
    settings: str = ""
    """Everything else of the mode, opaque: when it changes, its trainers must be restarted."""


class GameRule(_Value, frozen=True, kw_only=True):
    """One game of the queue."""

    name: str
    target_frames: int


class Rules(_Value, frozen=True, kw_only=True):
    """The configuration the policy goes by; times in seconds."""

    modes: tuple[Mode, ...]
    """Lowest rung first."""
    games: tuple[GameRule, ...]
    """In queue order."""
    stable_s: float = 3600.0
    max_crashes: int = 3
    window_s: float = 3600.0
    cooldown_s: float = 3600.0
    cooldown_factor: float = 1.0
    cooldown_max_s: float = 86400.0
    forget_s: float = 21600.0
    count_clean_reboots: bool = True
    blind_spot_incidents: int = 3
    backoff_s: tuple[float, ...] = (10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
    backoff_reset_s: float = 600.0
    max_barren_attempts: int = 5
    policy: PolicyKind = "ladder"
    max_crashes_cap: bool = False
    """Goodput: more than `max_crashes` within the window demote all the same."""
    crash_price_s: float = 0.0
    """Goodput: what a crash costs beyond its lost work and downtime, in seconds of progress."""
    checkpoint_interval_s: float = 90.0

    def index(self, mode: str) -> int:
        """Return a mode's rung, 0 the lowest, or -1 for an unknown one."""
        for rung, known in enumerate(self.modes):
            if known.name == mode:
                return rung
        return -1

    def limits(self, *, held: bool) -> bool:
        """Whether more than `max_crashes` demote: always on the ladder, for goodput if so wished or while held."""
        return self.policy == "ladder" or self.max_crashes_cap or held

    @property
    def known_s(self) -> float:
        """Goodput: how long it stays in a mode before it tries one that it never tried."""
        return self.stable_s / 2.0

    @property
    def blind_spot(self) -> int:
        """How many incidents in a row without a checkpoint demote; 0: none do.

        Goodput may rightly stay in a mode that crashes often, where three of them come by chance within a week.
        """
        return self.blind_spot_incidents * (2 if self.policy == "goodput" else 1)


class Game(_Value, frozen=True, kw_only=True):
    """One game: its place in the life of a trainer."""

    name: str
    status: GameStatus = "QUEUED"
    since: float = 0.0
    """Policy time at which the status began."""
    attempt: int = 0
    """Counts its starts on this host."""
    slot: int | None = None
    """The number of its slot, or of the last one it had; None: it never had one."""
    progressing: bool = False
    """RUNNING and taking steps."""
    progressed_at: float | None = None
    """Policy time of the first step of this attempt."""
    failures: int = 0
    """Failures in a row, for the backoff."""
    barren: int = 0
    """Attempts in a row without one step of progress."""
    not_before: float = 0.0
    """Earliest policy time of the next start."""
    stop_reason: StopReason = ""
    fatal_kind: FatalKind = ""
    last_error: str | None = None

    @property
    def has_process(self) -> bool:
        """Whether a trainer process may exist."""
        return self.status in _WITH_PROCESS

    @property
    def has_slot(self) -> bool:
        """Whether it occupies one of the mode's slots."""
        return self.status in WITH_SLOT


class Incident(_Value, frozen=True, kw_only=True):
    """One crash: everything from the first symptom until trainers make progress again."""

    t: float
    wall: float
    visit: int
    """The stay in a mode that it counts for."""
    mode: str
    symptoms: tuple[str, ...]
    """The first one names it."""
    reboot: bool = False
    """A reboot is among the symptoms."""


class Transition(_Value, frozen=True, kw_only=True):
    """A mode change that waits until every trainer of the old mode has ended."""

    kind: TransitionKind
    to: str
    since: float
    reason: str
    keep: tuple[str, ...]
    """The games that had a slot and go on in the new mode, as far as it has slots."""


class Hold(_Value, frozen=True, kw_only=True):
    """An operator's wish to stay: no promotion."""

    mode: str
    until: float | None
    """Policy time of its end; None: until released."""
    no_fallback: bool
    who: str
    why: str


class State(_Value, frozen=True, kw_only=True):
    """Where the policy stands; the fold of all events so far."""

    rules: Rules | None = None
    """None until the first configuration."""
    t: float = 0.0
    """Policy time of the last event."""
    wall: float = 0.0
    """Wall clock at the last event, for people."""
    boot: str | None = None
    """Identity of the boot last seen."""
    clean_stop: bool = False
    """The agent was told to end, and has not started since."""
    announced_until: float | None = None
    """A reboot until this policy time is announced."""
    mode: str = ""
    mode_entered: float = 0.0
    mode_entered_wall: float = 0.0
    visit: int = 0
    """Counts stays in modes."""
    transition: Transition | None = None
    hold: Hold | None = None
    stopped: bool = False
    """By an operator: no trainer runs."""
    stopped_until_restart: bool = False
    """The stop ends with the agent's next start."""
    stopped_for_reboot: bool = False
    """The stop ends with the announced reboot, or with its announcement."""
    games: tuple[Game, ...] = ()
    stable_s: float = 0.0
    """Stable time up to `progressing_since`."""
    progressing_since: float | None = None
    """Policy time since which all trainers have been making progress."""
    incidents: tuple[Incident, ...] = ()
    """Oldest first; those older than the window and an hour are dropped."""
    incident_open: bool = False
    """The last incident is not over yet."""
    checkpoints_reported: bool = False
    """Trainers here do report checkpoints: without that, their absence means nothing."""
    barren_incidents: int = 0
    """Incidents in this mode since the last committed checkpoint."""
    reboots: tuple[float, ...] = ()
    """Policy times of the last hour's reboots."""
    lost_gpus: tuple[int, ...] = ()
    """GPUs whose loss is counted already."""
    failed_tries: dict[str, int] = {}
    """Failed tries of each mode, for the growing cooldown."""
    mode_changes: tuple[float, ...] = ()
    """Policy times of the automatic mode changes of the last hour."""
    retry_at: dict[str, float] = {}
    """Policy time before which a mode is not tried again."""

    retired: dict[str, int] = {}
    """Attempts of games that left the queue: a number is never used twice."""
    evidence: Evidence = Evidence()
    """What has been seen of each mode."""

    def game(self, name: str) -> Game | None:
        """Return a game by name."""
        for game in self.games:
            if game.name == name:
                return game
        return None

    @property
    def all_progressing(self) -> bool:
        """Whether time is stable time: every trainer of the mode takes steps."""
        if self.stopped or self.transition is not None:
            return False
        slotted = False
        for game in self.games:
            if game.status in WITH_SLOT:
                if game.status != "RUNNING" or not game.progressing:
                    return False
                slotted = True
        return slotted

    def stable_at(self, t: float) -> float:
        """Return the stable time at policy time `t`, seconds."""
        if self.progressing_since is None:
            return self.stable_s
        return self.stable_s + max(0.0, t - self.progressing_since)

    def counted(self, t: float) -> tuple[Incident, ...]:
        """Return the incidents that count at `t`: of this stay, younger than the window."""
        if self.rules is None:
            return ()
        oldest = t - self.rules.window_s
        return tuple(i for i in self.incidents if i.visit == self.visit and oldest < i.t <= t)
