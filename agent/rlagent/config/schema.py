"""Every setting's name, type, default and meaning, as frozen types that refuse impossible values.

Owns what a configuration may say; must not read files. `example.toml` beside it shows each setting with its default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from rlagent.policy.model import PolicyKind
from rlagent.protocol import contract

YEAR_MINUTES = 366 * 24 * 60
_RESERVED = ("agent", "startup")
"""Names of the agent's own log files."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


def near(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)`, or the list of known names when none is near."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(names)})"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


def _check(holds: bool, fault: str) -> None:  # noqa: FBT001  # reads as a sentence: check that it holds, else the fault
    if not holds:
        raise ValueError(fault)


class AgentSection(_Section, frozen=True, kw_only=True):
    """`[agent]`: where things are and how often to look."""

    state_dir: str = "~/.local/share/rlfleet/var"
    """Journal, socket, logs and runs live here; `~` is the agent's user."""
    tick_s: float = 1.0
    """Seconds between two looks at the host and the trainers."""
    journal_tick_s: float = 60.0
    """At least this often the passing of time itself is journaled, so that a reboot loses at most so much of it."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        _check(self.state_dir.startswith(("/", "~/")), "state_dir must be an absolute path, or begin with ~/")
        _check(0.05 <= self.tick_s <= 60, "tick_s must be between 0.05 and 60 seconds")
        _check(self.journal_tick_s >= self.tick_s, "journal_tick_s must not be below tick_s")


class PolicySection(_Section, frozen=True, kw_only=True):
    """`[policy]`: when to promote and when to demote."""

    policy: PolicyKind = "ladder"
    """ladder: by stable time and crashes in a window. goodput: whichever mode makes the most useful steps per hour."""
    stable_minutes: float = 60
    """Promote one rung after so much stable time in a mode."""
    max_crashes: int = 3
    """More incidents than this within the window demote: with 3, the fourth does."""
    window_minutes: float = 60
    """Length of the sliding window."""
    cooldown_minutes: float = 60
    """No new try of a rung for so long after it failed."""
    cooldown_factor: float = 1
    """The cooldown grows by this factor with each further failed try of that rung; 2 is advised."""
    cooldown_max_minutes: float = 1440
    """The cooldown never gets longer than this."""
    forget_hours: float = 6
    """A rung that has held for so long has its failed tries forgotten."""
    count_clean_reboots: bool = True
    """An unannounced reboot counts even when the host shut down cleanly."""
    blind_spot_incidents: int = 3
    """So many incidents in a row without a checkpoint between them demote too (goodput: twice as many); 0: off."""
    crash_price_minutes: float = 0
    """goodput: what a crash costs beyond its lost work and downtime; more makes it avoid crashes."""
    max_crashes_cap: bool = False
    """goodput: more than max_crashes within the window demote all the same."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("stable_minutes", "window_minutes"):
            _check(0 < getattr(self, name) <= YEAR_MINUTES, f"{name} must be above 0 and at most a year")
        _check(self.max_crashes >= 0, "max_crashes must not be negative")
        _check(0 <= self.cooldown_minutes <= YEAR_MINUTES, "cooldown_minutes must be 0 or more, and at most a year")
        _check(self.cooldown_max_minutes <= YEAR_MINUTES, "cooldown_max_minutes must be at most a year")
        _check(1 <= self.cooldown_factor <= 100, "cooldown_factor must be between 1 and 100")
        _check(
            self.cooldown_max_minutes >= self.cooldown_minutes,
            "cooldown_max_minutes must not be below cooldown_minutes",
        )
        _check(self.forget_hours > 0, "forget_hours must be above 0")
        _check(self.blind_spot_incidents >= 0, "blind_spot_incidents must not be negative")
        _check(0 <= self.crash_price_minutes <= 1440, "crash_price_minutes must be 0 or more, and at most a day")


class SupervisorSection(_Section, frozen=True, kw_only=True):
    """`[supervisor]`: how trainers are started, watched and stopped."""

    stop_timeout_s: float = 60
    """A trainer that has not ended so long after SIGTERM is killed, with its whole process group."""
    hang_timeout_s: float = 300
    """No new step for max(5 x the usual report interval, this): the trainer hangs and is killed."""
    start_timeout_s: float = 900
    """The same before the first new step of an attempt: imports, compilation, filling of buffers."""
    restart_backoff_s: tuple[float, ...] = (10, 20, 40, 80, 160, 300)
    """Waiting time before the first, second ... restart after failures in a row, from the trainer's first step on; the
    last repeats. One that has trained for longer restarts at once, and takes one failure off the row."""
    backoff_reset_minutes: float = 10
    """After so much running time a failure is the first one again."""
    max_barren_attempts: int = 5
    """So many attempts in a row without one step of progress: the game is FATAL, the next one takes its slot."""
    log_max_mib: float = 16
    """Size of one log file of a game before it is rotated."""
    log_keep: int = 4
    """Rotated log files kept for each game."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("stop_timeout_s", "hang_timeout_s", "start_timeout_s", "backoff_reset_minutes", "log_max_mib"):
            _check(getattr(self, name) > 0, f"{name} must be above 0")
        _check(len(self.restart_backoff_s) > 0, "restart_backoff_s needs at least one waiting time")
        _check(all(s >= 0 for s in self.restart_backoff_s), "restart_backoff_s must not hold negative waiting times")
        _check(self.max_barren_attempts >= 1, "max_barren_attempts must be at least 1")
        _check(self.log_keep >= 1, "log_keep must be at least 1")


class GuardSection(_Section, frozen=True, kw_only=True):
    """`[guard]`: signs of trouble that come before a host dies, and what to do about them."""

    mode: Literal["off", "log", "act"] = "log"
    """log: only say what would be done; act: step down one rung; off: don't look."""
    memory_pressure_percent: float = 40
    """PSI: share of the last 10 s in which some task waited for memory."""
    memory_available_percent: float = 3
    """Memory left, of the host's or its control group's."""
    memory_s: float = 30
    """Either of them for so long."""
    disk_free_mib: float = 1024
    """Free space on the disk that holds the state directory."""
    gpu_temperature_c: float = 90
    """A GPU's temperature."""
    gpu_s: float = 60
    """Too hot, or slowed down for heat or power, for so long."""
    sps_fall_percent: float = 50
    """The steps per second of the mode's trainers fall by so much from their best ..."""
    sps_fall_minutes: float = 10
    """... as medians over so long."""
    actions_per_hour: int = 3
    """After so many automatic mode changes within an hour it stops acting, and says so."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("memory_pressure_percent", "memory_available_percent", "sps_fall_percent"):
            _check(0 < getattr(self, name) <= 100, f"{name} must be above 0 and at most 100")
        for name in ("memory_s", "disk_free_mib", "gpu_s"):
            _check(getattr(self, name) >= 0, f"{name} must not be negative")
        _check(self.gpu_temperature_c > 0, "gpu_temperature_c must be above 0")
        _check(0 < self.sps_fall_minutes <= 24 * 60, "sps_fall_minutes must be above 0 and at most a day")
        _check(self.actions_per_hour >= 0, "actions_per_hour must not be negative")


class TrainerSection(_Section, frozen=True, kw_only=True):
    """`[trainer]`: the program that trains, unless a mode names its own."""

    command: tuple[str, ...] = ("rltrain", "train")
    """Program and arguments; `{game}`, `{num_envs}` ... stand for the contract's values."""
    checkpoint_interval_s: float = 90
    """At most so many seconds between two checkpoints."""
    adaptive_checkpoints: bool = False
    """Take them more often where that saves more work than it costs: down to every 5 s, by what the trainer reports."""
    env: dict[str, str] = {}
    """Further environment variables."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        _check_command(self.command)
        _check(self.checkpoint_interval_s > 0, "checkpoint_interval_s must be above 0")
        for name in self.env:
            _check("=" not in name and name != "", f"env has an impossible variable name {name!r}")


class ModeSection(_Section, frozen=True, kw_only=True):
    """`[[modes]]`: one rung of the ladder, lowest first."""

    name: str
    games: int
    """How many games train at once."""
    num_envs: int
    """Environments of each trainer."""
    batch_size: int
    """Batch of each trainer."""
    command: tuple[str, ...] | None = None
    """A command of its own for this mode."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        _check(_NAME.match(self.name) is not None, f"name {self.name!r} may hold only letters, digits, '_', '.', '-'")
        for name in ("games", "num_envs", "batch_size"):
            _check(getattr(self, name) >= 1, f"{name} must be at least 1")
        if self.command is not None:
            _check_command(self.command)


class GameSection(_Section, frozen=True, kw_only=True):
    """`[[games]]`: one game of the queue, in the order in which they take turns."""

    name: str
    target_frames: int = 40_000_000
    """Emulator frames (4 per step) after which the game is done."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        _check(self.name not in _RESERVED, f"name {self.name!r} is the name of a log of the agent itself")
        _check(_NAME.match(self.name) is not None, f"name {self.name!r} may hold only letters, digits, '_', '.', '-'")
        _check(self.target_frames >= 1, "target_frames must be at least 1")


def _check_command(command: tuple[str, ...]) -> None:
    _check(len(command) > 0 and command[0] != "", "command must name a program")
    for part in command:
        for name in contract.PLACEHOLDER.findall(part):
            _check(
                name in contract.PLACEHOLDERS,
                f"command has an unknown placeholder {{{name}}}{near(name, contract.PLACEHOLDERS)}",
            )


DEFAULT_MODES = (
    ModeSection(name="light", games=2, num_envs=32, batch_size=2048),
    ModeSection(name="medium", games=4, num_envs=64, batch_size=4096),
)
DEFAULT_GAMES = tuple(
    GameSection(name=name)
    for name in (
        "MsPacman",
        "Pong",
        "Breakout",
        "SpaceInvaders",
        "Qbert",
        "Seaquest",
        "BeamRider",
        "Enduro",
        "Asteroids",
        "Freeway",
    )
)


class Config(_Section, frozen=True, kw_only=True):
    """The whole file."""

    agent: AgentSection = AgentSection()
    policy: PolicySection = PolicySection()
    supervisor: SupervisorSection = SupervisorSection()
    guard: GuardSection = GuardSection()
    trainer: TrainerSection = TrainerSection()
    modes: tuple[ModeSection, ...] = DEFAULT_MODES
    games: tuple[GameSection, ...] = DEFAULT_GAMES

    def __post_init__(self) -> None:
        """Refuse what no single section can see."""
        for what, names in (("modes", [m.name for m in self.modes]), ("games", [g.name for g in self.games])):
            _check(len(names) > 0, f"{what} must not be empty")
            for name in names:
                _check(names.count(name) == 1, f"{what} has {name!r} twice")

    @property
    def state_dir(self) -> Path:
        """The state directory as an absolute path. Raises RuntimeError for a home directory that does not exist."""
        return Path(self.agent.state_dir).expanduser().absolute()

    def mode(self, name: str) -> ModeSection:
        """Return the mode of this name; raises KeyError for an unknown one."""
        for mode in self.modes:
            if mode.name == name:
                return mode
        raise KeyError(name)
