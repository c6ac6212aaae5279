"""What the trainer and its workers must agree on of a game: how it is played, what it looks like, what its state is.

Without ale_py: a trainer needs no emulator in its own process.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rltrainer.atari.resize import SIDE

STACK: Final = 4
OBS_SHAPE: Final = (SIDE, SIDE, STACK)
"""Stacked frames are the channels of one picture, oldest first, and lie side by side for each pixel."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How games are played."""

    rom: str
    """ale_py's name, as ms_pacman."""
    noop_max: int
    """Each game begins with up to so many idle frames."""
    repeat_action_probability: float
    """Sticky actions, per frame."""
    full_action_space: bool
    """All 18 actions, also those that do nothing in this game."""


class GameState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """All there is to know of a game but its stacked frames."""

    emulator: bytes
    """ALE's serialised state with its random number generator."""
    rng: bytes
    """Of idle frames and stickiness: the words of a Mersenne twister."""
    held: int
    """The action that a sticky frame repeats."""
