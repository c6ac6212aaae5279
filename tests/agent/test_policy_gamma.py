"""The Gamma quantile against scipy 1.17.1's `gamma.ppf(norm.cdf(z), shape)`, written down here."""

from __future__ import annotations

import pytest

from rlagent.policy import gamma

SCIPY = [
    (0.5, 0.0203804885, 0.987113045),
    (0.7, 0.0661239141, 1.34315875),
    (1.0, 0.174353387, 1.83258146),
    (1.5, 0.419745152, 2.58327466),
    (2.5, 1.03278438, 3.96620673),
    (4.5, 2.46713521, 6.5289926),
    (8.0, 5.24341221, 10.7511601),
    (11.5, 8.17368385, 14.820289),
    (12.5, 9.0280497, 15.9658142),
    (30.0, 24.5800419, 35.4130983),
    (100.0, 90.0684218, 109.924361),
    (1000.0, 968.554055, 1031.43859),
]


@pytest.mark.parametrize(("shape", "low", "high"), SCIPY)
def test_quantiles_are_scipys(shape, low, high):
    assert gamma.quantile(shape, 1.0, gamma.Z_16) == pytest.approx(low, rel=2e-3)
    assert gamma.quantile(shape, 1.0, gamma.Z_84) == pytest.approx(high, rel=2e-3)


def test_the_rate_scales():
    assert gamma.quantile(4.5, 3.0, gamma.Z_16) == pytest.approx(2.46713521 / 3.0, rel=2e-3)
