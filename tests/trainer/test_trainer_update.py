"""An update: which steps each gradient learns from, when it stops and goes on, and what it tells."""

import itertools

import pytest
import torch
from torch import Tensor

from rltrainer import learner, ppo
from rltrainer.ppo import Batch, Losses, Update
from trainer_runs import tiny_args

STEPS = 24


def numbered(returns=None, values=None):
    """Steps that carry their number in every field, each field in its own way."""
    number = torch.arange(float(STEPS))
    return Batch(
        obs=number.to(torch.uint8).reshape(STEPS, 1, 1, 1),
        actions=number.long() + 100,
        log_probs=-number,
        values=number * 2 if values is None else values,
        advantages=number * 3,
        returns=number * 5 if returns is None else returns,
    )


class Lessons:
    """A gradient step that only notes what it was given; its losses are these, in every minibatch."""

    def __init__(self, approx_kl=0.0):
        self.seen = []
        self._losses = [float(number) for number in range(1, 6)] + [approx_kl, 7.0]

    def step(self, batch):
        numbers = batch.obs.flatten().tolist()
        assert batch.actions.tolist() == [number + 100 for number in numbers]
        assert batch.log_probs.tolist() == [-number for number in numbers]
        assert batch.values.tolist() == [number * 2 for number in numbers]
        assert batch.advantages.tolist() == [number * 3 for number in numbers]
        assert batch.returns.tolist() == [number * 5 for number in numbers]
        self.seen.append(numbers)
        return Losses(*map(torch.tensor, self._losses))


def sizes(tmp_path, **changes):
    options = {"num_envs": 4, "batch_size": STEPS, "num_minibatches": 4, "update_epochs": 3} | changes
    return tiny_args(tmp_path, **options)


def taught(args, iteration=2, done=0, lessons=None, go_on=lambda: True):
    """The minibatches of an update, its result, and the update."""
    lessons = lessons or Lessons()
    update = Update(numbered(), args, iteration, done)
    return lessons.seen, update.run(lessons.step, go_on, Tensor.cpu), update


def test_each_epoch_learns_once_from_every_step_in_an_order_of_its_own(tmp_path):
    seen, _, update = taught(sizes(tmp_path))
    assert [len(each) for each in seen] == [6] * 12
    assert update.done == 12
    epochs = [list(itertools.chain(*seen[start : start + 4])) for start in (0, 4, 8)]
    assert [sorted(order) for order in epochs] == [list(range(STEPS))] * 3
    assert len({tuple(order) for order in [*epochs, range(STEPS)]}) == 4


def test_the_order_is_another_in_each_iteration_and_with_each_seed(tmp_path):
    orders = [taught(sizes(tmp_path), iteration=iteration)[0] for iteration in (2, 2, 3)]
    assert orders[0] == orders[1] != orders[2]
    assert taught(sizes(tmp_path, seed=4))[0] != orders[0]


@pytest.mark.parametrize("done", [1, 3, 4, 6, 11])
def test_an_update_goes_on_after_the_minibatches_that_are_done(tmp_path, done):
    whole, _, _ = taught(sizes(tmp_path))
    rest, _, update = taught(sizes(tmp_path), done=done)
    assert rest == whole[done:]
    assert update.done == 12


def test_it_is_asked_before_each_minibatch_and_ends_when_told(tmp_path):
    answers = iter([True] * 5 + [False])
    seen, result, update = taught(sizes(tmp_path), go_on=lambda: next(answers))
    assert (len(seen), result, update.done) == (5, None, 5)


@pytest.mark.parametrize(
    ("approx_kl", "target_kl", "expected"), [(0.03, 0.02, 4), (0.02, 0.03, 12), (0.5, None, 12), (0.25, 0.25, 12)]
)
def test_a_policy_that_has_moved_too_far_ends_the_update_with_the_epoch(tmp_path, approx_kl, target_kl, expected):
    seen, result, update = taught(sizes(tmp_path, target_kl=target_kl), lessons=Lessons(approx_kl))
    assert (len(seen), update.done) == (expected, expected)
    assert result["approx_kl"] == pytest.approx(approx_kl)


def test_the_last_minibatchs_losses_are_told_by_their_names(tmp_path):
    """In `Losses` stand total, policy, value, entropy, the two divergences, and the clipped share."""
    _, result, _ = taught(sizes(tmp_path), lessons=Lessons(approx_kl=6.0))
    names = ["value_loss", "policy_loss", "entropy", "old_approx_kl", "approx_kl", "clipfrac", "explained_variance"]
    assert list(result) == names
    assert [result[name] for name in names[:-1]] == [3.0, 2.0, 4.0, 5.0, 6.0, 7.0]


def explained(returns, values):
    batch = ppo.blank_batch(len(returns), torch.device("cpu"))
    batch.returns[:], batch.values[:] = torch.tensor(returns), torch.tensor(values)
    losses = Losses(*[torch.tensor(0.0)] * 7)
    return ppo._named(losses, batch, Tensor.cpu)["explained_variance"]


def test_explained_variance_is_what_the_values_leave_of_the_returns(tmp_path):
    """Returns 1, 2, 3 and 6 have mean 3 and 4 + 1 + 0 + 9 = 14 about it.

    Less values 1, 1, 4 and 5 they are 0, 1, -1 and 1: mean 0.25, and 0.0625 + 0.5625 + 1.5625 + 0.5625 = 2.75 about it.
    """
    assert explained([1.0, 2.0, 3.0, 6.0], [1.0, 1.0, 4.0, 5.0]) == pytest.approx(1 - 2.75 / 14)
    assert explained([1.0, 2.0, 3.0, 6.0], [1.0, 2.0, 3.0, 6.0]) == 1.0
    assert explained([1.0, 2.0], [5.0, -5.0]) == pytest.approx(1 - 60.5 / 0.5), "worse than nothing is below zero"
    assert explained([0.2, 0.2], [5.0, -5.0]) == 0.0, "nothing varies, nothing is explained"


def test_blank_steps_are_those_in_which_nothing_happened():
    """Each field is memory of its own: a CUDA graph is recorded with them, and each is filled with other numbers."""
    blank = ppo.blank_batch(3, torch.device("cpu"))
    fields = vars(blank)
    assert {name: (tuple(each.shape), each.dtype) for name, each in fields.items()} == {
        "obs": ((3, 84, 84, 4), torch.uint8),
        "actions": ((3,), torch.int64),
    } | dict.fromkeys(("log_probs", "values", "advantages", "returns"), ((3,), torch.float32))
    assert all(not each.any() for each in fields.values())
    assert len({each.data_ptr() for each in fields.values()}) == 6


def test_an_update_raises_the_probability_of_a_better_action(tmp_path):
    args = tiny_args(tmp_path, device="cpu", num_envs=8, batch_size=64, update_epochs=4)
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


def test_an_update_that_was_stopped_goes_on_where_it_was(tmp_path):
    """Stopped before each minibatch of two epochs: the parameters are those of an update in one go."""
    args = tiny_args(tmp_path, device="cpu", update_epochs=2, num_minibatches=4, bf16=False)
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


def test_an_update_that_is_told_to_stop_at_once_learns_nothing(tmp_path):
    args = tiny_args(tmp_path, device="cpu")
    pupil = learner.build(args, num_actions=3)
    before = {name: value.clone() for name, value in pupil.model.state_dict().items()}
    batch = ppo.blank_batch(64, torch.device("cpu"))
    assert Update(batch, args, iteration=0).run(pupil.step, lambda: False, pupil.fetch) is None
    assert all(torch.equal(before[name], value) for name, value in pupil.model.state_dict().items())
