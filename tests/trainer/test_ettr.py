"""The arithmetic of tests/bench/recovery.py: what faults leave of an hour."""

import itertools
import statistics

import pytest

from contenders import ettr

SAVES = ettr.Trainer(first_s=5.0, interval_s=20.0, cost_s=0.5)


def test_the_bound_is_the_issues_formula():
    assert ettr.bound(3, 20.0, 0.5, 1.0, 4.0) == pytest.approx(1 - 3 * (10 + 1 + 4) / 3600 - 0.025)
    assert ettr.bound(0, 20.0, 0.0, 1.0, 4.0) == 1.0


def test_a_checkpoints_cost_is_the_inverse_of_its_best_interval():
    assert ettr.cost_s((2 * 0.05 * 3600) ** 0.5, 3600) == pytest.approx(0.05)


def test_fault_times_are_a_poisson_process_and_the_same_for_everybody():
    times = ettr.fault_times(12, 2000, seed=1)
    assert times == ettr.fault_times(12, 2000, seed=1)
    assert len(times) / 2000 == pytest.approx(12, rel=0.02)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert statistics.stdev(gaps) == pytest.approx(300, rel=0.05)


@pytest.mark.parametrize(
    ("ran", "saved", "spent"), [(4.9, 0, 0), (5, 5, 0.5), (24.9, 5, 0.5), (25, 25, 1.0), (50, 45, 1.5)]
)
def test_what_is_saved_and_spent_of_a_stretch_of_training(ran, saved, spent):
    assert (SAVES.saved(ran), SAVES.spent(ran)) == (saved, spent)


def test_one_fault_costs_its_restart_and_the_work_since_the_last_checkpoint():
    outcome = ettr.live(1, [1000.0], ettr.Trainer(5, 20, 0), lambda *_: 3.0)
    assert outcome.lost_s == 15.0  # saved at 985
    assert outcome.down_s == 3.0
    assert outcome.ettr == pytest.approx(1 - 18 / 3600)


def test_a_fault_that_hits_a_start_begins_it_anew():
    outcome = ettr.live(1, [1005.0, 1007.0], ettr.Trainer(5, 20, 0), lambda _number, _at, ran: 3.0 if ran else 10.0)
    assert outcome.down_s * 2 == 12.0  # from 1005 to 1017
    assert outcome.ettr == pytest.approx(1 - 12 / 3600)


def test_many_faults_come_to_the_bound():
    """As faults hit all phases of an interval alike; but for faults in a row, which the bound does not know."""
    times = ettr.fault_times(1, 20_000, seed=3)
    outcome = ettr.live(20_000, times, ettr.Trainer(20, 20, 0.05), lambda *_: 3.0)
    assert outcome.ettr == pytest.approx(ettr.bound(1, 20, 0.05, 0, 3.0), abs=0.0002)
