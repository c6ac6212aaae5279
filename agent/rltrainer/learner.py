"""What learns: the network, its optimiser and its source of chance, on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rltrainer.args import Args
from rltrainer.errors import ConfigurationError, DeviceLostError
from rltrainer.network import ActorCritic


@dataclass(frozen=True)
class Learner:
    """All that learning changes."""

    model: ActorCritic
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator
    """Shuffles minibatches; actions are drawn from torch's global generators."""
    device: torch.device

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use a learning rate from the next gradient on."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate


def build(args: Args, num_actions: int) -> Learner:
    """Return a learner that knows nothing yet, seeded.

    Raises:
        ConfigurationError: this build of torch knows no CUDA, and it was asked for.
        DeviceLostError: it does, but there is no GPU at the moment.
    """
    device = pick_device(args.device)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = ActorCritic(num_actions, bf16=args.bf16).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.learning_rate, eps=1e-5)
    return Learner(model, optimizer, np.random.default_rng(args.seed), device)


def pick_device(wanted: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` means here."""
    if wanted == "cpu" or torch.cuda.is_available():
        return torch.device("cpu" if wanted == "cpu" else "cuda")
    if wanted == "auto":
        return torch.device("cpu")
    if torch.version.cuda is None:
        raise ConfigurationError("--device cuda: this torch is built for CPUs only; install a CUDA build, or use auto")
    raise DeviceLostError("--device cuda: torch sees no GPU; does nvidia-smi?")
