"""Learning: proximal policy optimisation (Schulman et al. 2017) in CleanRL's form. Knows no environment and no file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rltrainer import chance
from rltrainer.adam import Adam
from rltrainer.args import Args
from rltrainer.atari.rules import OBS_SHAPE
from rltrainer.network import ActorCritic
from rltrainer.rollout import Fetch, Rollout, generalised_advantages


@dataclass(frozen=True)
class Batch:
    """Steps to learn from; each tensor is [steps, ...]."""

    obs: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def take(self, index: Tensor) -> Batch:
        """Return the steps at these places."""
        return Batch(*(getattr(self, name).index_select(0, index) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Losses:
    """One minibatch's losses and how far the policy has moved; scalars."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    old_approx_kl: Tensor
    approx_kl: Tensor
    clipfrac: Tensor


def learning_rate(args: Args, global_step: int) -> float:
    """Return the learning rate at a step: a function of the target's share alone, so that a resume continues it."""
    if not args.anneal_lr:
        return args.learning_rate
    return args.learning_rate * max(0.0, 1.0 - global_step / args.target_steps)


def batch_of(rollout: Rollout, args: Args, fetch: Fetch) -> Batch:
    """Return a rollout's steps with their advantages and returns, environments and time as one dimension."""
    advantages = generalised_advantages(rollout, args.gamma, args.gae_lambda, fetch).to(rollout.values.device)
    return Batch(
        obs=rollout.obs.flatten(0, 1),
        actions=rollout.actions.flatten(),
        log_probs=rollout.log_probs.flatten(),
        values=rollout.values.flatten(),
        advantages=advantages.flatten(),
        returns=(advantages + rollout.values).flatten(),
    )


def losses(log_probs: Tensor, values: Tensor, batch: Batch, args: Args) -> Losses:
    """Return the losses of a minibatch under new log-probabilities [steps, actions] and values [steps]."""
    log_ratio = log_probs.gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1) - batch.log_probs
    ratio = log_ratio.exp()
    advantages = batch.advantages
    if args.norm_adv:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
    policy = torch.max(-advantages * ratio, -advantages * clipped).mean()
    value = _value_loss(values, batch, args)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    with torch.no_grad():
        old_approx_kl = (-log_ratio).mean()
        approx_kl = (ratio - 1 - log_ratio).mean()
        clipfrac = ((ratio - 1).abs() > args.clip_coef).float().mean()
    total = policy - args.ent_coef * entropy + args.vf_coef * value
    return Losses(total, policy, value, entropy, old_approx_kl, approx_kl, clipfrac)


def _value_loss(values: Tensor, batch: Batch, args: Args) -> Tensor:
    squared = (values - batch.returns) ** 2
    if args.clip_vloss:
        near = batch.values + (values - batch.values).clamp(-args.clip_coef, args.clip_coef)
        squared = torch.max(squared, (near - batch.returns) ** 2)
    return 0.5 * squared.mean()


def gradient_step(model: ActorCritic, optimizer: Adam, batch: Batch, args: Args) -> Losses:
    """Learn once from a minibatch and return its losses."""
    log_probs, values = model(batch.obs)
    found = losses(log_probs, values, batch, args)
    optimizer.zero_grad()
    found.total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm)
    optimizer.step()
    return found


class Update:
    """Learning from one batch: `update_epochs` passes of shuffled minibatches, which can stop and go on in between.

    Args:
        batch: what was played.
        args: hyper-parameters.
        iteration: of the run; determines the shuffles.
        done: minibatches learned from already, before the run was stopped.
    """

    def __init__(self, batch: Batch, args: Args, iteration: int, done: int = 0) -> None:
        self._batch = batch
        self._args = args
        self._iteration = iteration
        self._orders: list[Tensor] = []
        """A GPU may still read them."""
        self.done = done
        """Minibatches learned from."""

    def run(self, step: Callable[[Batch], Losses], go_on: Callable[[], bool], fetch: Fetch) -> dict[str, float] | None:
        """Take the gradient steps that are left; `go_on` is asked before each, `fetch` brings their losses.

        Returns:
            The last minibatch's losses by their TensorBoard names; None if told not to go on.
        """
        args = self._args
        last: Losses | None = None
        for epoch in range(self.done // args.minibatches, args.update_epochs):
            order = torch.from_numpy(chance.permutation(args.seed, self._iteration, epoch, args.batch_size))
            self._orders.append(order)
            there = order.to(self._batch.obs.device, non_blocking=True)  # a GPU goes on learning meanwhile
            for index in there.tensor_split(args.minibatches)[self.done % args.minibatches :]:
                if not go_on():
                    return None
                last = step(self._batch.take(index))
                self.done += 1
            if last is not None and args.target_kl is not None and last.approx_kl.item() > args.target_kl:
                break
        return None if last is None else _named(last, self._batch, fetch)


def blank_batch(size: int, device: torch.device) -> Batch:
    """Return so many steps in which nothing happened."""
    zeros = torch.zeros(size, device=device)
    return Batch(
        obs=torch.zeros((size, *OBS_SHAPE), dtype=torch.uint8, device=device),
        actions=torch.zeros(size, dtype=torch.int64, device=device),
        log_probs=zeros.clone(),
        values=zeros.clone(),
        advantages=zeros.clone(),
        returns=zeros.clone(),
    )


@torch.no_grad()
def _named(last: Losses, batch: Batch, fetch: Fetch) -> dict[str, float]:
    variance, unexplained = batch.returns.var(), (batch.returns - batch.values).var()
    names = ("value", "policy", "entropy", "old_approx_kl", "approx_kl", "clipfrac")
    found = fetch(torch.stack([*(getattr(last, name) for name in names), variance, unexplained])).tolist()
    value, policy, entropy, old_approx_kl, approx_kl, clipfrac, variance, unexplained = found
    return {
        "value_loss": value,
        "policy_loss": policy,
        "entropy": entropy,
        "old_approx_kl": old_approx_kl,
        "approx_kl": approx_kl,
        "clipfrac": clipfrac,
        "explained_variance": 1.0 - unexplained / variance if variance > 0 else 0.0,
    }
