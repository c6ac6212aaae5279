"""What the supervisor is asked and what it answers, and the records in a run directory. Values only."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from rlagent.protocol.contract import env_name
from rlagent.shim import MEMORY_RECORD
from rlagent.supervisor.exits import ExitRecord

MARKER = "RLFLEET_ATTEMPT_ID"
"""In the environment of a trainer and of everything it starts."""
SHIM_MARKER = "RLFLEET_SHIM_OF"
"""In the environment of a shim."""
RUN_DIR = env_name("run_dir")
"""In both: the game's folder, which stays the same when the host's identity is lost with its journal."""
_MEMORY_FILE = f"memfd:{MEMORY_RECORD}"

Record = TypeVar("Record", bound=msgspec.Struct)


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one attempt of a game."""

    game: str
    attempt: int
    run_dir: Path
    log_path: Path
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt is alive; the trainer's pid is None until its shim has told it."""

    trainer_pid: int | None
    adopted: bool


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Something of this game is still on its way in or out: ask again."""

    why: str


class Exited(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt is over; without a record nobody knows how."""

    record: ExitRecord | None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A living attempt's processes."""

    attempt: int
    shim_pid: int
    trainer_pid: int | None


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the shim wrote in attempt.json; pids mean something only within that boot."""

    attempt_id: str
    boot: str
    shim_pid: int
    shim_ticks: int
    trainer_pid: int
    trainer_ticks: int


class StopRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What stop.json tells the next agent of a stop: SIGTERM was sent, and when patience ends."""

    attempt_id: str
    boot: str
    kill_at: float
    """Monotonic seconds, which all processes of one boot share."""


def read(path: Path, kind: type[Record]) -> Record | None:
    """Read a record; None when there is none or it isn't one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def read_from_memory(shim_pid: int) -> ExitRecord | None:
    """Read the exit that a shim holds in memory while the disk refuses it; None when it holds none."""
    folder = Path("/proc") / str(shim_pid) / "fd"
    try:
        for link in folder.iterdir():
            if link.readlink().name.startswith(f"{_MEMORY_FILE} "):
                return read(link, ExitRecord)
    except OSError:
        pass  # it has just ended: exit.json is there by now
    return None
