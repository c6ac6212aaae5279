"""The learner's part of a checkpoint as bytes: parameters, optimiser, and the iteration that a stop has interrupted.

Counters and scores are in the checkpoint's header and the games in a section of their own, readable without torch.
There is no generator to save (`rltrainer.chance`). Loading runs no code from the file (`weights_only`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rltrainer.args import Args
from rltrainer.atari.rules import OBS_SHAPE
from rltrainer.errors import ConfigurationError
from rltrainer.learner import Learner
from rltrainer.network import ActorCritic
from rltrainer.rollout import Rollout


@dataclass(frozen=True)
class Interrupted:
    """Where in an iteration a run was stopped."""

    sizes: list[int]
    """What must be the same to go on: see `sizes`."""
    played: dict[str, Tensor]
    minibatches: int
    """Learned from already."""


def sizes(args: Args) -> list[int]:
    """Return the sizes that shape an iteration."""
    return [args.num_steps, args.num_envs, args.minibatches, args.update_epochs, *OBS_SHAPE]


def take(learner: Learner, rollout: Rollout, minibatches: int, args: Args) -> dict[str, Any]:
    """Return copies of all that changes while the run goes on; a rollout only if it has begun."""
    played = {name: tensor.to("cpu", copy=True) for name, tensor in rollout.tensors().items()} if rollout.filled else {}
    interrupted = vars(Interrupted(sizes(args), played, minibatches)) if played else None
    return learner.state() | {"interrupted": interrupted}


def pack(state: dict[str, Any]) -> bytes:
    """Return what `take` returned as bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpack(payload: bytes, learner: Learner) -> Interrupted | None:
    """Put a learner into a saved state, on whatever device it is now, and return where it was interrupted.

    Raises:
        ConfigurationError: the state is another network's.
    """
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    if isinstance(state["optimizer"], dict):  # format 1: torch's own dictionary
        state["optimizer"] = [moments for _, moments in sorted(state["optimizer"]["state"].items())]
    learner.load(state)
    interrupted = state.get("interrupted")
    return None if interrupted is None else Interrupted(**interrupted)


def actor(payload: bytes) -> ActorCritic:
    """Return the network of a saved state, in float32 on the CPU, to play with.

    Raises:
        ConfigurationError: the state is another network's.
    """
    saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)["model"]
    try:
        model = ActorCritic(len(saved["actor.bias"]))
        model.load_state_dict(saved)
    except (RuntimeError, KeyError) as error:
        raise ConfigurationError(f"the checkpoint is whole, but of another network: {error}") from error
    return model
