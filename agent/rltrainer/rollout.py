"""Playing: fill a rollout with the actor's steps, and estimate its advantages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rltrainer.args import Args
from rltrainer.atari.rules import OBS_SHAPE
from rltrainer.envs import Episode, GameEnvs

Act = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Frames and noise to actions, log-probabilities and values."""
Fetch = Callable[[Tensor], Tensor]
"""A tensor to itself on the CPU, once it is computed; valid until the next one of the same shape."""


class Rollout:
    """`num_steps` steps of `num_envs` environments; each tensor is [num_steps, num_envs, ...].

    Rewards and ends of episodes stay on the CPU; only the advantages made of them go to the device.
    """

    def __init__(self, args: Args, device: torch.device) -> None:
        shape = (args.num_steps, args.num_envs)
        self.obs = torch.zeros((*shape, *OBS_SHAPE), dtype=torch.uint8, device=device)
        self.actions = torch.zeros(shape, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.rewards = torch.zeros(shape)
        self.dones = torch.zeros(shape)
        """1 where the episode ended with this step."""
        self.next_value = torch.zeros(args.num_envs, device=device)
        """Of what follows the last step."""
        self.filled = 0
        """Steps that have been played; the next to play."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what has been played, by name."""
        names = ("obs", "actions", "log_probs", "values", "rewards", "dones")
        return {name: getattr(self, name)[: self.filled] for name in names} | {"next_value": self.next_value}

    def fill(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` returned."""
        self.filled = len(tensors["obs"])
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


class Player:
    """Plays rollouts: while one group of environments emulates, the actor decides for the next.

    Args:
        act: the actor.
        fetch: brings its actions to the games.
        envs: at rest between two calls of `play`.
        after_step: gets the games that ended in each step, and says whether to go on.
    """

    def __init__(self, act: Act, fetch: Fetch, envs: GameEnvs, after_step: Callable[[list[Episode]], bool]) -> None:
        self._act = act
        self._fetch = fetch
        self._envs = envs
        self._after_step = after_step
        self._episodes: list[Episode] = []

    @torch.no_grad()
    def play(self, rollout: Rollout, noise: Tensor) -> bool:
        """Fill a rollout from where it is, with Gumbel noise [num_steps, num_envs, actions].

        Returns:
            Whether to go on; then the rollout is full.
        """
        *earlier, latest = range(len(self._envs.groups))
        end = len(rollout.obs)
        go_on = True
        if rollout.filled < end:
            for group in (*earlier, latest):
                self._decide(rollout, noise, rollout.filled, group)
        while rollout.filled < end:
            t = rollout.filled
            ahead = go_on and t + 1 < end
            for group in earlier:
                self._receive(rollout, t, group)
                if ahead:
                    self._decide(rollout, noise, t + 1, group)
            self._receive(rollout, t, latest)
            rollout.filled += 1
            go_on = self._after_step(self._episodes) and go_on
            self._episodes = []
            under_way = ahead and bool(earlier)
            if not (go_on or under_way):
                break
            if t + 1 < end:
                self._decide(rollout, noise, t + 1, latest)
        return go_on

    @torch.no_grad()
    def look_ahead(self, rollout: Rollout, noise: Tensor) -> None:
        """Estimate the value of what follows a full rollout."""
        for part in self._envs.groups:
            obs = torch.from_numpy(self._envs.obs[part]).to(rollout.obs.device, non_blocking=True)
            rollout.next_value[part] = self._act(obs, noise[0, part])[2]

    def _decide(self, rollout: Rollout, noise: Tensor, t: int, group: int) -> None:
        part = self._envs.groups[group]
        # The games don't touch these frames before they get the actions that were decided from them.
        rollout.obs[t, part].copy_(torch.from_numpy(self._envs.obs[part]), non_blocking=True)
        actions, log_probs, values = self._act(rollout.obs[t, part], noise[t, part])
        rollout.actions[t, part] = actions
        rollout.log_probs[t, part] = log_probs
        rollout.values[t, part] = values
        self._envs.send(group, self._fetch(actions).numpy())

    def _receive(self, rollout: Rollout, t: int, group: int) -> None:
        part, step = self._envs.groups[group], self._envs.receive(group)
        rollout.rewards[t, part] = torch.from_numpy(step.rewards)
        rollout.dones[t, part] = torch.from_numpy(step.dones)
        self._episodes.extend(step.episodes)


def generalised_advantages(rollout: Rollout, gamma: float, gae_lambda: float, fetch: Fetch = Tensor.cpu) -> Tensor:
    """Return the advantages [num_steps, num_envs] (Schulman et al. 2016, GAE), on the CPU.

    In numpy: of a hundred operations on a few numbers each, their launch is what costs.
    """
    rewards, goes_on = rollout.rewards.numpy(), 1.0 - rollout.dones.numpy()
    values, next_value = fetch(rollout.values).numpy(), fetch(rollout.next_value).numpy()
    advantages, running = np.zeros_like(rewards), np.zeros_like(next_value)
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_value * goes_on[t] - values[t]
        running = delta + gamma * gae_lambda * goes_on[t] * running
        advantages[t], next_value = running, values[t]
    return torch.from_numpy(advantages)
