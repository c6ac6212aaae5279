"""The trainer contract: what a supervised program is told, and what its exit means.

Any program can be a trainer. The agent starts it with these environment variables (each is also a placeholder in the
configured command line, in lower case without the prefix: `{game}`, `{num_envs}` ...). It reports by replacing the
progress file (`rlagent.protocol.progress`). SIGTERM means: write a checkpoint, then exit 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

ENV_PREFIX: Final = "RLFLEET_"
"""Each variable of the contract starts with this."""

PLACEHOLDERS: Final = (
    "game",
    "mode",
    "num_envs",
    "batch_size",
    "run_dir",
    "progress_file",
    "target_frames",
    "checkpoint_interval_s",
    "threads",
    "attempt",
)
"""Names usable as `{name}` in a command and passed as `RLFLEET_NAME`.

game: its name as configured (`MsPacman`). mode: the ladder's current mode. num_envs, batch_size: per trainer.
run_dir: a folder that belongs to this game on this host and outlives every attempt; checkpoints go here.
progress_file: the path to replace with each report. target_frames: emulator frames (4 per step at frameskip 4) after
which the game is done. checkpoint_interval_s: at most this many seconds between two checkpoints. threads: CPU threads
this trainer may keep busy. attempt: counts starts of this game on this host, from 1.
"""

PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
"""A placeholder in a command's argument; other braces stay as they are."""

EXIT_WRONG_CONFIGURATION: Final = frozenset({2, 78})
"""My configuration is wrong, don't retry: 2 (what argparse and most tools exit with on bad usage) or 78 (EX_CONFIG)."""


def env_name(placeholder: str) -> str:
    """Return the environment variable for a placeholder: `game` -> `RLFLEET_GAME`."""
    return ENV_PREFIX + placeholder.upper()


def expand(command: Sequence[str], values: Mapping[str, object]) -> tuple[str, ...]:
    """Return a command with its placeholders replaced; raises KeyError for an unknown one."""
    return tuple(PLACEHOLDER.sub(lambda match: str(values[match.group(1)]), part) for part in command)


def environment(values: Mapping[str, object]) -> dict[str, str]:
    """Return the contract's environment variables for these placeholder values."""
    return {env_name(name): str(values[name]) for name in PLACEHOLDERS}
