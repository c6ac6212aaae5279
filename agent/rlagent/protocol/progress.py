"""The progress file: a trainer's heartbeat, one small JSON object replaced every few seconds.

A trainer writes a temporary file beside it and renames it over. Only `global_step` is required; what is missing is
shown as n/a. Unknown keys are ignored, so that a foreign trainer may add its own.
"""

from __future__ import annotations

import msgspec

FRAMESKIP_DEFAULT = 4
"""Emulator frames for each step when a report does not say."""


class CheckpointReport(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checkpoint that is safely on disk."""

    global_step: int
    """The step count it would resume from."""
    saved_at: float
    """When it was committed, in seconds since the epoch."""
    cost_s: float | None = None
    """How long training stood still for it, seconds; with it the agent can tell how often to take one."""
    path: str | None = None
    """Where it lies, for people."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One report of a trainer."""

    global_step: int
    """Environment steps since the game's first start, over all environments; decreases only by work lost to a crash."""
    frameskip: int = FRAMESKIP_DEFAULT
    """Emulator frames in one step."""
    phase: str = "training"
    """For people: starting, training, checkpointing, stopping, done."""
    finished: bool | None = None
    """True: the target is reached. False: exit 0 does not mean done. None: not said, exit 0 decides."""
    sps: float | None = None
    """Steps per second, recently."""
    episodes: int | None = None
    """Episodes finished since the game's first start."""
    episodes_per_hour: float | None = None
    """Over the recent past."""
    best_return: float | None = None
    """Best episodic return so far (raw score)."""
    mean_return_100: float | None = None
    """Mean episodic return (raw score) of the last 100 episodes."""
    last_return: float | None = None
    """Episodic return (raw score) of the last episode."""
    checkpoint: CheckpointReport | None = None
    """The newest committed checkpoint; None: none yet."""
    warning: str | None = None
    """For people: what is wrong though training goes on, as a full disk; None: nothing."""

    @property
    def frames(self) -> int:
        """Emulator frames so far."""
        return self.global_step * self.frameskip


def encode(progress: Progress) -> bytes:
    """Return the file's content for a report."""
    return msgspec.json.encode(progress) + b"\n"


def decode(content: bytes) -> Progress:
    """Read a report; raises `msgspec.ValidationError` or `msgspec.DecodeError` when it isn't one."""
    return msgspec.json.decode(content, type=Progress)
