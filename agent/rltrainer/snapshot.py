"""The learner's state as bytes: parameters, optimiser and random number generators.

Counters and scores are not in here: they are the checkpoint header's, readable without torch. Loading runs no code from
the file (`weights_only`).
"""

from __future__ import annotations

import io
from typing import Any

import torch

from rltrainer.errors import ConfigurationError
from rltrainer.learner import Learner


def pack(learner: Learner) -> bytes:
    """Return a learner's state and that of torch's generators."""
    buffer = io.BytesIO()
    state = {
        "model": learner.model.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "rng_numpy": learner.rng.bit_generator.state,
        "rng_torch": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state(learner.device) if learner.device.type == "cuda" else None,
    }
    torch.save(state, buffer)
    return buffer.getvalue()


def unpack(payload: bytes, learner: Learner) -> None:
    """Put a learner and torch's generators into a saved state, on whatever device the learner is now.

    Raises:
        ConfigurationError: the state is another network's.
    """
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    try:
        learner.model.load_state_dict(state["model"])
        learner.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigurationError(f"the checkpoint is whole, but of another network: {error}") from error
    learner.rng.bit_generator.state = state["rng_numpy"]
    torch.set_rng_state(state["rng_torch"])
    if state["rng_cuda"] is not None and learner.device.type == "cuda":
        torch.cuda.set_rng_state(state["rng_cuda"], learner.device)
