"""What learns: the network and its optimiser on a device, and how it acts and takes a gradient step there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rltrainer import ppo
from rltrainer.adam import Adam
from rltrainer.args import Args
from rltrainer.console import say
from rltrainer.errors import ConfigurationError, DeviceLostError
from rltrainer.network import ActorCritic, RoundedActor
from rltrainer.ppo import Batch, Losses
from rltrainer.rollout import Act, Fetch


@dataclass
class Learner:
    """All that learning changes."""

    model: ActorCritic
    optimizer: Adam
    device: torch.device
    act: Act
    step: Callable[[Batch], Losses]
    """One gradient."""
    fetch: Fetch = Tensor.cpu
    """Brings what `act` and `step` return to the CPU; valid until the next one of the same shape."""
    changed: Callable[[], None] = lambda: None
    """Tells `act` that parameters were put in place otherwise than by `step`."""

    def share(self, frames: NDArray[np.uint8]) -> Callable[[], None]:
        """Let a GPU read frames where they are, not from copies; return what ends that, before they are given back."""
        if self.device.type == "cuda":
            from rltrainer import graphs  # noqa: PLC0415 - only where there is a GPU

            if graphs.lock(frames):
                return lambda: graphs.unlock(frames)
            say("gpu: the driver locks no memory for the frames; training goes on, a little slower")
        return lambda: None

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use a learning rate from the next gradient on."""
        if isinstance(self.optimizer.lr, Tensor):  # a CUDA graph reads it where it is
            self.optimizer.lr.fill_(learning_rate)
        else:
            self.optimizer.lr = learning_rate

    def state(self) -> dict[str, Any]:
        """Return copies of parameters and the optimiser's moments, on the CPU."""
        moments = [self.optimizer.state[each] for each in self.model.parameters()]
        return {
            "model": {name: _copy(each) for name, each in self.model.state_dict().items()},
            "optimizer": [{name: _copy(each) for name, each in values.items()} for values in moments],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take a state in place: a CUDA graph goes on with the same memory.

        Raises:
            ConfigurationError: it is another network's.
        """
        try:
            self.model.load_state_dict(state["model"])
            for parameter, saved in zip(self.model.parameters(), state["optimizer"], strict=True):
                moments = self.optimizer.state[parameter]
                for name in moments.keys() - saved.keys():
                    moments[name].zero_()
                for name, value in saved.items():
                    moments[name].copy_(value)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigurationError(f"the checkpoint is whole, but of another network: {error}") from error
        self.changed()


def build(args: Args, num_actions: int, *, bf16: bool | None = None) -> Learner:
    """Return a learner that knows nothing yet, seeded.

    Args:
        args: hyper-parameters.
        num_actions: of the game.
        bf16: how this run has computed so far; None: it is new. `args.bf16` wins.

    Raises:
        ConfigurationError: this build of torch knows no CUDA, and it was asked for.
        DeviceLostError: it does, but there is no GPU at the moment.
    """
    device = pick_device(args.device)
    torch.set_num_threads(1 if device.type == "cuda" else args.threads)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
        torch.use_deterministic_algorithms(mode=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    chosen = args.bf16 if args.bf16 is not None else bf16
    if chosen is None:
        chosen = has_bf16_units(device)
    learner = _plain(args, num_actions, device, bf16=chosen)
    return learner if device.type == "cpu" else _with_graphs(learner, args)


def _plain(args: Args, num_actions: int, device: torch.device, *, bf16: bool) -> Learner:
    torch.manual_seed(args.seed)
    model = ActorCritic(num_actions, bf16=bf16).to(device)
    on_gpu = device.type == "cuda"
    rate = torch.tensor(args.learning_rate, device=device) if on_gpu else args.learning_rate
    optimizer = Adam(model.parameters(), lr=rate, eps=1e-5)

    def step(batch: Batch) -> Losses:
        return ppo.gradient_step(model, optimizer, batch, args)

    if on_gpu or not bf16:
        return Learner(model, optimizer, device, model.act, step)
    actor = RoundedActor(model)

    def step_anew(batch: Batch) -> Losses:
        actor.forget()
        return step(batch)

    return Learner(model, optimizer, device, actor.act, step_anew, changed=actor.forget)


def _with_graphs(learner: Learner, args: Args) -> Learner:
    """Record the learner's work as CUDA graphs: launching it kernel by kernel takes longer than computing it."""
    from rltrainer import graphs  # noqa: PLC0415 - only where there is a GPU

    before = learner.state()
    act, step = learner.act, learner.step
    learner.fetch = graphs.fetching()
    try:
        learner.act = graphs.acting(learner.model)
        learner.step = graphs.learning(step, args.minibatch_size, learner.device)
        learner.step(ppo.blank_batch(args.minibatch_size, learner.device))
    except RuntimeError as error:
        say(f"gpu: no CUDA graphs ({str(error).splitlines()[0]}); training goes on, slower")
        learner.act, learner.step = act, step
    learner.load(before)
    return learner


def has_bf16_units(device: torch.device) -> bool:
    """Return whether the hardware multiplies in bfloat16; where it does, gradients take less than half the time.

    Not measured at the start of each run: on a busy machine the result would be chance, and a run that is killed before
    its first checkpoint could begin again in the other precision.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch has no public question for a CPU's units.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001


def pick_device(wanted: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` means here."""
    if wanted == "cpu" or torch.cuda.is_available():
        return torch.device("cpu" if wanted == "cpu" else "cuda")
    if wanted == "auto":
        return torch.device("cpu")
    if torch.version.cuda is None:
        raise ConfigurationError("--device cuda: this torch is built for CPUs only; install a CUDA build, or use auto")
    raise DeviceLostError("--device cuda: torch sees no GPU; does nvidia-smi?")


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
