"""Generalised advantage estimation against numbers worked out by hand, and against its definition as a sum."""

import pytest
import torch

from rltrainer import ppo
from rltrainer.rollout import Rollout, generalised_advantages
from trainer_runs import tiny_args

GAMMA, LAMBDA = 0.8, 0.5
"""Together 0.4: neither is one, zero, or the other's equal."""


def rollout_of(tmp_path, rewards, values, dones, next_value):
    """A rollout that was played so; lists are [steps][environments]."""
    played = Rollout(tiny_args(tmp_path, num_envs=len(next_value), batch_size=len(rewards) * len(next_value)),
                     torch.device("cpu"))  # fmt: skip
    played.rewards, played.values = torch.tensor(rewards), torch.tensor(values)
    played.dones, played.next_value = torch.tensor(dones), torch.tensor(next_value)
    return played


def two_environments(tmp_path):
    """Four steps of two environments; in the second one an episode ends with the second step."""
    return rollout_of(
        tmp_path,
        rewards=[[1.0, 3.0], [2.0, -1.0], [4.0, 2.0], [3.0, 5.0]],
        values=[[1.0, 2.0], [2.0, 4.0], [3.0, 1.0], [5.0, 3.0]],
        dones=[[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
        next_value=[10.0, 6.0],
    )


def test_advantages_with_a_lambda_between_zero_and_one_worked_out_by_hand(tmp_path):
    """Gamma 0.8, lambda 0.5.

    The first environment goes on all the time:
    delta_3 = 3 + 0.8*10 - 5 = 6,   A_3 = 6
    delta_2 = 4 + 0.8*5  - 3 = 5,   A_2 = 5   + 0.4*6    = 7.4
    delta_1 = 2 + 0.8*3  - 2 = 2.4, A_1 = 2.4 + 0.4*7.4  = 5.36
    delta_0 = 1 + 0.8*2  - 1 = 1.6, A_0 = 1.6 + 0.4*5.36 = 3.744

    In the second one nothing follows the second step:
    delta_3 = 5 + 0.8*6 - 3 = 6.8,  A_3 = 6.8
    delta_2 = 2 + 0.8*3 - 1 = 3.4,  A_2 = 3.4 + 0.4*6.8 = 6.12
    delta_1 = -1        - 4 = -5,   A_1 = -5
    delta_0 = 3 + 0.8*4 - 2 = 4.2,  A_0 = 4.2 - 0.4*5   = 2.2
    """
    found = generalised_advantages(two_environments(tmp_path), GAMMA, LAMBDA)
    expected = torch.tensor([[3.744, 2.2], [5.36, -5.0], [7.4, 6.12], [6.0, 6.8]])
    torch.testing.assert_close(found, expected)


def test_an_episode_that_ends_with_the_last_step_is_followed_by_nothing(tmp_path):
    """A = 2 - 3, whatever the value of what follows; without the end it were 2 + 0.8*10 - 3."""
    assert generalised_advantages(rollout_of(tmp_path, [[2.0]], [[3.0]], [[1.0]], [10.0]), GAMMA, LAMBDA) == -1.0
    assert generalised_advantages(rollout_of(tmp_path, [[2.0]], [[3.0]], [[0.0]], [10.0]), GAMMA, LAMBDA) == 7.0


def by_definition(played, gamma, lam):
    """Schulman et al. 2016, equation 16: the sum over l of (gamma lambda)^l delta_(t+l), up to the episode's end."""
    steps, envs = played.rewards.shape
    following = [*played.values[1:].tolist(), played.next_value.tolist()]
    found = torch.zeros(steps, envs)
    for env in range(envs):
        for t in range(steps):
            for later in range(t, steps):
                goes_on = 1.0 - float(played.dones[later, env])
                delta = played.rewards[later, env] + gamma * following[later][env] * goes_on - played.values[later, env]
                found[t, env] += (gamma * lam) ** (later - t) * delta
                if not goes_on:
                    break
    return found


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 0.7), (0.7, 0.9), (0.9, 1.0), (1.0, 0.6), (0.9, 0.0)])
def test_advantages_are_the_sum_that_defines_them(tmp_path, gamma, lam):
    """Twenty steps of three environments, with an end in about every fifth step."""
    chance = torch.Generator().manual_seed(2)
    played = rollout_of(
        tmp_path,
        rewards=torch.randn((20, 3), generator=chance).tolist(),
        values=torch.randn((20, 3), generator=chance).tolist(),
        dones=(torch.rand((20, 3), generator=chance) < 0.2).float().tolist(),
        next_value=torch.randn(3, generator=chance).tolist(),
    )
    assert 5 < played.dones.sum() < 20
    torch.testing.assert_close(
        generalised_advantages(played, gamma, lam), by_definition(played, gamma, lam), atol=1e-5, rtol=1e-5
    )


def test_with_lambda_one_advantages_are_discounted_returns_less_values(tmp_path):
    """A second way to the same numbers, where nothing ends."""
    chance = torch.Generator().manual_seed(0)
    played = rollout_of(
        tmp_path,
        rewards=torch.randn((8, 4), generator=chance).tolist(),
        values=torch.randn((8, 4), generator=chance).tolist(),
        dones=torch.zeros(8, 4).tolist(),
        next_value=torch.randn(4, generator=chance).tolist(),
    )
    discounted, expected = played.next_value, torch.zeros(8, 4)
    for t in reversed(range(8)):
        discounted = played.rewards[t] + 0.9 * discounted
        expected[t] = discounted - played.values[t]
    torch.testing.assert_close(generalised_advantages(played, 0.9, 1.0), expected)


def test_a_batch_is_the_rollout_step_after_step_with_returns_that_are_advantages_and_values(tmp_path):
    """All environments of the first step, then all of the second; no two fields are alike."""
    played = two_environments(tmp_path)
    number = torch.arange(8).reshape(4, 2)
    played.obs[:] = number[..., None, None, None]
    played.actions, played.log_probs = number + 10, number - 20.0
    batch = ppo.batch_of(played, tiny_args(tmp_path, gamma=GAMMA, gae_lambda=LAMBDA), torch.Tensor.cpu)
    advantages = torch.tensor([3.744, 2.2, 5.36, -5.0, 7.4, 6.12, 6.0, 6.8])
    values = torch.tensor([1.0, 2.0, 2.0, 4.0, 3.0, 1.0, 5.0, 3.0])
    assert batch.obs.shape == (8, 84, 84, 4)
    assert batch.obs[:, 5, 7, 2].tolist() == list(range(8))
    assert batch.actions.tolist() == list(range(10, 18))
    assert batch.log_probs.tolist() == [float(n) for n in range(-20, -12)]
    assert batch.values.tolist() == values.tolist()
    torch.testing.assert_close(batch.advantages, advantages)
    torch.testing.assert_close(batch.returns, advantages + values)
