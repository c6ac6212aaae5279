"""Chance: a function of the seed and the place, with a stream of its own for each purpose."""

import itertools

import numpy as np
import pytest

from rltrainer import chance


def test_noise_is_the_same_at_the_same_place_and_other_elsewhere():
    noise = chance.gumbel(1, 5, (40, 3))
    assert (noise.shape, noise.dtype) == ((40, 3), np.float32)
    assert np.array_equal(noise, chance.gumbel(1, 5, (40, 3)))
    assert not np.array_equal(noise, chance.gumbel(1, 6, (40, 3)))
    assert not np.array_equal(noise, chance.gumbel(2, 5, (40, 3)))


def test_noise_and_log_probabilities_sample_what_the_probabilities_say():
    noise = chance.gumbel(1, 5, (40_000, 3))
    shares = np.bincount((np.log([0.6, 0.3, 0.1]) + noise).argmax(-1)) / 40_000
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.01)


def test_noise_has_the_mean_and_the_deviation_of_a_standard_gumbel_distribution():
    """Euler's constant, and pi over the root of 6."""
    noise = chance.gumbel(3, 0, (100_000,))
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.02)
    assert float(noise.std()) == pytest.approx(1.2825, abs=0.02)


def test_an_order_is_every_place_once_and_other_in_each_epoch_iteration_and_with_each_seed():
    places = list(itertools.product((1, 2), (5, 6), (0, 1)))
    orders = [chance.permutation(*place, 100).tolist() for place in places]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len(set(map(tuple, orders))) == len(places)
    assert orders == [chance.permutation(*place, 100).tolist() for place in places]


def test_no_two_draws_of_a_run_come_from_the_same_stream(monkeypatch):
    """Noise and orders of several seeds, iterations and epochs: each is drawn from a generator that began otherwise.

    A seed sequence ends in endless zeros, so that [1, 2] and [1, 2, 0] are the same; what counts is what comes out.
    """
    begun = []

    class Noting(np.random.SeedSequence):
        def __init__(self, entropy):
            super().__init__(entropy)
            begun.append(tuple(self.generate_state(4).tolist()))

    monkeypatch.setattr(np.random, "SeedSequence", Noting)
    for seed, iteration in itertools.product((0, 1, 2, 3), (0, 1, 2, 3)):
        chance.gumbel(seed, iteration, (2,))
        for epoch in (0, 1, 2, 3):
            chance.permutation(seed, iteration, epoch, 4)
    assert len(begun) == len(set(begun)) == 4 * 4 * 5
