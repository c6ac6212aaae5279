"""One Atari game in an emulator, with the standard preprocessing, whose whole state can be saved and restored.

Frameskip 4, maximum of the last two frames, 84x84 grey, 4 frames stacked, up to `noop_max` idle frames and FIRE at each
start (Mnih et al. 2015, Machado et al. 2018). Lives and raw scores are reported; what they mean is the caller's matter.

Three facts about ale_py 0.12 decide how state is kept. Its own sticky actions are not in the emulator's state, so
stickiness is done here, frame by frame, by this game's own generator. A restored state is only complete on an emulator
that has played one frame since its reset (else QBert and Tetris differ). The screen is not in the state: the caller
keeps the stacked frames.
"""

from __future__ import annotations

import random
from typing import Final

import ale_py.roms
import numpy as np
from ale_py import Action, ALEInterface, ALEState, LoggerMode
from numpy.typing import NDArray

from rltrainer.args import FRAMESKIP
from rltrainer.atari.resize import SIDE, AreaResize
from rltrainer.atari.rules import STACK, GameState, Rules

_PIXEL: Final = np.dtype("<u4")
"""A pixel's four frames as one number; the newest is its highest byte."""
FRAMES_MAX: Final = 108_000
"""Half an hour of play: a game that goes on for longer is ended, as in every published protocol."""


class Game:
    """One game; `stack` is the caller's memory for its frames, [84, 84, 4] uint8, newest last.

    Raises:
        RuntimeError: ale_py doesn't have the ROM or can't load it.
    """

    def __init__(self, rules: Rules, seed: int, stack: NDArray[np.uint8]) -> None:
        ale = ALEInterface()
        ale.setInt("random_seed", seed & 0x7FFFFFFF)
        ale.setFloat("repeat_action_probability", 0.0)
        ale.setInt("max_num_frames_per_episode", FRAMES_MAX)
        path = ale_py.roms.get_rom_path(rules.rom)
        if path is None:
            raise RuntimeError(f"ale_py has no ROM {rules.rom}")
        ale.loadROM(path)
        self._ale = ale
        self._rules = rules
        self._rng = random.Random(seed)  # noqa: S311 - chance in a game, and its state can be saved
        self._held: Action = Action.NOOP
        self._actions: list[Action] = actions(ale, full=rules.full_action_space)
        self._fires = Action.FIRE in ale.getMinimalActionSet()
        self._pixels = stack.view(_PIXEL)[..., 0]
        self._newest = np.empty((SIDE, SIDE), _PIXEL)
        shape = ale.getScreenDims()
        self._frames = np.empty((2, *shape), np.uint8)
        self._resize = AreaResize(*shape)

    @property
    def num_actions(self) -> int:
        """How many actions a step can choose from."""
        return len(self._actions)

    @property
    def lives(self) -> int:
        """Lives left; 0 in games without lives."""
        return int(self._ale.lives())

    def reset(self) -> None:
        """Begin a new game."""
        self._held = Action.NOOP
        self._ale.reset_game()
        idle = self._rng.randint(0, self._rules.noop_max)
        for action in [Action.NOOP] * idle + [Action.FIRE] * self._fires:
            self._frame(action)
            if self._ale.game_over():
                self._ale.reset_game()
        self._ale.getScreenGrayscale(self._frames[0])
        self._pixels[:] = 0
        self._push(self._frames[0])

    def step(self, action: int) -> tuple[int, bool]:
        """Play one action for four frames; a game that ends is begun anew at once.

        Returns:
            The raw score and whether the game ended.
        """
        ale, chosen = self._ale, self._actions[action]
        score = 0
        for frame in range(FRAMESKIP):
            score += self._frame(chosen)
            if ale.game_over():
                self.reset()
                return score, True
            if frame == FRAMESKIP - 2:
                ale.getScreenGrayscale(self._frames[0])
        ale.getScreenGrayscale(self._frames[1])
        np.maximum(self._frames[0], self._frames[1], out=self._frames[1])
        self._push(self._frames[1])
        return score, False

    def screen(self) -> NDArray[np.uint8]:
        """Return the last frame in colour, [height, width, 3], for people."""
        shown: NDArray[np.uint8] = self._ale.getScreenRGB()
        return shown

    def save(self) -> GameState:
        """Return the state, without the stacked frames."""
        _, words, _ = self._rng.getstate()
        return GameState(
            emulator=self._ale.cloneState(include_rng=True).serialize(),
            rng=np.array(words, np.uint32).tobytes(),
            held=self._held.value,
        )

    def restore(self, state: GameState) -> None:
        """Go on from a state; the stacked frames are the caller's to restore."""
        self._ale.reset_game()
        self._ale.act(Action.NOOP)
        self._ale.restoreState(ALEState(state.emulator))
        words = np.frombuffer(state.rng, np.uint32).tolist()
        self._rng.setstate((random.Random.VERSION, tuple(words), None))
        self._held = Action(state.held)

    def _push(self, screen: NDArray[np.uint8]) -> None:
        """Stack a screen: each pixel's oldest byte falls out, and the newest comes in at the other end."""
        self._resize.to(self._newest, screen)
        np.left_shift(self._newest, 8 * (STACK - 1), out=self._newest)
        np.right_shift(self._pixels, 8, out=self._pixels)
        np.bitwise_or(self._pixels, self._newest, out=self._pixels)

    def _frame(self, action: Action) -> int:
        sticky = self._rules.repeat_action_probability
        if not sticky or self._rng.random() >= sticky:
            self._held = action
        return int(self._ale.act(self._held))


def actions(ale: ALEInterface, *, full: bool) -> list[Action]:
    """Return the actions of the game that an emulator has loaded."""
    return list(ale.getLegalActionSet() if full else ale.getMinimalActionSet())


def quiet_emulator() -> None:
    """Keep ALE's banner and messages out of the trainer's log."""
    ALEInterface.setLoggerMode(LoggerMode.Error)
