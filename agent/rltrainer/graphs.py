"""What a GPU needs so that the CPU can play: graphs to launch, a wait that sleeps, memory that both read.

A CUDA graph is a fixed sequence of kernels, recorded once and launched as one.

A graph reads and writes the memory it was recorded with, so inputs are copied in, and results are valid until the next
launch. Parameters and the optimiser's moments must stay where they are (`Learner.load` copies into them).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rltrainer import ppo
from rltrainer.network import ActorCritic
from rltrainer.ppo import Batch, Losses
from rltrainer.rollout import Act, Fetch

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


def fetching() -> Fetch:
    """Return how tensors come to the CPU: their waiter sleeps, and leaves its core to the games.

    What it returns is valid until the next tensor of the same shape is fetched.
    """
    arrived = torch.cuda.Event(blocking=True)
    places: dict[tuple[torch.Size, torch.dtype], Tensor] = {}

    @torch.no_grad()
    def fetch(tensor: Tensor) -> Tensor:
        key = tensor.shape, tensor.dtype
        if key not in places:
            places[key] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        places[key].copy_(tensor, non_blocking=True)
        arrived.record()
        arrived.synchronize()
        return places[key]

    return fetch


def lock(memory: NDArray[np.uint8]) -> bool:
    """Keep memory where it is, so that the GPU reads it by itself; return whether the driver would."""
    driver = torch.cuda.cudart()
    if int(driver.cudaHostRegister(memory.ctypes.data, memory.nbytes, 0)) == 0:
        return True
    with suppress(RuntimeError):  # the driver keeps its refusal for the next launch, whatever that is
        torch.ones(1, device="cuda")
    return False


def unlock(memory: NDArray[np.uint8]) -> None:
    """End what `lock` began, before the memory is given back: what lies at its place later is not the driver's."""
    driver = torch.cuda.cudart()
    driver.cudaHostUnregister(memory.ctypes.data)


def _record(work: Callable[[], _Result]) -> tuple[torch.cuda.CUDAGraph, _Result]:
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph, result
