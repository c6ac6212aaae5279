"""A gradient step by hand: backward, scaling to a norm, Adam; and the learning rate it is taken with."""

import math

import pytest
import torch

from rltrainer import learner, ppo
from rltrainer.adam import Adam
from trainer_runs import tiny_args


def moved(parameter, gradients, *, rate, eps, betas=(0.9, 0.999)):
    """A parameter after Adam's steps along these gradients (Kingma and Ba 2015, algorithm 1)."""
    first = second = torch.zeros_like(parameter)
    for t, gradient in enumerate(gradients, 1):
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        unbiased, unbiased_square = first / (1 - betas[0] ** t), second / (1 - betas[1] ** t)
        parameter = parameter - rate * unbiased / (unbiased_square.sqrt() + eps)
    return parameter


def test_adams_first_and_second_step_worked_out_by_hand():
    """Rate 0.1, eps 0.25, gradients 0.5 and -1; in the first step the bias corrections undo both betas.

    1: 0.1 * 0.5 / (0.5 + 0.25) = 0.0666667, so 2 becomes 1.9333333
    2: m = 0.9*0.05 - 0.1 = -0.055, over 1 - 0.81 = -0.2894737; v = 0.999*0.00025 + 0.001 = 0.00124975,
       over 1 - 0.998001 = 0.6251876, its root is 0.7906880; 0.1 * -0.2894737 / 1.0406880 = -0.0278156
    """
    parameter = torch.tensor([2.0], requires_grad=True)
    adam = Adam([parameter], lr=0.1, eps=0.25)
    for gradient, expected in ((0.5, 1.9333333), (-1.0, 1.9611489)):
        parameter.grad = torch.tensor([gradient])
        adam.step()
        assert parameter.item() == pytest.approx(expected, abs=1e-6)
    state = adam.state[parameter]
    assert (state["step"].item(), state["exp_avg"].item()) == (2.0, pytest.approx(-0.055))
    assert state["exp_avg_sq"].item() == pytest.approx(0.00124975)
    adam.zero_grad()
    assert parameter.grad is None


def test_the_optimiser_is_torchs_bit_for_bit():
    """Parameters of several shapes, one as convolutions keep theirs in memory, and a rate that changes."""
    chance = torch.Generator().manual_seed(1)
    shapes = ((6, 4, 3, 3), (7, 5), (7,))
    mine = [torch.randn(shape, generator=chance).requires_grad_() for shape in shapes]
    mine[0].data = mine[0].data.to(memory_format=torch.channels_last)
    theirs = [each.detach().clone().requires_grad_() for each in mine]
    ours = Adam(mine, lr=1e-3, eps=1e-5)
    torchs = torch.optim.Adam(theirs, lr=1e-3, eps=1e-5, fused=True)
    for number in range(5):
        ours.lr = torchs.param_groups[0]["lr"] = 1e-3 / (number + 1)
        for one, other in zip(mine, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=chance)
            other.grad = one.grad.clone()
        ours.step()
        torchs.step()
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one, other)
        assert all(torch.equal(ours.state[one][name], value) for name, value in torchs.state[other].items())


def some_steps(size=6, actions=3):
    chance = torch.Generator().manual_seed(3)
    batch = ppo.blank_batch(size, torch.device("cpu"))
    batch.obs.random_(0, 256, generator=chance)
    batch.actions.random_(0, actions, generator=chance)
    batch.advantages.normal_(generator=chance)
    batch.returns.normal_(generator=chance)
    batch.log_probs.fill_(-1.2)
    return batch


def gradients_of(pupil, batch, args):
    """What `backward` finds for each parameter, in double precision."""
    total = ppo.losses(*pupil.model(batch.obs), batch, args).total
    return [each.double() for each in torch.autograd.grad(total, list(pupil.model.parameters()))]


@pytest.mark.parametrize(("max_grad_norm", "is_clipped"), [(0.05, True), (1000.0, False)])
def test_gradients_are_scaled_down_to_the_norm_and_no_step_remembers_those_before(tmp_path, max_grad_norm, is_clipped):
    """Two steps of a learner, beside the formulas."""
    args = tiny_args(tmp_path, device="cpu", bf16=False, max_grad_norm=max_grad_norm, learning_rate=1e-3)
    pupil, batch = learner.build(args, num_actions=3), some_steps()
    start = [each.detach().double() for each in pupil.model.parameters()]
    found = []
    for _ in range(2):
        raw = gradients_of(pupil, batch, args)
        norm = math.sqrt(sum(float((each**2).sum()) for each in raw))
        assert norm > 0.06
        scale = max_grad_norm / norm if is_clipped else 1.0
        found.append([each * scale for each in raw])
        expected = ppo.losses(*pupil.model(batch.obs), batch, args)
        losses = pupil.step(batch)
        assert losses.total.item() == pytest.approx(expected.total.item(), rel=1e-5)
        for parameter, scaled in zip(pupil.model.parameters(), found[-1], strict=True):
            torch.testing.assert_close(parameter.grad.double(), scaled, atol=1e-7, rtol=1e-3)
    for index, parameter in enumerate(pupil.model.parameters()):
        expected = moved(start[index], [each[index] for each in found], rate=1e-3, eps=1e-5)
        torch.testing.assert_close(parameter.detach().double(), expected, atol=2e-6, rtol=0)


def test_a_learners_optimiser_divides_by_the_root_and_1e_5(tmp_path):
    """A gradient of 1e-5 and its root, 1e-5, make half a step; one of 3e-5 three quarters of it."""
    pupil = learner.build(tiny_args(tmp_path, device="cpu", learning_rate=0.1), num_actions=2)
    before = pupil.model.actor.bias.detach().clone()
    for each in pupil.model.parameters():
        each.grad = torch.zeros_like(each)
    pupil.model.actor.bias.grad = torch.tensor([1e-5, -3e-5])
    pupil.optimizer.step()
    torch.testing.assert_close(pupil.model.actor.bias - before, torch.tensor([-0.05, 0.075]))


def test_the_learning_rate_is_a_function_of_the_share_of_the_target(tmp_path):
    light = tiny_args(tmp_path, target_frames=40_000, learning_rate=1e-3)
    medium = tiny_args(tmp_path, target_frames=40_000, learning_rate=1e-3, num_envs=16, batch_size=128)
    rates = [ppo.learning_rate(light, step) for step in (0, 2500, 5000, 10_000, 10_064)]
    assert rates == [1e-3, 7.5e-4, 5e-4, 0.0, 0.0]
    assert ppo.learning_rate(medium, 5000) == ppo.learning_rate(light, 5000)
    assert ppo.learning_rate(tiny_args(tmp_path, target_frames=40_000, anneal_lr=False), 5000) == 2.5e-4
