"""PPO as CleanRL's ppo_atari describes it, plainly written: float32, frames as floats, one learner step after another.

Written from the published description (Huang et al., "The 37 implementation details of PPO", 2022), to stand for what
people run; no tricks of ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

STEPS, EPOCHS, MINIBATCHES = 16, 4, 4
GAMMA, LAMBDA, CLIP, ENTROPY, VALUE, NORM = 0.99, 0.95, 0.1, 0.01, 0.5, 0.5


def layer(module: nn.Module, gain: float = 2**0.5) -> nn.Module:
    nn.init.orthogonal_(module.weight, gain)
    nn.init.zeros_(module.bias)
    return module


class Network(nn.Module):
    def __init__(self, actions: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            layer(nn.Conv2d(4, 32, 8, stride=4)), nn.ReLU(), layer(nn.Conv2d(32, 64, 4, stride=2)), nn.ReLU(),
            layer(nn.Conv2d(64, 64, 3)), nn.ReLU(), nn.Flatten(), layer(nn.Linear(3136, 512)), nn.ReLU(),
        )  # fmt: skip
        self.actor, self.critic = layer(nn.Linear(512, actions), 0.01), layer(nn.Linear(512, 1), 1.0)

    def forward(self, obs):
        hidden = self.body(obs / 255.0)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)


def train(envs, actions: int, say: Callable[[int], None]) -> None:
    """Train for ever; `say` gets the steps so far after each iteration."""
    network = Network(actions)
    optimizer = torch.optim.Adam(network.parameters(), lr=2.5e-4, eps=1e-5)
    frames = torch.tensor(np.asarray(envs.reset()[0]), dtype=torch.float32)
    count = len(frames)
    obs = torch.zeros((STEPS, *frames.shape))
    chosen, log_probs, rewards, ended, values = (torch.zeros((STEPS, count)) for _ in range(5))
    total = 0
    while True:
        for t in range(STEPS):
            obs[t] = frames
            with torch.no_grad():
                policy, values[t] = network(frames)
                action = policy.sample()
                chosen[t], log_probs[t] = action, policy.log_prob(action)
            seen, reward, over, cut, _ = envs.step(action.numpy())
            frames = torch.tensor(np.asarray(seen), dtype=torch.float32)
            rewards[t], ended[t] = torch.tensor(np.sign(reward)), torch.tensor(np.logical_or(over, cut))
        with torch.no_grad():
            advantages = estimate(rewards, ended, values, network(frames)[1])
        flat = [each.flatten(0, 1) for each in (obs, chosen, log_probs, advantages, advantages + values, values)]
        learn(network, optimizer, flat)
        total += STEPS * count
        say(total)


def estimate(rewards, ended, values, following):
    advantages, running = torch.zeros_like(rewards), torch.zeros_like(following)
    for t in reversed(range(STEPS)):
        after = following if t == STEPS - 1 else values[t + 1]
        delta = rewards[t] + GAMMA * after * (1 - ended[t]) - values[t]
        running = delta + GAMMA * LAMBDA * (1 - ended[t]) * running
        advantages[t] = running
    return advantages


def learn(network, optimizer, flat) -> None:
    size = len(flat[0])
    for _ in range(EPOCHS):
        for index in np.array_split(np.random.default_rng().permutation(size), MINIBATCHES):
            obs, chosen, old, advantages, returns, values = (each[index] for each in flat)
            policy, value = network(obs)
            ratio = (policy.log_prob(chosen) - old).exp()
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            surrogate = torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
            near = values + (value - values).clamp(-CLIP, CLIP)
            error = 0.5 * torch.max((value - returns) ** 2, (near - returns) ** 2).mean()
            loss = surrogate - ENTROPY * policy.entropy().mean() + VALUE * error
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), NORM)
            optimizer.step()
