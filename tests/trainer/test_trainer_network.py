"""The network: its size, how it begins, what it computes, and how an action is drawn from it."""

import math

import pytest
import torch
from torch.nn import functional

from rltrainer.atari.rules import OBS_SHAPE
from rltrainer.network import ActorCritic, RoundedActor, _sample

FRAMES = torch.randint(0, 256, (32, *OBS_SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
NOISE = torch.rand((32, 6), generator=torch.Generator().manual_seed(4))


def test_it_has_the_layers_of_the_nature_network_and_two_heads():
    shapes = {name: tuple(each.shape) for name, each in ActorCritic(6).named_parameters()}
    assert shapes == {
        "body.0.weight": (32, 4, 8, 8), "body.0.bias": (32,),
        "body.2.weight": (64, 32, 4, 4), "body.2.bias": (64,),
        "body.4.weight": (64, 64, 3, 3), "body.4.bias": (64,),
        "body.7.weight": (512, 3136), "body.7.bias": (512,),
        "actor.weight": (6, 512), "actor.bias": (6,), "critic.weight": (1, 512), "critic.bias": (1,),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("body.0", math.sqrt(2)),
        ("body.2", math.sqrt(2)),
        ("body.4", math.sqrt(2)),
        ("body.7", math.sqrt(2)),
        ("actor", 0.01),
        ("critic", 1.0),
    ],
)
def test_weights_begin_orthogonal_with_cleanrls_gains_and_biases_at_zero(name, gain):
    """The rows of a layer's matrix are at right angles to each other, and as long as its gain."""
    parameters = dict(ActorCritic(6).named_parameters())
    rows = parameters[f"{name}.weight"].detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, gain**2 * torch.eye(len(rows)), atol=1e-5 * gain, rtol=1e-4)
    assert not parameters[f"{name}.bias"].any()


def plainly(model, obs):
    """The network's formula in double precision: pixels from 0 to 1, three convolutions, one layer, two heads."""
    weights = [each.detach().double() for each in model.parameters()]
    hidden = obs.permute(0, 3, 1, 2).double() / 255
    for layer, stride in enumerate((4, 2, 1)):
        hidden = functional.conv2d(hidden, weights[2 * layer], weights[2 * layer + 1], stride=stride).clamp(min=0)
    hidden = (hidden.flatten(1) @ weights[6].T + weights[7]).clamp(min=0)
    logits, values = hidden @ weights[8].T + weights[9], hidden @ weights[10].T + weights[11]
    return logits - logits.logsumexp(1, keepdim=True), values[:, 0]


def test_it_computes_log_probabilities_and_values_by_its_formula():
    """With biases that are not zero, and logits that differ by more than the small weights of a new actor let them."""
    torch.manual_seed(0)
    model = ActorCritic(6)
    with torch.no_grad():
        for each in model.parameters():
            each.add_(torch.randn_like(each) * 0.02)
        model.actor.weight.mul_(20)
        (log_probs, values), (expected, expected_values) = model(FRAMES[:4]), plainly(model, FRAMES[:4])
    assert (log_probs.shape, values.shape) == ((4, 6), (4,))
    assert float(expected.std()) > 0.3
    torch.testing.assert_close(log_probs.double(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(values.double(), expected_values, atol=1e-4, rtol=1e-4)


def test_in_bf16_it_computes_about_what_it_does_in_float32():
    torch.manual_seed(0)
    exact, coarse = ActorCritic(6), ActorCritic(6, bf16=True)
    assert not exact.bf16
    coarse.load_state_dict(exact.state_dict())
    with torch.no_grad():
        (log_probs, values), (coarse_log_probs, coarse_values) = exact(FRAMES[:8]), coarse(FRAMES[:8])
    assert (coarse_log_probs.dtype, coarse_values.dtype) == (torch.float32, torch.float32)
    assert not torch.equal(coarse_values, values)
    torch.testing.assert_close(coarse_log_probs, log_probs, atol=0.02, rtol=0.02)
    torch.testing.assert_close(coarse_values, values, atol=0.05, rtol=0.05)


def test_an_action_is_the_one_with_the_largest_sum_of_log_probability_and_noise():
    """-1.5 + 1.2 = -0.3 beats -0.5 + 0.1; the next step's likeliest keeps its lead; noise is no part of the result."""
    log_probs = torch.tensor([[-0.5, -1.5, -3.0], [-2.0, -3.0, -0.25]])
    noise = torch.tensor([[0.1, 1.2, 0.3], [0.5, -1.0, 0.75]])
    values = torch.tensor([7.0, -8.0])
    actions, chosen, returned = _sample(log_probs, values, noise)
    assert actions.tolist() == [1, 2]
    assert chosen.tolist() == [-1.5, -0.25]
    assert returned.tolist() == [7.0, -8.0]


def test_acting_is_sampling_from_what_the_network_says():
    torch.manual_seed(0)
    model = ActorCritic(6)
    with torch.no_grad():
        actions, log_probs, values = model.act(FRAMES, NOISE)
        expected, expected_values = model(FRAMES)
    assert torch.equal(actions, (expected + NOISE).argmax(1))
    assert torch.equal(log_probs, expected[torch.arange(32), actions])
    assert torch.equal(values, expected_values)
    assert len(set(actions.tolist())) > 2


def test_an_actor_rounded_once_acts_bit_for_bit_as_its_model_and_follows_it():
    torch.manual_seed(0)
    model = ActorCritic(6, bf16=True)
    actor = RoundedActor(model)
    with torch.no_grad():
        first = actor.act(FRAMES, NOISE)
        assert all(map(torch.equal, first, model.act(FRAMES, NOISE)))
        for each in model.parameters():
            each.mul_(1.5)
        actor.forget()
        second = actor.act(FRAMES, NOISE)
        assert all(map(torch.equal, second, model.act(FRAMES, NOISE)))
    assert not torch.equal(first[2], second[2])
