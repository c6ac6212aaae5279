"""PPO's losses and what is told of them, against numbers worked out by hand."""

import math

import pytest
import torch

from rltrainer import ppo
from rltrainer.ppo import Batch
from trainer_runs import tiny_args

OLD = 0.4
"""How probable each chosen action was."""
NEW = [0.6, 0.6, 0.2, 0.2, 0.44]
"""How probable it is now: ratios 1.5, 1.5, 0.5, 0.5 and 1.1, which a clip of 0.2 makes 1.2, 1.2, 0.8, 0.8 and 1.1."""
ADVANTAGES = [2.0, -3.0, 5.0, -7.0, 11.0]
REST = 0.1
"""How probable the third action is, which is never chosen."""
ACTIONS = [0, 1, 0, 1, 1]


def batch_of(advantages, values=(0.0,) * 5, returns=(0.0,) * 5, old=OLD):
    size = len(advantages)
    return Batch(
        obs=torch.zeros(size),
        actions=torch.tensor(ACTIONS[:size]),
        log_probs=torch.full((size,), old).log(),
        values=torch.tensor(values[:size]),
        advantages=torch.tensor(advantages),
        returns=torch.tensor(returns[:size]),
    )


def probabilities():
    """[steps, actions] now."""
    pairs = [(new, 1.0 - REST - new) for new in NEW]
    return torch.tensor([
        [*(pair if action == 0 else pair[::-1]), REST] for pair, action in zip(pairs, ACTIONS, strict=True)
    ])  # fmt: skip


def found(tmp_path, batch, values=(0.0,) * 5, **options):
    args = tiny_args(tmp_path, **({"norm_adv": False, "clip_coef": 0.2} | options))
    return ppo.losses(probabilities()[: len(batch.actions)].log(), torch.tensor(values), batch, args)


def test_the_surrogate_is_clipped_where_that_makes_it_worse_and_nowhere_else(tmp_path):
    """Of ratio and clipped ratio the smaller product with the advantage counts, with a minus.

    above the clip: -1.2*2 = -2.4 (clipped);    -1.5*-3 = 4.5
    below the clip: -0.5*5 = -2.5;              -0.8*-7 = 5.6 (clipped)
    within:         -1.1*11 = -12.1             the mean is -6.9/5
    """
    assert found(tmp_path, batch_of(ADVANTAGES)).policy.item() == pytest.approx(-1.38, rel=1e-5)


def test_clipped_steps_have_no_gradient_and_the_others_that_of_ratio_times_advantage(tmp_path):
    """The derivative of -ratio*advantage/5 by the log-probability of the chosen action is -ratio*advantage/5."""
    log_probs = probabilities().log().requires_grad_()
    args = tiny_args(tmp_path, norm_adv=False, clip_coef=0.2)
    ppo.losses(log_probs, torch.zeros(5), batch_of(ADVANTAGES), args).policy.backward()
    gradients = log_probs.grad[torch.arange(5), torch.tensor(ACTIONS)]
    torch.testing.assert_close(gradients, torch.tensor([0.0, 0.9, -0.5, 0.0, -2.42]))
    assert log_probs.grad.count_nonzero() == 3


def test_advantages_are_normalised_by_their_mean_and_the_unbiased_deviation(tmp_path):
    """1, 2 and 6 have mean 3 and deviation sqrt((4 + 1 + 9) / 2) = sqrt(7); clipped are ratios 1.5, 1.5 and 0.5.

    (1 - 3)*1.5 is worse than (1 - 3)*1.2; so is (2 - 3)*1.5; (6 - 3)*0.5 is worse than (6 - 3)*0.8.
    """
    policy = found(tmp_path, batch_of([1.0, 2.0, 6.0]), values=(0.0,) * 3, norm_adv=True).policy
    assert policy.item() == pytest.approx((2 * 1.5 + 1 * 1.5 - 3 * 0.5) / math.sqrt(7) / 3, rel=1e-5)


def test_equal_advantages_are_not_divided_by_zero(tmp_path):
    """As before in units of 1e-8, which is what is added to the deviation: sqrt(7) becomes sqrt(7) + 1."""
    policy = found(tmp_path, batch_of([1e-8, 2e-8, 6e-8]), values=(0.0,) * 3, norm_adv=True).policy
    assert policy.item() == pytest.approx((2 * 1.5 + 1 * 1.5 - 3 * 0.5) / (math.sqrt(7) + 1) / 3, rel=1e-5)
    assert found(tmp_path, batch_of([4.0, 4.0, 4.0]), values=(0.0,) * 3, norm_adv=True).policy == 0.0


VALUES = (1.0, 1.0, 2.0, 2.0, 3.0)
NEW_VALUES = (1.5, 1.5, 1.4, 1.4, 3.1)
RETURNS = (2.0, 1.0, 1.0, 3.0, 4.0)


def test_of_value_and_clipped_value_the_farther_from_the_return_counts(tmp_path):
    """A value may move by 0.2.

    up:   (1.5 - 2)^2 = 0.25, (1.2 - 2)^2 = 0.64;  (1.5 - 1)^2 = 0.25, (1.2 - 1)^2 = 0.04
    down: (1.4 - 1)^2 = 0.16, (1.8 - 1)^2 = 0.64;  (1.4 - 3)^2 = 2.56, (1.8 - 3)^2 = 1.44
    less: (3.1 - 4)^2 = 0.81 both ways
    half the mean of 0.64, 0.25, 0.64, 2.56 and 0.81 is 0.49
    """
    batch = batch_of(ADVANTAGES, VALUES, RETURNS)
    assert found(tmp_path, batch, NEW_VALUES).value.item() == pytest.approx(0.49, rel=1e-5)


def test_without_clipping_the_value_loss_is_half_the_mean_square(tmp_path):
    """Of 0.25, 0.25, 0.16, 2.56 and 0.81."""
    batch = batch_of(ADVANTAGES, VALUES, RETURNS)
    assert found(tmp_path, batch, NEW_VALUES, clip_vloss=False).value.item() == pytest.approx(0.403, rel=1e-5)


def entropy_of(*steps):
    """The mean over steps of -sum p log p."""
    return -sum(p * math.log(p) for step in steps for p in step) / len(steps)


def test_entropy_is_of_all_actions_and_rewarded_and_the_value_loss_is_weighted(tmp_path):
    """Total: policy less 0.03 of the entropy and 0.7 of the value loss; the numbers are those of the tests above."""
    batch = batch_of(ADVANTAGES, VALUES, RETURNS)
    losses = found(tmp_path, batch, NEW_VALUES, ent_coef=0.03, vf_coef=0.7)
    entropy = entropy_of((0.6, 0.3, 0.1), (0.6, 0.3, 0.1), (0.2, 0.7, 0.1), (0.2, 0.7, 0.1), (0.44, 0.46, 0.1))
    assert losses.entropy.item() == pytest.approx(entropy, rel=1e-5)
    assert losses.total.item() == pytest.approx(-1.38 - 0.03 * entropy + 0.7 * 0.49, rel=1e-5)


def test_the_policys_move_is_told_by_both_estimates_of_the_divergence_and_the_clipped_share(tmp_path):
    """Of ratios 1.5, 1.5, 0.5, 0.5 and 1.1 four lie outside of 0.8 to 1.2."""
    losses = found(tmp_path, batch_of(ADVANTAGES))
    ratios = (1.5, 1.5, 0.5, 0.5, 1.1)
    old_kl = sum(-math.log(ratio) for ratio in ratios) / 5
    kl = sum(ratio - 1 - math.log(ratio) for ratio in ratios) / 5
    assert losses.old_approx_kl.item() == pytest.approx(old_kl, rel=1e-4)
    assert losses.approx_kl.item() == pytest.approx(kl, rel=1e-4)
    assert losses.clipfrac.item() == pytest.approx(0.8)
    assert not losses.old_approx_kl.requires_grad
    assert not losses.approx_kl.requires_grad


def test_losses_of_two_steps_with_the_default_weights_worked_out_by_hand(tmp_path):
    """Two actions were 50:50; now the chosen one has 60 % and 25 %; ratios 1.2 and 0.5, clipped to 1.1 and 0.9.

    policy: max(-2.4, -2.2) = -2.2; max(0.5, 0.9) = 0.9; mean -0.65
    value: max(0.5^2, (1.1-2)^2) = 0.81; max(1.05^2, 1.05^2) = 1.1025; half the mean 0.478125
    """
    batch = Batch(
        obs=torch.zeros(2),
        actions=torch.tensor([0, 0]),
        log_probs=torch.tensor([0.5, 0.5]).log(),
        values=torch.tensor([1.0, 1.0]),
        advantages=torch.tensor([2.0, -1.0]),
        returns=torch.tensor([2.0, 0.0]),
    )
    log_probs, values = torch.tensor([[0.6, 0.4], [0.25, 0.75]]).log(), torch.tensor([1.5, 1.05])
    losses = ppo.losses(log_probs, values, batch, tiny_args(tmp_path, norm_adv=False))
    entropy = entropy_of((0.6, 0.4), (0.25, 0.75))
    assert losses.policy.item() == pytest.approx(-0.65)
    assert losses.value.item() == pytest.approx(0.478125)
    assert losses.clipfrac.item() == 1.0
    assert losses.total.item() == pytest.approx(-0.65 - 0.01 * entropy + 0.5 * 0.478125)
    normalised = ppo.losses(log_probs, values, batch, tiny_args(tmp_path, clip_vloss=False))
    assert normalised.value.item() == pytest.approx((0.25 + 1.1025) / 4)
    assert normalised.policy.item() == pytest.approx((-1.1 + 0.9) / math.sqrt(2) / 2)
