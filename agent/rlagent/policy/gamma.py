"""Quantiles of the Gamma distribution by arithmetic alone: the limits of a crash rate that some hours have shown."""

from __future__ import annotations

import math

Z_16 = -0.994457883
"""The standard normal's 16% quantile."""
Z_84 = -Z_16
_EXACT_BELOW = 12.0
"""Above this shape the approximation alone is within 0.05%."""


def quantile(shape: float, rate: float, z: float) -> float:
    """Return the Gamma quantile at the standard normal score `z`; shape 0.5 or more, rate above 0.

    Wilson and Hilferty (1931), The distribution of chi-square: the cube root of a Gamma variable is nearly normal. For
    small shapes two Newton steps on the series of the incomplete Gamma function (Abramowitz and Stegun 6.5.29) follow.
    """
    x = shape * max(1.0 - 1.0 / (9.0 * shape) + z / (3.0 * math.sqrt(shape)), 0.05) ** 3
    if shape < _EXACT_BELOW:
        wanted = 0.5 * math.erfc(-z / math.sqrt(2.0))
        for _ in range(2):
            x = _newton(shape, x, wanted)
    return x / rate


def _newton(shape: float, x: float, wanted: float) -> float:
    """Return a better x for P(shape, x) = wanted; the step is in log x, where the problem is nearly linear."""
    term = total = 1.0
    k = shape
    while term > 1e-7 * total:
        k += 1.0
        term *= x / k
        total += term
    log_front = shape * math.log(x) - x - math.lgamma(shape + 1.0)
    reached = math.exp(log_front) * total
    # d log P / d log x = shape / total; solved for log P, so that x stays positive.
    step = math.log(wanted / reached) * total / shape
    return x * math.exp(step)
