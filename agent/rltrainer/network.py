"""The actor and critic: the convolutional network of the Nature DQN paper, as CleanRL uses it for PPO."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CONV_FEATURES = 64 * 7 * 7
"""What the convolutions leave of 84x84 pixels."""


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float = math.sqrt(2)) -> nn.Module:
    """Initialise a layer's weights orthogonally and its bias to zero."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ActorCritic(nn.Module):
    """Action logits and state values from stacked frames.

    Args:
        num_actions: of the game.
        bf16: compute in bfloat16; parameters and results stay float32.
    """

    def __init__(self, num_actions: int, *, bf16: bool = False) -> None:
        super().__init__()
        self._bf16 = bf16
        self.body = nn.Sequential(
            orthogonal(nn.Conv2d(4, 32, 8, stride=4)),
            nn.ReLU(),
            orthogonal(nn.Conv2d(32, 64, 4, stride=2)),
            nn.ReLU(),
            orthogonal(nn.Conv2d(64, 64, 3, stride=1)),
            nn.ReLU(),
            nn.Flatten(),
            orthogonal(nn.Linear(CONV_FEATURES, 512)),
            nn.ReLU(),
        )
        self.actor = orthogonal(nn.Linear(512, num_actions), gain=0.01)
        self.critic = orthogonal(nn.Linear(512, 1), gain=1.0)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [batch, actions] and values [batch] of frames [batch, 4, 84, 84] (uint8)."""
        with torch.autocast(obs.device.type, torch.bfloat16, enabled=self._bf16):
            hidden = self.body(obs / 255.0)
            logits, value = self.actor(hidden), self.critic(hidden)
        return torch.log_softmax(logits.float(), dim=-1), value.float().squeeze(-1)

    def act(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sample actions; return them, their log-probabilities and the values, each [batch]."""
        log_probs, values = self(obs)
        actions = torch.multinomial(log_probs.exp(), 1)
        return actions.squeeze(-1), log_probs.gather(-1, actions).squeeze(-1), values
