"""The arithmetic of PPO against numbers worked out by hand, and against plain loops."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rltrainer import chance, learner, ppo, snapshot
from rltrainer.errors import ConfigurationError
from rltrainer.network import ActorCritic
from rltrainer.ppo import Batch, Update
from rltrainer.rollout import Rollout, generalised_advantages
from trainer_runs import tiny_args


def test_advantages_of_a_rollout_worked_out_by_hand(tmp_path):
    """Three steps of one environment, gamma 0.5, lambda 0.5, an episode ending with the second step.

    delta_2 = 4 + 0.5*10 - 3 = 6; A_2 = 6
    delta_1 = 2 - 2 = 0 (the end: nothing follows); A_1 = 0
    delta_0 = 1 + 0.5*2 - 1 = 1; A_0 = 1 + 0.25*0 = 1
    """
    rollout = Rollout(tiny_args(tmp_path, num_envs=1, batch_size=3), torch.device("cpu"))
    rollout.rewards = torch.tensor([[1.0], [2.0], [4.0]])
    rollout.values = torch.tensor([[1.0], [2.0], [3.0]])
    rollout.dones = torch.tensor([[0.0], [1.0], [0.0]])
    rollout.next_value = torch.tensor([10.0])
    assert generalised_advantages(rollout, 0.5, 0.5).flatten().tolist() == [1.0, 0.0, 6.0]


def test_with_lambda_one_advantages_are_discounted_returns_less_values(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rollout = Rollout(tiny_args(tmp_path, num_envs=4, batch_size=32), torch.device("cpu"))
    rollout.rewards = torch.randn((8, 4), generator=generator)
    rollout.values = torch.randn((8, 4), generator=generator)
    rollout.next_value = torch.randn(4, generator=generator)
    discounted = rollout.next_value
    expected = torch.zeros(8, 4)
    for t in reversed(range(8)):
        discounted = rollout.rewards[t] + 0.9 * discounted
        expected[t] = discounted - rollout.values[t]
    torch.testing.assert_close(generalised_advantages(rollout, 0.9, 1.0), expected)


def two_steps():
    """Two actions were 50:50; now the chosen one has 60% in the first step and 25% in the second."""
    batch = Batch(
        obs=torch.zeros(2),
        actions=torch.tensor([0, 0]),
        log_probs=torch.tensor([0.5, 0.5]).log(),
        values=torch.tensor([1.0, 1.0]),
        advantages=torch.tensor([2.0, -1.0]),
        returns=torch.tensor([2.0, 0.0]),
    )
    log_probs = torch.tensor([[0.6, 0.4], [0.25, 0.75]]).log()
    return log_probs, torch.tensor([1.5, 1.05]), batch


def test_losses_worked_out_by_hand(tmp_path):
    """Ratios 1.2 and 0.5, clipped to 1.1 and 0.9.

    policy: max(-2.4, -2.2) = -2.2; max(0.5, 0.9) = 0.9; mean -0.65
    value: max(0.5^2, (1.1-2)^2) = 0.81; max(1.05^2, 1.05^2) = 1.1025; half the mean 0.478125
    """
    log_probs, values, batch = two_steps()
    found = ppo.losses(log_probs, values, batch, tiny_args(tmp_path, norm_adv=False, clip_coef=0.1))
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / 2
    old_kl = -(math.log(1.2) + math.log(0.5)) / 2
    kl = ((1.2 - 1 - math.log(1.2)) + (0.5 - 1 - math.log(0.5))) / 2
    assert found.policy.item() == pytest.approx(-0.65)
    assert found.value.item() == pytest.approx(0.478125)
    assert found.entropy.item() == pytest.approx(entropy)
    assert found.old_approx_kl.item() == pytest.approx(old_kl)
    assert found.approx_kl.item() == pytest.approx(kl)
    assert found.clipfrac.item() == 1.0
    assert found.total.item() == pytest.approx(-0.65 - 0.01 * entropy + 0.5 * 0.478125)


def test_losses_without_clipped_value_and_with_normalised_advantages(tmp_path):
    """Advantages 2 and -1 become +-1/sqrt(2); value: (0.25 + 1.1025) / 4."""
    log_probs, values, batch = two_steps()
    found = ppo.losses(log_probs, values, batch, tiny_args(tmp_path, clip_vloss=False))
    assert found.value.item() == pytest.approx((0.25 + 1.1025) / 4)
    assert found.policy.item() == pytest.approx((-1.1 + 0.9) / math.sqrt(2) / 2)


def test_the_learning_rate_is_a_function_of_the_share_of_the_target(tmp_path):
    light = tiny_args(tmp_path, target_frames=40_000, learning_rate=1e-3)
    medium = tiny_args(tmp_path, target_frames=40_000, learning_rate=1e-3, num_envs=16, batch_size=128)
    assert [ppo.learning_rate(light, step) for step in (0, 5000, 10_000, 10_064)] == [1e-3, 5e-4, 0.0, 0.0]
    assert ppo.learning_rate(medium, 5000) == ppo.learning_rate(light, 5000)
    assert ppo.learning_rate(tiny_args(tmp_path, target_frames=40_000, anneal_lr=False), 5000) == 2.5e-4


def test_an_update_raises_the_probability_of_a_better_action(tmp_path):
    args = tiny_args(tmp_path, num_envs=8, batch_size=64, update_epochs=4)
    pupil = learner.build(args, num_actions=3)
    obs = torch.randint(0, 256, (64, 84, 84, 4), dtype=torch.uint8)
    with torch.no_grad():
        before, values = pupil.model(obs)
    actions = torch.arange(64) % 3
    batch = Batch(
        obs=obs,
        actions=actions,
        log_probs=before.gather(-1, actions.unsqueeze(-1)).squeeze(-1),
        values=values,
        advantages=(actions == 1).float(),
        returns=values,
    )
    assert Update(batch, args, iteration=0).run(pupil.step, lambda: True, pupil.fetch) is not None
    with torch.no_grad():
        after, _ = pupil.model(obs)
    assert after[:, 1].mean() > before[:, 1].mean()


def test_an_update_ends_before_the_minibatch_when_told(tmp_path):
    args = tiny_args(tmp_path)
    pupil = learner.build(args, num_actions=3)
    before = {name: value.clone() for name, value in pupil.model.state_dict().items()}
    empty = torch.zeros(64)
    batch = Batch(torch.zeros((64, 84, 84, 4), dtype=torch.uint8), empty.long(), empty, empty, empty, empty)
    assert Update(batch, args, iteration=0).run(pupil.step, lambda: False, pupil.fetch) is None
    assert all(torch.equal(before[name], value) for name, value in pupil.model.state_dict().items())


def test_the_network_computes_in_bf16_about_what_it_does_in_float32():
    torch.manual_seed(0)
    exact = ActorCritic(6)
    coarse = ActorCritic(6, bf16=True)
    coarse.load_state_dict(exact.state_dict())
    obs = torch.randint(0, 256, (8, 84, 84, 4), dtype=torch.uint8)
    with torch.no_grad():
        (log_probs, values), (coarse_log_probs, coarse_values) = exact(obs), coarse(obs)
    assert (coarse_log_probs.dtype, coarse_values.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(coarse_log_probs, log_probs, atol=0.02, rtol=0.02)
    torch.testing.assert_close(coarse_values, values, atol=0.05, rtol=0.05)


def test_an_update_that_was_stopped_goes_on_where_it_was(tmp_path):
    """Stopped before each minibatch of two epochs: the parameters are those of an update in one go."""
    args = tiny_args(tmp_path, update_epochs=2, num_minibatches=4, bf16=False)
    whole, stopped = learner.build(args, num_actions=3), learner.build(args, num_actions=3)
    batch = ppo.blank_batch(64, torch.device("cpu"))
    batch.obs.random_(0, 256, generator=torch.Generator().manual_seed(1))
    batch.returns.add_(1.0)
    expected = Update(batch, args, iteration=5).run(whole.step, lambda: True, whole.fetch)
    found, done = None, 0
    while found is None:
        answers = iter([True, False])
        update = Update(batch, args, iteration=5, done=done)
        found, done = update.run(stopped.step, lambda: next(answers, False), Tensor.cpu), update.done  # noqa: B023
        if done == 8:
            break
    final, other = whole.model.state_dict(), stopped.model.state_dict()
    assert all(torch.equal(final[name], other[name]) for name in final)
    assert found == expected


def test_chance_is_a_function_of_seed_and_place():
    """The same numbers again, others elsewhere; noise and log-probabilities sample what the probabilities say."""
    noise = chance.gumbel(1, 5, (4000, 3))
    assert np.array_equal(noise, chance.gumbel(1, 5, (4000, 3)))
    assert not np.array_equal(noise, chance.gumbel(1, 6, (4000, 3)))
    assert not np.array_equal(noise, chance.gumbel(2, 5, (4000, 3)))
    shares = np.bincount((np.log([0.6, 0.3, 0.1]) + noise).argmax(-1)) / 4000
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.03)
    orders = [chance.permutation(1, 5, epoch, 100).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(100))


def snapshot_of(pupil, args):
    return snapshot.pack(snapshot.take(pupil, Rollout(args, pupil.device), 0, args))


def test_a_learner_survives_a_snapshot(tmp_path):
    """A second learner in the saved state takes the same gradient steps."""
    args = tiny_args(tmp_path, bf16=False)
    first = learner.build(args, num_actions=3)
    batch = ppo.blank_batch(8, first.device)
    batch.returns.add_(1.0)

    def use(pupil):
        return pupil.step(batch).total.item(), pupil.model.critic.weight.tolist()

    use(first)
    payload = snapshot_of(first, args)
    expected = use(first)
    second = learner.build(tiny_args(tmp_path, seed=99, bf16=False), num_actions=3)
    use(second)
    assert snapshot.unpack(payload, second) is None
    assert use(second) == expected


def test_a_snapshot_of_another_network_is_a_configuration_error(tmp_path):
    args = tiny_args(tmp_path)
    payload = snapshot_of(learner.build(args, num_actions=3), args)
    with pytest.raises(ConfigurationError, match="of another network"):
        snapshot.unpack(payload, learner.build(args, num_actions=4))


@pytest.mark.parametrize(
    ("flag", "recorded", "expected"), [(None, True, True), (None, False, False), (True, False, True)]
)
def test_a_run_goes_on_in_the_precision_it_began_with_unless_told(tmp_path, flag, recorded, expected):
    assert learner.build(tiny_args(tmp_path, bf16=flag), 3, bf16=recorded).model.bf16 is expected


def test_cuda_on_a_machine_without_it_is_said(tmp_path):
    if torch.cuda.is_available():
        assert learner.pick_device("cuda").type == "cuda"
        return
    assert learner.pick_device("auto").type == "cpu"
    if torch.version.cuda is None:
        with pytest.raises(ConfigurationError, match="built for CPUs only"):
            learner.pick_device("cuda")
