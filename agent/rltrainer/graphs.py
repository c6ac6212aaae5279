"""CUDA graphs: a fixed sequence of kernels, recorded once and launched as one.

A graph reads and writes the memory it was recorded with, so inputs are copied in, and results are valid until the next
launch. Parameters and the optimiser's moments must stay where they are (`Learner.load` copies into them).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import torch
from torch import Tensor

from rltrainer import ppo
from rltrainer.network import ActorCritic
from rltrainer.ppo import Batch, Losses
from rltrainer.rollout import Act

_Result = TypeVar("_Result")

_WARM_UPS: Final = 3
"""Runs before recording, in which libraries choose their kernels and allocate what they keep."""


def acting(model: ActorCritic) -> Act:
    """Return `model.act` as graphs, one for each size of a group of environments, recorded when first met."""
    recorded: dict[int, tuple[torch.cuda.CUDAGraph, list[Tensor], tuple[Tensor, Tensor, Tensor]]] = {}

    def act(obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if len(obs) not in recorded:
            inputs = [obs.clone(), noise.clone()]
            graph, outputs = _record(lambda: model.act(*inputs))
            recorded[len(obs)] = graph, inputs, outputs
        graph, inputs, outputs = recorded[len(obs)]
        inputs[0].copy_(obs)
        inputs[1].copy_(noise)
        graph.replay()
        return outputs

    return act


def learning(step: Callable[[Batch], Losses], size: int, device: torch.device) -> Callable[[Batch], Losses]:
    """Return a gradient step on `size` steps as a graph; it learns from blanks a few times while it is recorded."""
    static = ppo.blank_batch(size, device)
    graph, losses = _record(lambda: step(static))

    def replay(batch: Batch) -> Losses:
        for name in Batch.__dataclass_fields__:
            getattr(static, name).copy_(getattr(batch, name))
        graph.replay()
        return losses

    return replay


def _record(work: Callable[[], _Result]) -> tuple[torch.cuda.CUDAGraph, _Result]:
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it without types
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph, result
