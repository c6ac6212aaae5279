"""Vectors of games from other projects, under one protocol: the usual preprocessing, no sticky actions."""

from __future__ import annotations

import re
import sys
import types

from contenders import packages

NUM_ENVS = 32


def ale(game: str, threads: int, seed: int = 1):
    """ale_py's native vector environment."""
    from ale_py import AtariVectorEnv  # noqa: PLC0415  # what is not measured is not loaded
    from gymnasium.vector import AutoresetMode  # noqa: PLC0415

    return AtariVectorEnv(
        snake_case(game), num_envs=NUM_ENVS, num_threads=threads, episodic_life=True,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip


def envpool(game: str, threads: int, seed: int = 1):
    """EnvPool's vector environment, through its gymnasium interface."""
    packages.provide(packages.ENVPOOL)
    # Its entry point registers every kind of environment, and fails where the assets of one are missing.
    sys.modules["envpool.entry"] = types.ModuleType("envpool.entry")
    import envpool.atari.registration  # noqa: PLC0415

    return envpool.make_gymnasium(
        f"{game}-v5", num_envs=NUM_ENVS, num_threads=threads, seed=seed, noop_max=30, episodic_life=True,
        reward_clip=True, repeat_action_probability=0.0, use_fire_reset=True,
    )  # fmt: skip


def snake_case(game: str) -> str:
    """`MsPacman` -> `ms_pacman`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", game).lower()
