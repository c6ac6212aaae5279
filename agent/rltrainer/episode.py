"""Whole games played by a trained actor, each determined by the seed and its number: played again, it is the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from rltrainer import snapshot
from rltrainer.atari.game import Game, quiet_emulator
from rltrainer.atari.rules import OBS_SHAPE, Rules
from rltrainer.cli import Evaluate
from rltrainer.errors import ConfigurationError


class Player:
    """An actor and how it is to play.

    Args:
        payload: the learner's part of a checkpoint.
        rom: the game.
        wanted: seed, greedy or sampling, protocol.

    Raises:
        ConfigurationError: the actor is not one for this game.
    """

    def __init__(self, payload: bytes, rom: str, wanted: Evaluate) -> None:
        torch.set_num_threads(1)
        quiet_emulator()
        self._wanted = wanted
        self._actor = snapshot.actor(payload)
        self._obs = np.zeros((1, *OBS_SHAPE), np.uint8)
        self._num_actions = self._actor.get_parameter("actor.bias").shape[0]
        self._rules = self._rules_of(rom)
        self._game = self._begin(0)

    def play(self, number: int, watch: Callable[[int, int], None]) -> tuple[int, int]:
        """Play one whole game.

        Args:
            number: of the episode.
            watch: is told score and steps so far, after each step but the last.

        Returns:
            The raw score and the steps it took.
        """
        self._game = self._begin(number)
        self._game.reset()
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._wanted.seed, number, 1])))
        score = steps = 0
        while True:
            points, over = self._game.step(self._decide(rng))
            score, steps = score + points, steps + 1
            if over:
                return score, steps
            watch(score, steps)

    def screen(self) -> NDArray[np.uint8]:
        """Return what can be seen now, [height, width, 3]."""
        return self._game.screen()

    @torch.no_grad()
    def _decide(self, rng: np.random.Generator) -> int:
        noise = np.zeros(self._num_actions) if self._wanted.greedy else rng.gumbel(size=self._num_actions)
        log_probs, _ = self._actor(torch.from_numpy(self._obs))
        return int(np.argmax(log_probs[0].numpy() + noise))

    def _begin(self, number: int) -> Game:
        seed = np.random.SeedSequence([self._wanted.seed, number]).generate_state(1, np.uint64)
        return Game(self._rules, int(seed[0]), self._obs[0])

    def _rules_of(self, rom: str) -> Rules:
        """Return the rules under which the game has as many actions as the actor knows."""
        for full in (False, True):
            rules = Rules(
                rom=rom,
                noop_max=self._wanted.noop_max,
                repeat_action_probability=self._wanted.repeat_action_probability,
                full_action_space=full,
            )
            if Game(rules, 0, self._obs[0]).num_actions == self._num_actions:
                return rules
        raise ConfigurationError(f"the checkpoint's actor knows {self._num_actions} actions, which {rom} doesn't have")
