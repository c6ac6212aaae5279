"""Our learner without emulation: the trainer's own loop around games that stand still."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from contenders import games
from rltrainer import train as loop
from rltrainer.envs import Step
from rltrainer.rollout import Player
from trainer_runs import prepared, tiny_args


class StillGames:
    """Has the shape of real games, and shows the same frames for ever."""

    def __init__(self, envs) -> None:
        self.groups, self.obs, self.num_actions = envs.groups, envs.obs.copy(), envs.num_actions

    def send(self, group: int, actions) -> None:
        pass

    def receive(self, group: int) -> Step:
        count = self.groups[group].stop - self.groups[group].start
        return Step(rewards=np.zeros(count, np.float32), dones=np.zeros(count, np.bool_), episodes=[])


def train(folder: Path, game: str, threads: int, say: Callable[[int], None]) -> None:
    """Train for ever; `say` gets the steps so far after each iteration."""
    args = tiny_args(
        folder, game=game, num_envs=32, batch_size=512, num_minibatches=4, update_epochs=4, threads=threads,
        target_frames=4 * 10**9, device="cpu",
    )  # fmt: skip
    run = prepared(args, games.snake_case(game))
    real, run.envs = run.envs, StillGames(run.envs)
    real.close()
    player = Player(run.learner.act, run.learner.fetch, run.envs, run.after_step)
    while loop.iterate(run, player):
        say(run.tally.global_step)
