"""The actor and critic: the convolutional network of the Nature DQN paper, as CleanRL uses it for PPO."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        self.bf16 = bf16
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
        # Channels last is what the convolutions of CPUs and tensor cores compute in: a third faster here.
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [batch, actions] and values [batch] of frames [batch, 84, 84, 4] (uint8)."""
        with torch.autocast(obs.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            return _compute(_pixels(obs, bf16=self.bf16), self.weights())

    def weights(self) -> list[Tensor]:
        """Return what `forward` computes with: weight and bias of each layer."""
        first, *others = self.parameters()
        # Pixels are scaled to 0..1 by the first layer's weights: 28,224 divisions a frame fewer.
        return [first / 255.0, *others]

    def act(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sample actions by Gumbel noise [batch, actions]; return them, their log-probabilities and values, [batch]."""
        log_probs, values = self(obs)
        return _sample(log_probs, values, noise)


class RoundedActor:
    """Acts as its model in bfloat16 does, bit for bit, but rounds the parameters once and not whenever it acts."""

    def __init__(self, model: ActorCritic) -> None:
        self._model = model
        self._weights: list[Tensor] | None = None

    def forget(self) -> None:
        """Round anew: the model has changed."""
        self._weights = None

    def act(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `ActorCritic.act`."""
        if self._weights is None:
            self._weights = [each.to(torch.bfloat16) for each in self._model.weights()]
        log_probs, values = _compute(_pixels(obs, bf16=True), self._weights)
        return _sample(log_probs, values, noise)


def _pixels(obs: Tensor, *, bf16: bool) -> Tensor:
    """Return frames as the convolutions take them; in memory channels are last already, and nothing is moved."""
    return obs.permute(0, 3, 1, 2).to(torch.bfloat16 if bf16 else torch.float32)


def _compute(pixels: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    hidden = functional.relu_(functional.conv2d(pixels, weights[0], weights[1], stride=4))
    hidden = functional.relu_(functional.conv2d(hidden, weights[2], weights[3], stride=2))
    hidden = functional.relu_(functional.conv2d(hidden, weights[4], weights[5]))
    hidden = functional.relu_(functional.linear(hidden.flatten(1), weights[6], weights[7]))
    logits, value = functional.linear(hidden, *weights[8:10]), functional.linear(hidden, *weights[10:12])
    return torch.log_softmax(logits.float(), dim=-1), value.float().squeeze(-1)


def _sample(log_probs: Tensor, values: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    actions = (log_probs + noise).argmax(-1, keepdim=True)
    return actions.squeeze(-1), log_probs.gather(-1, actions).squeeze(-1), values
