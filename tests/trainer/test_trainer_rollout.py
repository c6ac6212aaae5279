"""Filling a rollout: what is seen, decided and earned stands in its place, whatever the groups, also after a stop."""

import pytest
import torch
from torch import Tensor

from rltrainer.envs import Episode
from rltrainer.rollout import Player, Rollout
from trainer_doubles import ACTIONS, ENVS, STEPS, NumberedEnvs, act
from trainer_runs import tiny_args


def noise(iteration=0):
    return torch.randn((STEPS, ENVS, ACTIONS), generator=torch.Generator().manual_seed(iteration))


def rollout(tmp_path):
    return Rollout(tiny_args(tmp_path, num_envs=ENVS, batch_size=ENVS * STEPS), torch.device("cpu"))


def expected(first=0):
    """What a full rollout of `NumberedEnvs` holds that had played so many steps before, [STEPS, ENVS]."""
    t, env = torch.arange(STEPS)[:, None] + first, torch.arange(ENVS)[None]
    number = (env * 20 + t).float()
    return {
        "obs": number,
        "log_probs": -number,
        "values": number * 3,
        "rewards": (env * 100 + t + 1).float(),
        "dones": ((t + 1) % 3 == env % 3).float(),
    }


def held(played):
    return {name: getattr(played, name) for name in ("log_probs", "values", "rewards", "dones")} | {
        "obs": played.obs[:, :, 8, 2, 3].float()
    }


@pytest.mark.parametrize("num_groups", [1, 2, 3])
def test_two_rollouts_hold_every_step_of_every_environment_in_its_place(tmp_path, num_groups):
    envs, played, counted = NumberedEnvs(num_groups), rollout(tmp_path), []
    player = Player(act, Tensor.cpu, envs, lambda episodes: counted.append(episodes) or True)
    for number in (0, 1):
        played.filled = 0
        assert player.play(played, noise(number)) is True
        assert (played.filled, envs.under_way) == (STEPS, set())
        assert {name: each.tolist() for name, each in held(played).items()} == {
            name: each.tolist() for name, each in expected(STEPS * number).items()
        }
        assert torch.equal(played.actions, noise(number).argmax(-1))
    chosen = torch.cat([noise(0), noise(1)]).argmax(-1)
    assert envs.actions == chosen.T.tolist(), "what was noted is what the games were told"
    assert counted == [[Episode(float(env), t) for env in range(ENVS)] for t in range(1, 2 * STEPS + 1)]


@pytest.mark.parametrize(("num_groups", "finished"), [(1, 2), (2, 3), (3, 3)])
def test_a_stop_ends_a_rollout_after_the_step_and_the_next_call_goes_on_from_there(tmp_path, num_groups, finished):
    """Told to stop after the second step; where other groups have begun their third, it is played by all."""
    envs, played, asked = NumberedEnvs(num_groups), rollout(tmp_path), []
    player = Player(act, Tensor.cpu, envs, lambda _: asked.append(1) or len(asked) != 2)
    assert player.play(played, noise()) is False
    assert (played.filled, envs.under_way, len(asked)) == (finished, set(), finished)
    assert envs.played.tolist() == [finished] * ENVS
    assert player.play(played, noise()) is True
    assert (played.filled, len(asked), envs.under_way) == (STEPS, STEPS, set())
    for name, each in held(played).items():
        assert each.tolist() == expected()[name].tolist(), name
    assert torch.equal(played.actions, noise().argmax(-1))
    assert envs.actions == noise().argmax(-1).T.tolist()


@pytest.mark.parametrize("num_groups", [1, 2])
def test_a_stop_after_the_last_step_is_a_stop_and_a_full_rollout_is_not_played(tmp_path, num_groups):
    envs, played = NumberedEnvs(num_groups), rollout(tmp_path)
    assert Player(act, Tensor.cpu, envs, lambda _: int(envs.played.min()) < STEPS).play(played, noise()) is False
    assert (played.filled, envs.under_way) == (STEPS, set())
    assert Player(act, Tensor.cpu, envs, lambda _: False).play(played, noise()) is True
    assert envs.played.tolist() == [STEPS] * ENVS


@pytest.mark.parametrize("num_groups", [1, 3])
def test_what_follows_a_rollout_is_valued_by_the_frames_after_its_last_step(tmp_path, num_groups):
    envs, played = NumberedEnvs(num_groups), rollout(tmp_path)
    player = Player(act, Tensor.cpu, envs, lambda _: True)
    player.play(played, noise())
    player.look_ahead(played, noise())
    assert played.next_value.tolist() == [3.0 * (env * 20 + STEPS) for env in range(ENVS)]
    assert envs.actions == noise().argmax(-1).T.tolist(), "nothing more is played"


def test_no_gradient_is_kept_of_what_was_played(tmp_path):
    weight = torch.ones((), requires_grad=True)

    def learning(obs, noise):
        actions, log_probs, values = act(obs, noise)
        return actions, log_probs * weight, values * weight

    envs, played = NumberedEnvs(2), rollout(tmp_path)
    player = Player(learning, Tensor.cpu, envs, lambda _: True)
    player.play(played, noise())
    player.look_ahead(played, noise())
    assert not any(each.requires_grad for each in played.tensors().values())


def test_what_was_played_so_far_is_taken_out_and_put_back(tmp_path):
    """Three of four steps, each field with numbers of its own; what was never played is not in it."""
    one, other = rollout(tmp_path), rollout(tmp_path)
    chance = torch.Generator().manual_seed(1)
    for name in ("log_probs", "values", "rewards", "dones", "next_value"):
        getattr(one, name).normal_(generator=chance)
    one.obs.random_(0, 256, generator=chance)
    one.actions.random_(0, 9, generator=chance)
    one.filled = 3
    taken = one.tensors()
    assert list(taken) == ["obs", "actions", "log_probs", "values", "rewards", "dones", "next_value"]
    assert {len(each) for name, each in taken.items() if name != "next_value"} == {3}
    other.fill(taken)
    assert other.filled == 3
    for name, each in other.tensors().items():
        assert torch.equal(each, taken[name]), name
        assert name == "next_value" or not getattr(other, name)[3:].any(), name


def test_a_new_rollout_is_empty_and_as_long_as_the_batch_allows(tmp_path):
    empty = rollout(tmp_path)
    assert empty.filled == 0
    shapes = {name: (tuple(each.shape), each.dtype) for name, each in vars(empty).items() if name != "filled"}
    line = ((STEPS, ENVS), torch.float32)
    assert shapes == {
        "obs": ((STEPS, ENVS, 84, 84, 4), torch.uint8), "actions": ((STEPS, ENVS), torch.int64), "log_probs": line,
        "values": line, "rewards": line, "dones": line, "next_value": ((ENVS,), torch.float32),
    }  # fmt: skip
    assert not any(each.any() for each in vars(empty).values() if isinstance(each, Tensor))
