"""What is believed of each mode, in numbers worked out by hand."""

from __future__ import annotations

import pytest

from policy_days import AFTERNOON, MORNING, swinging
from policy_driver import rules
from rlagent.policy.belief import Belief, beliefs, break_even, told
from rlagent.policy.evidence import Evidence, ModeEvidence

THREE = rules(modes=(("light", 2), ("medium", 4), ("large", 6)))


def believed(*known, rules=THREE, hour=0):
    return beliefs(Evidence(modes=known), rules, 0.0, hour)


def one(**fields):
    """A belief made up, as far as the break-even rate asks for it."""
    made_up = {"mode": "m", "tried": True, "measured": True, "rate": 1.0, "rate_low": 0.5, "shape": 1.0}
    costs = {"restart_s": 0.0, "lost_s": 0.0, "goodput": 0.0, "score": 0.0, "spread_h": 1.0}
    return Belief(**{**made_up, **costs, **fields})


def test_rate_goodput_and_score_of_a_mode_that_is_known():
    """With the prior 4.5 crashes in 10 h: 0.45 an hour, and 0.2467 as the 16% quantile that scipy gives.

    A crash takes 80 s: the guess of 180 s and two that took 120 s make 100 s each, which weigh as much as the two.
    """
    known = ModeEvidence(mode="light", speed=1000.0, hours=9.5, incidents=4.0, restarts=2.0, down_s=120.0)
    light = believed(known, rules=rules(checkpoint_interval_s=90.0, crash_price_s=100.0))[0]
    assert light.rate == pytest.approx(0.45)
    assert light.rate_low == pytest.approx(0.246714, rel=2e-3)
    assert (light.restart_s, light.lost_s) == (80.0, 45.0)
    assert light.goodput == pytest.approx(1000 * (1 - 0.005625) / (1 + 0.01))
    assert light.score == pytest.approx(1000 * (1 - 0.003084) / (1 + 0.012336), rel=1e-5)


def test_a_mode_without_a_restart_of_its_own_is_taken_to_restart_like_the_others():
    light = ModeEvidence(mode="light", restarts=2.0, down_s=120.0)
    medium = ModeEvidence(mode="medium", restarts=1.0, down_s=900.0)
    assert [belief.restart_s for belief in believed(light, medium)] == [180.0, 500.0, 300.0]


def test_before_any_restart_a_crash_is_taken_for_three_minutes():
    assert [belief.restart_s for belief in believed()] == [180.0] * 3


def test_a_mode_that_was_not_measured_is_taken_for_twice_as_fast_as_the_one_below():
    medium = ModeEvidence(mode="medium", speed=1500.0)
    assert [belief.speed for belief in believed(medium)] == [2.0, 1500.0, 3000.0]


@pytest.mark.parametrize(("speed", "measured"), [(0.0, False), (0.5, True)])
def test_the_slowest_speed_that_was_measured_is_one(speed, measured):
    assert believed(ModeEvidence(mode="light", speed=speed, incidents=1.0))[0].measured is measured


@pytest.mark.parametrize(("hour", "rate"), [(MORNING, 0.45 * 4.5), (AFTERNOON, 0.45 / 2)])
def test_the_rate_is_that_of_the_hour_of_day(hour, rate):
    light = believed(swinging(hours=9.5, incidents=4.0), hour=hour)[0]
    assert light.rate == pytest.approx(rate)
    assert light.rate_low == pytest.approx(rate * 0.246714 / 0.45, rel=2e-3)


def test_an_old_daily_pattern_counts_half_after_its_half_life():
    """Of 16 crashes seen where 2 were expected 8 and 1 are left: (2 + 8) / (2 + 1); the sums fade faster."""
    keep = 0.5 ** (168 / 30)
    light = beliefs(Evidence(modes=(swinging(hours=9.5, incidents=4.0),)), THREE, 168 * 3600.0, MORNING)[0]
    assert light.rate == pytest.approx((0.5 + 4.0 * keep) / (0.5 + 9.5 * keep) * 10 / 3)


def test_a_crash_costs_what_it_loses_of_the_fast_mode_and_what_the_slow_one_would_make_meanwhile():
    """200 s of 1,000 steps/s and 300 s of 500 steps/s are 350,000 steps; the gain is 500 steps/s, 1,800,000 an hour."""
    fast = one(speed=1000.0, lost_s=200.0, restart_s=180.0)
    assert break_even(fast, one(speed=600.0, goodput=500.0), 120.0) == pytest.approx(1_800_000 / 350_000)


@pytest.mark.parametrize("gain", [0.0, -100.0])
def test_a_mode_that_is_no_faster_never_pays(gain):
    fast = one(speed=500.0 + gain, lost_s=45.0, restart_s=60.0)
    assert break_even(fast, one(speed=500.0, goodput=500.0), 0.0) is None


def test_a_crash_that_costs_nothing_has_no_break_even_rate():
    assert break_even(one(speed=1000.0, restart_s=60.0), one(speed=500.0, goodput=0.0), 0.0) is None


def test_half_a_step_a_second_more_pays_below_a_rate_as_well():
    """A crash loses 90 s of 1 step/s: 90 steps; the gain is 1,800 steps an hour."""
    assert break_even(one(speed=1.0, lost_s=90.0), one(speed=0.5, goodput=0.5), 0.0) == pytest.approx(20.0)


def test_a_mode_is_told_in_numbers():
    light, medium, large = believed(
        ModeEvidence(mode="light", speed=1000.0, hours=9.5, incidents=4.0), ModeEvidence(mode="medium", incidents=1.0)
    )
    assert told(light) == "light: 972 useful of 1,000 steps/s at 0.45 crashes/h (0.25 to 0.65)"
    assert told(medium) == "medium: speed not measured, 3.0 crashes/h (0.84 to 5.2)"
    assert told(large) == "large: nothing measured yet"
