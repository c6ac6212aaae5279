"""The games: ale_py's native vector environment with the standard preprocessing, and whole games counted.

What the learner sees is CleanRL's: 84x84 gray, 4 stacked frames, frameskip 4, idle start, FIRE at reset, sign of
rewards, and a lost life ends the episode. What is reported is the raw score of the whole game. ale_py's own options
don't give that: its `reward_clipping` hides the raw score and its `episodic_life` really restarts the game at each lost
life, so that only first lives would ever be seen. Both are done here instead, from raw rewards and the number of lives.
After a lost life the game goes on as it is: nobody presses FIRE for the actor.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rltrainer.args import FRAMESKIP, Args

GROUP_SIZE: Final = 16
"""Environments in one native vector. Making one holds Python's lock for 0.1 s an environment, in which neither SIGTERM
is heard nor a heartbeat written; more than one vector costs 5% of the emulation's speed."""

OBS_SHAPE: Final = (4, 84, 84)


class Episode(NamedTuple):
    """A whole game that has just ended."""

    episodic_return: float
    """Raw score."""
    length: int
    """In steps."""


class Step(NamedTuple):
    """What one step of all environments brought."""

    rewards: NDArray[np.float32]
    """For learning: [num_envs]."""
    dones: NDArray[np.bool_]
    """For learning: the episode ended with this step, and `obs` already shows the next one."""
    episodes: list[Episode]
    """Whole games that ended with this step."""


def derive_seeds(seed: int, global_step: int, num_envs: int) -> NDArray[np.int64]:
    """Return a seed for each environment of a run that (re)starts at a step."""
    words = np.random.SeedSequence([seed, global_step]).generate_state(num_envs)
    return (words >> 1).astype(np.int64)  # ale_py takes 31 bits


class GameEnvs:
    """Games side by side; `obs` is what the actor sees next, [num_envs, 4, 84, 84] uint8, overwritten by each step."""

    def __init__(self, rom: str, args: Args) -> None:
        self._clip_rewards = args.clip_rewards
        self._episodic_life = args.episodic_life
        bounds = range(0, args.num_envs, GROUP_SIZE)
        self._slices = [slice(start, min(start + GROUP_SIZE, args.num_envs)) for start in bounds]
        # With fewer threads than groups, the groups take turns: never more threads busy than allowed.
        self._side_by_side = args.threads >= len(self._slices)
        threads = args.threads // len(self._slices) if self._side_by_side else args.threads
        self._groups = [_group(rom, args, part.stop - part.start, threads) for part in self._slices]
        self.num_actions = int(self._groups[0].single_action_space.n)
        self.obs = np.zeros((args.num_envs, *OBS_SHAPE), np.uint8)
        self._lives = np.zeros(args.num_envs, np.int64)
        self._returns = np.zeros(args.num_envs, np.int64)
        self._lengths = np.zeros(args.num_envs, np.int64)

    def reset(self, seeds: NDArray[np.int64]) -> None:
        """Begin a new game in every environment."""
        for group, part in zip(self._groups, self._slices, strict=True):
            self.obs[part], info = group.reset(seed=seeds[part])
            self._lives[part] = info["lives"]
        self._returns[:] = 0
        self._lengths[:] = 0

    def step(self, actions: NDArray[np.int64]) -> Step:
        """Play one action [num_envs] in each environment; a game that ends is begun anew at once."""
        results = self._step_groups(actions)
        rewards = np.concatenate([result[1] for result in results])
        over = np.concatenate([result[2] | result[3] for result in results])
        lives = np.concatenate([result[4]["lives"] for result in results])
        for part, result in zip(self._slices, results, strict=True):
            self.obs[part] = result[0]
        life_lost = (lives < self._lives) & (lives > 0) & ~over
        self._lives[:] = lives
        return Step(
            rewards=(np.sign(rewards) if self._clip_rewards else rewards).astype(np.float32),
            dones=over | life_lost if self._episodic_life else over,
            episodes=self._count(rewards, over),
        )

    def close(self) -> None:
        """End the native threads; nothing may be called afterwards."""
        self._groups.clear()

    def _step_groups(self, actions: NDArray[np.int64]) -> list[Any]:
        pairs = list(zip(self._groups, self._slices, strict=True))
        if not self._side_by_side:
            return [group.step(actions[part]) for group, part in pairs]
        for group, part in pairs:
            group.send(actions[part])
        return [group.recv() for group, _ in pairs]

    def _count(self, rewards: NDArray[np.int32], over: NDArray[np.bool_]) -> list[Episode]:
        self._returns += rewards
        self._lengths += 1
        ended = np.flatnonzero(over)
        episodes = [Episode(float(self._returns[i]), int(self._lengths[i])) for i in ended]
        self._returns[ended] = 0
        self._lengths[ended] = 0
        return episodes


def _group(rom: str, args: Args, num_envs: int, threads: int) -> Any:  # noqa: ANN401 - ale_py has no types
    return AtariVectorEnv(
        rom,
        num_envs,
        num_threads=threads,
        autoreset_mode=AutoresetMode.SAME_STEP,
        frameskip=FRAMESKIP,
        noop_max=args.noop_max,
        repeat_action_probability=args.repeat_action_probability,
        reward_clipping=False,
        episodic_life=False,
        life_loss_info=False,
        use_fire_reset=True,
    )
