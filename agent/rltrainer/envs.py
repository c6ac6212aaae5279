"""The games as the learner sees them, and whole games counted.

The learner sees the sign of rewards, and a lost life ends the episode; what is reported is the raw score of the whole
game. Both are made here from raw scores and the number of lives. After a lost life the game goes on as it is: nobody
presses FIRE for the actor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from rltrainer.args import Args
from rltrainer.atari.pool import Pool
from rltrainer.atari.resize import SIDE
from rltrainer.atari.rules import STACK, GameState, Rules


class Episode(NamedTuple):
    """A whole game that has just ended."""

    episodic_return: float
    """Raw score."""
    length: int
    """In steps."""


class Step(NamedTuple):
    """What one step of some environments brought."""

    rewards: NDArray[np.float32]
    """For learning: [environments]."""
    dones: NDArray[np.bool_]
    """For learning: the episode ended with this step, and `obs` already shows the next one."""
    episodes: list[Episode]
    """Whole games that ended with this step."""


class EnvsState(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to know of the games at rest; lists have one entry for each environment."""

    games: list[GameState]
    frames: list[bytes]
    """Frames one after another, [4, 84, 84] uint8."""
    returns: list[int]
    """Raw score of the game so far."""
    lengths: list[int]
    """Steps of the game so far."""


class GameEnvs:
    """Games side by side; `obs` is what the actor sees next, [num_envs, 84, 84, 4] uint8, overwritten by each step.

    Args:
        rom: ale_py's name of the game.
        args: how many, and how they are played.
        start: a number of this start; games that begin with another number begin differently.
        num_groups: groups of environments that can be stepped while others are at rest.
    """

    def __init__(self, rom: str, args: Args, *, start: int = 0, num_groups: int = 1) -> None:
        self._clip_rewards = args.clip_rewards
        self._episodic_life = args.episodic_life
        rules = Rules(
            rom=rom,
            noop_max=args.noop_max,
            repeat_action_probability=args.repeat_action_probability,
            full_action_space=args.full_action_space,
        )
        seed = int(np.random.SeedSequence([args.seed, start]).generate_state(1, np.uint64)[0])
        self._pool = Pool(rules, seed=seed, num_envs=args.num_envs, num_workers=args.threads, num_groups=num_groups)
        self.groups = [slice(group.start, group.stop) for group in self._pool.groups]
        """Adjacent environments that are stepped together."""
        self.obs = self._pool.arrays.obs
        self._lives = np.zeros(args.num_envs, np.int32)
        self._returns = np.zeros(args.num_envs, np.int64)
        self._lengths = np.zeros(args.num_envs, np.int64)

    @property
    def num_actions(self) -> int:
        """How many actions a step can choose from; waits for the games to be made."""
        return self._pool.num_actions

    @property
    def worker_pids(self) -> list[int]:
        """The processes that play."""
        return self._pool.pids

    def reset(self) -> None:
        """Begin a new game in every environment."""
        self._reset(range(len(self.obs)))

    def send(self, group: int, actions: NDArray[np.int64]) -> None:
        """Let a group play one action in each of its environments; `receive` brings what came of it."""
        self._pool.arrays.actions[self.groups[group]] = actions
        self._pool.send(group)

    def receive(self, group: int) -> Step:
        """Wait for a group's step; a game that ended has been begun anew."""
        self._pool.receive(group)
        part, arrays = self.groups[group], self._pool.arrays
        scores, over, lives = arrays.scores[part], arrays.over[part].copy(), arrays.lives[part]
        life_lost = (lives < self._lives[part]) & (lives > 0) & ~over
        self._lives[part] = lives
        return Step(
            rewards=(np.sign(scores) if self._clip_rewards else scores).astype(np.float32),
            dones=over | life_lost if self._episodic_life else over,
            episodes=self._count(part, scores, over),
        )

    def step(self, actions: NDArray[np.int64]) -> Step:
        """Play one action [num_envs] in each environment."""
        for group, part in enumerate(self.groups):
            self.send(group, actions[part])
        steps = [self.receive(group) for group in range(len(self.groups))]
        return Step(
            rewards=np.concatenate([step.rewards for step in steps]),
            dones=np.concatenate([step.dones for step in steps]),
            episodes=[episode for step in steps for episode in step.episodes],
        )

    def save(self) -> EnvsState:
        """Return the games' state; every group must be at rest."""
        return EnvsState(
            games=self._pool.save(),
            frames=[np.moveaxis(stack, -1, 0).tobytes() for stack in self.obs],
            returns=self._returns.tolist(),
            lengths=self._lengths.tolist(),
        )

    def restore(self, state: EnvsState) -> int:
        """Go on from a state; environments that it doesn't know begin a new game, games beyond `num_envs` are lost.

        Returns:
            How many games go on.
        """
        count = min(len(self.obs), len(state.games))
        self._pool.restore(dict(enumerate(state.games[:count])))
        for env in range(count):
            frames = np.frombuffer(state.frames[env], np.uint8)
            self.obs[env] = np.moveaxis(frames.reshape(STACK, SIDE, SIDE), 0, -1)
        self._lives[:count] = self._pool.arrays.lives[:count]
        self._returns[:count] = state.returns[:count]
        self._lengths[:count] = state.lengths[:count]
        self._reset(range(count, len(self.obs)))
        return count

    def close(self) -> None:
        """End the workers; nothing may be called afterwards."""
        self._pool.close()

    def _reset(self, envs: Sequence[int]) -> None:
        self._pool.reset(envs)
        for env in envs:
            self._lives[env] = self._pool.arrays.lives[env]
            self._returns[env] = self._lengths[env] = 0

    def _count(self, part: slice, scores: NDArray[np.int32], over: NDArray[np.bool_]) -> list[Episode]:
        self._returns[part] += scores
        self._lengths[part] += 1
        ended = part.start + np.flatnonzero(over)
        episodes = [Episode(float(self._returns[env]), int(self._lengths[env])) for env in ended]
        self._returns[ended] = 0
        self._lengths[ended] = 0
        return episodes
