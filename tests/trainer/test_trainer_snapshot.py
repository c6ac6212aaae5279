"""The learner's part of a checkpoint: each field comes back, and only into the network that it was taken from."""

import io

import pytest
import torch

from rltrainer import learner, ppo, snapshot
from rltrainer.errors import ConfigurationError
from rltrainer.rollout import Rollout
from trainer_runs import tiny_args


@pytest.fixture
def args(tmp_path):
    return tiny_args(tmp_path, device="cpu", bf16=False)


def half_played(args):
    """A rollout of which three steps are played; no two numbers in it are alike."""
    rollout = Rollout(args, torch.device("cpu"))
    chance = torch.Generator().manual_seed(5)
    rollout.obs.random_(0, 256, generator=chance)
    rollout.actions.random_(0, 1000, generator=chance)
    for each in (rollout.log_probs, rollout.values, rollout.rewards, rollout.dones, rollout.next_value):
        each.normal_(generator=chance)
    rollout.filled = 3
    return rollout


def use(pupil, args):
    """Learn from the same eight steps; return the loss and a part of what was learned."""
    batch = ppo.blank_batch(8, pupil.device)
    batch.returns.add_(1.0)
    return pupil.step(batch).total.item(), pupil.model.critic.weight.tolist()


def payload_of(pupil, args, rollout=None, minibatches=0):
    return snapshot.pack(snapshot.take(pupil, rollout or Rollout(args, pupil.device), minibatches, args))


def test_a_learner_survives_a_snapshot(tmp_path, args):
    """A second learner in the saved state takes the same gradient steps: parameters, moments and their count."""
    first = learner.build(args, num_actions=3)
    use(first, args)
    payload = payload_of(first, args)
    expected = use(first, args)
    second = learner.build(tiny_args(tmp_path, device="cpu", seed=99, bf16=False), num_actions=3)
    use(second, args)
    use(second, args)
    assert snapshot.unpack(payload, second) is None
    assert use(second, args) == expected


def test_each_parameter_and_each_moment_is_put_back(tmp_path, args):
    first, second = (
        learner.build(tiny_args(tmp_path, device="cpu", seed=seed, bf16=False), num_actions=3) for seed in (3, 99)
    )
    chance = torch.Generator().manual_seed(1)
    for parameter in first.model.parameters():
        parameter.data.normal_(generator=chance)
        for moment in first.optimizer.state[parameter].values():
            moment.uniform_(1, 100, generator=chance)
    snapshot.unpack(payload_of(first, args), second)
    for mine, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        state, other = first.optimizer.state[mine], second.optimizer.state[theirs]
        assert list(state) == list(other) == ["step", "exp_avg", "exp_avg_sq"]
        assert all(torch.equal(state[name], other[name]) for name in state)


def test_what_a_snapshot_holds_does_not_change_while_the_run_goes_on(args):
    """The writing thread packs it while the main thread learns and plays."""
    pupil, rollout = learner.build(args, num_actions=3), half_played(args)
    use(pupil, args)
    taken = snapshot.take(pupil, rollout, 1, args)
    before = snapshot.pack(taken)
    use(pupil, args)
    for each in rollout.tensors().values():
        each.zero_()
    assert snapshot.pack(taken) == before


def test_an_interrupted_iteration_comes_back_with_every_field_and_its_minibatches(args):
    pupil, rollout = learner.build(args, num_actions=3), half_played(args)
    interrupted = snapshot.unpack(payload_of(pupil, args, rollout, minibatches=5), pupil)
    assert interrupted.minibatches == 5
    assert interrupted.sizes == snapshot.sizes(args) == [8, 8, 2, 1, 84, 84, 4]
    assert interrupted.played.keys() == rollout.tensors().keys()
    for name, each in rollout.tensors().items():
        assert torch.equal(interrupted.played[name], each), name
        assert interrupted.played[name].dtype == each.dtype, name


@pytest.mark.parametrize(
    "change",
    [
        {"num_envs": 4, "batch_size": 32},
        {"batch_size": 128},
        {"num_minibatches": 4},
        {"update_epochs": 2},
    ],
)
def test_sizes_differ_with_whatever_shapes_an_iteration(tmp_path, args, change):
    assert snapshot.sizes(tiny_args(tmp_path, **change)) != snapshot.sizes(args)


def test_moments_that_a_checkpoint_does_not_hold_begin_at_zero(args):
    pupil = learner.build(args, num_actions=3)
    use(pupil, args)
    state = pupil.state()
    for moments in state["optimizer"]:
        del moments["exp_avg"]
    pupil.load(state)
    for moments in pupil.optimizer.state.values():
        assert not moments["exp_avg"].any()
        assert moments["step"] == 1.0
    assert any(moments["exp_avg_sq"].any() for moments in pupil.optimizer.state.values())


@pytest.mark.parametrize("bf16", [False, True])
def test_a_learner_acts_by_what_it_was_put_into(tmp_path, bf16):
    """Also one that has rounded its parameters before, whose rounding is of no use any more."""
    first, second = (
        learner.build(tiny_args(tmp_path, device="cpu", seed=seed, bf16=bf16), num_actions=3) for seed in (3, 99)
    )
    obs = torch.randint(0, 256, (4, 84, 84, 4), dtype=torch.uint8)
    noise = torch.zeros(4, 3)
    with torch.no_grad():
        before = second.act(obs, noise)[2]
        second.load(first.state())
        assert torch.equal(second.act(obs, noise)[2], first.act(obs, noise)[2])
        assert not torch.equal(before, second.act(obs, noise)[2])


@pytest.mark.parametrize("bf16", [False, True])
def test_a_learner_acts_by_what_it_has_learned_last(tmp_path, bf16):
    args = tiny_args(tmp_path, device="cpu", bf16=bf16, learning_rate=0.01)
    pupil = learner.build(args, num_actions=3)
    obs, noise = torch.full((4, 84, 84, 4), 200, dtype=torch.uint8), torch.zeros(4, 3)
    for _ in range(2):
        with torch.no_grad():
            before = pupil.act(obs, noise)[2]
        use(pupil, args)
        with torch.no_grad():
            after, expected = pupil.act(obs, noise)[2], pupil.model.act(obs, noise)[2]
        assert torch.equal(after, expected)
        assert not torch.equal(before, after)


def test_a_snapshot_of_another_network_is_a_configuration_error(args):
    payload = payload_of(learner.build(args, num_actions=3), args)
    with pytest.raises(ConfigurationError, match="of another network"):
        snapshot.unpack(payload, learner.build(args, num_actions=4))


def test_the_actor_to_play_with_is_the_one_that_was_saved_in_float32(tmp_path):
    args = tiny_args(tmp_path, device="cpu", bf16=True)
    pupil = learner.build(args, num_actions=3)
    found = snapshot.actor(payload_of(pupil, args))
    assert not found.bf16
    saved = pupil.model.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("damage", [lambda model: model.pop("actor.bias"), lambda model: model.pop("critic.bias")])
def test_an_actor_of_another_network_is_a_configuration_error(args, damage):
    payload = payload_of(learner.build(args, num_actions=3), args)
    state = torch.load(io.BytesIO(payload), weights_only=True)
    damage(state["model"])
    with pytest.raises(ConfigurationError, match="the checkpoint is whole, but of another network"):
        snapshot.actor(snapshot.pack(state))
