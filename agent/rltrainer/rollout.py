"""Playing: fill a rollout with the actor's steps, and estimate its advantages."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rltrainer.args import Args
from rltrainer.envs import OBS_SHAPE, Episode, GameEnvs
from rltrainer.network import ActorCritic


class Rollout:
    """`num_steps` steps of `num_envs` environments; each tensor is [num_steps, num_envs, ...]."""

    def __init__(self, args: Args, device: torch.device) -> None:
        shape = (args.num_steps, args.num_envs)
        self.obs = torch.zeros((*shape, *OBS_SHAPE), dtype=torch.uint8, device=device)
        self.actions = torch.zeros(shape, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        self.values = torch.zeros(shape, device=device)
        self.rewards = torch.zeros(shape, device=device)
        self.dones = torch.zeros(shape, device=device)
        """1 where the episode ended with this step."""
        self.next_value = torch.zeros(args.num_envs, device=device)
        """Of what follows the last step."""


@torch.no_grad()
def play(rollout: Rollout, model: ActorCritic, envs: GameEnvs, after_step: Callable[[list[Episode]], bool]) -> bool:
    """Fill a rollout; `after_step` gets the games that ended in each step and says whether to go on.

    Returns:
        Whether the rollout is full.
    """
    device = rollout.obs.device
    for t in range(len(rollout.obs)):
        rollout.obs[t] = torch.from_numpy(envs.obs)
        actions, rollout.log_probs[t], rollout.values[t] = model.act(rollout.obs[t])
        rollout.actions[t] = actions
        step = envs.step(actions.cpu().numpy())
        rollout.rewards[t] = torch.from_numpy(step.rewards)
        rollout.dones[t] = torch.from_numpy(step.dones)
        if not after_step(step.episodes):
            return False
    rollout.next_value = model(torch.from_numpy(envs.obs).to(device))[1]
    return True


def generalised_advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> Tensor:
    """Return the advantages [num_steps, num_envs] (Schulman et al. 2016, GAE)."""
    advantages = torch.zeros_like(rollout.rewards)
    next_value, running = rollout.next_value, torch.zeros_like(rollout.next_value)
    for t in reversed(range(len(rollout.rewards))):
        goes_on = 1.0 - rollout.dones[t]
        delta = rollout.rewards[t] + gamma * next_value * goes_on - rollout.values[t]
        running = delta + gamma * gae_lambda * goes_on * running
        advantages[t], next_value = running, rollout.values[t]
    return advantages
