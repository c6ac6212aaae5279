"""The best checkpoint interval, where Young's formula gives round numbers."""

from __future__ import annotations

import pytest

from rlagent.policy.checkpoints import INTERVAL_S_MIN, best_interval_s


@pytest.mark.parametrize(
    ("crashes_per_h", "cost_s", "interval_s"), [(1.0, 2.0, 120.0), (4.0, 2.0, 60.0), (1.0, 0.5, 60.0)]
)
def test_more_crashes_or_cheaper_checkpoints_make_them_more_frequent(crashes_per_h, cost_s, interval_s):
    assert best_interval_s(crashes_per_h, cost_s, 600.0) == interval_s


def test_it_stays_within_its_limits():
    assert best_interval_s(1.0, 2.0, 90.0) == 90.0
    assert best_interval_s(60.0, 0.001, 90.0) == INTERVAL_S_MIN
    assert best_interval_s(60.0, 0.001, 3.0) == 3.0


def test_without_a_crash_it_is_the_longest_and_with_free_checkpoints_the_shortest():
    assert best_interval_s(0.0, 1.0, 90.0) == 90.0
    assert best_interval_s(1.0, -1.0, 90.0) == INTERVAL_S_MIN
