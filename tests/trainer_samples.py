"""Parameters of the trainer's long tests: a choice in every run, everything in soak."""

from __future__ import annotations

import pytest

import soak


def sampled(values, count, always=()):
    """Parameters of a test: in every run `always` and the day's choice of so many others, in soak all, a tenth each."""
    drawn = soak.drawn([value for value in values if value not in always], count)
    every_run = [pytest.param(value, id=f"sample-{value}") for value in (*always, *drawn)]
    tenths = [soak.tenth(number % soak.TENTHS + 1) for number in range(len(values))]
    return every_run + [
        pytest.param(value, id=f"soak-{value}", marks=mark) for value, mark in zip(values, tenths, strict=True)
    ]
