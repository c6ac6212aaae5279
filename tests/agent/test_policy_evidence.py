"""What is kept of each mode, in numbers worked out by hand: sums, blocks, change, the hour of day, and speed."""

from __future__ import annotations

import math

import pytest

from policy_days import AFTERNOON, MORNING, swinging
from rlagent.policy.evidence import (
    Evidence,
    ModeEvidence,
    daily_factor,
    faded,
    with_incident,
    with_restart,
    with_speed,
    with_time,
)

HOUR_S = 3600.0


def at_hours(values: dict[int, float]) -> tuple[float, ...]:
    return tuple(values.get(hour, 0.0) for hour in range(24))


@pytest.mark.parametrize(
    ("known", "seen"),
    [
        ({}, False),
        ({"hours": 5.0, "restarts": 1.0}, False),
        ({"speed": 0.5}, True),
        ({"incidents": 0.5}, True),
    ],
)
def test_a_mode_is_seen_once_it_has_a_speed_or_has_crashed(known, seen):
    assert ModeEvidence(mode="m", **known).seen is seen


def test_a_mode_of_which_nothing_is_known_is_known_by_its_name():
    light = ModeEvidence(mode="light", hours=1.0)
    evidence = Evidence(modes=(light,), review_at=7.0)
    assert (evidence.of("light"), evidence.of("medium")) == (light, ModeEvidence(mode="medium"))


def test_new_evidence_of_a_mode_replaces_its_own_and_leaves_the_others():
    light, medium, more = (ModeEvidence(mode=mode, hours=hours) for mode, hours in (("a", 1.0), ("b", 2.0), ("a", 3.0)))
    evidence = Evidence(modes=(light, medium), review_at=7.0).but(more)
    assert (evidence.of("a"), evidence.of("b"), len(evidence.modes), evidence.review_at) == (more, medium, 2, 7.0)


def test_after_thirty_hours_sums_count_half_and_after_a_week_those_by_hour_of_day():
    known = ModeEvidence(
        mode="m",
        at=100.0,
        hours=8.0,
        incidents=6.0,
        restarts=4.0,
        down_s=600.0,
        block_hours=1.0,
        block_incidents=2.0,
        last_hours=1.6,
        last_incidents=3.0,
        speed=1000.0,
        speed_weight=5.0,
        daily_hours=(1.0,) * 24,
        daily_incidents=(2.0,) * 24,
        daily_gain=3.0,
    )
    later = faded(known, 100.0 + 30 * HOUR_S)
    assert later.at == 100.0 + 30 * HOUR_S
    assert (later.hours, later.incidents, later.restarts, later.down_s) == (4.0, 3.0, 2.0, 300.0)
    for kept in ("block_hours", "block_incidents", "last_hours", "last_incidents", "speed", "speed_weight"):
        assert getattr(later, kept) == getattr(known, kept)
    assert later.daily_gain == 3.0
    week = faded(known, 100.0 + 168 * HOUR_S)
    assert (week.daily_hours, week.daily_incidents) == ((0.5,) * 24, (1.0,) * 24)


def test_half_a_second_fades_a_little():
    later = faded(ModeEvidence(mode="m", at=100.0, hours=8.0), 100.5)
    assert later.at == 100.5
    assert 7.99 < later.hours < 8.0


@pytest.mark.parametrize("t", [100.0, 99.0])
def test_evidence_of_this_moment_or_of_a_later_one_is_taken_as_it_is(t):
    known = ModeEvidence(mode="m", at=100.0, hours=8.0)
    assert faded(known, t) is known


def test_time_is_added_to_its_sums_its_block_and_its_hour_of_day():
    known = ModeEvidence(mode="m", hours=2.0, block_hours=0.25, block_incidents=1.0, daily_hours=at_hours({5: 1.0}))
    more = with_time(known, 0.0, 0.5 * HOUR_S, 5)
    assert (more.hours, more.block_hours, more.block_incidents) == (2.5, 0.75, 1.0)
    assert more.daily_hours == at_hours({5: 1.5})
    assert (more.incidents, more.last_hours, more.daily_gain) == (0.0, 0.0, 0.0)


def test_the_first_time_of_a_mode_begins_its_hours_of_day():
    more = with_time(ModeEvidence(mode="m"), 0.0, 0.5 * HOUR_S, 23)
    assert (more.hours, more.daily_hours) == (0.5, at_hours({23: 0.5}))


@pytest.mark.parametrize(
    ("minutes", "block", "last"), [(30.0, (1.5, 2.0), (9.0, 9.0)), (31.0, (0.0, 0.0), (1.5167, 2.0))]
)
def test_a_block_longer_than_an_hour_and_a_half_becomes_the_last_one(minutes, block, last):
    known = ModeEvidence(
        mode="m", block_hours=1.0, block_incidents=2.0, last_hours=9.0, last_incidents=9.0, incidents=11.0, hours=10.0
    )
    more = with_time(known, 0.0, minutes * 60.0, 0)
    assert (more.block_hours, more.block_incidents) == block
    assert (more.last_hours, more.last_incidents) == pytest.approx(last, abs=1e-4)


def test_time_counts_from_when_its_evidence_was_last_faded():
    known = ModeEvidence(mode="m", hours=8.0, incidents=6.0, restarts=4.0, down_s=600.0)
    t = 30 * HOUR_S
    assert with_time(known, t, HOUR_S, 0).hours == 4.0 + 1.0
    assert with_incident(known, t, 0).incidents == 3.0 + 1.0
    restarted = with_restart(known, t, 100.0)
    assert (restarted.restarts, restarted.down_s) == (2.0 + 1.0, 300.0 + 100.0)
    assert [more.at for more in (with_time(known, t, HOUR_S, 0), with_incident(known, t, 0), restarted)] == [t] * 3


def test_a_crash_is_added_to_its_sums_its_block_and_its_hour_of_day():
    known = ModeEvidence(mode="m", incidents=2.0, block_incidents=1.0, daily_incidents=at_hours({7: 1.0}))
    more = with_incident(known, 0.0, 7)
    assert (more.incidents, more.block_incidents, more.daily_incidents) == (3.0, 2.0, at_hours({7: 2.0}))
    assert (more.hours, more.last_incidents, more.daily_gain) == (0.0, 0.0, 0.0)


def test_an_hour_in_which_crashes_are_usual_counts_for_more():
    known = swinging(hours=2.0)
    assert with_time(known, 0.0, 0.1 * HOUR_S, MORNING).hours == pytest.approx(2.45)
    assert with_time(known, 0.0, 0.1 * HOUR_S, MORNING).block_hours == pytest.approx(0.45)
    assert with_time(known, 0.0, 0.1 * HOUR_S, AFTERNOON).hours == pytest.approx(2.05)
    assert with_time(known, 0.0, HOUR_S, MORNING).last_hours == pytest.approx(4.5)


def test_the_first_speed_is_taken_and_the_next_ones_make_a_mean():
    known = ModeEvidence(mode="m")
    for speed, mean in ((1000.0, 1000.0), (1300.0, 1150.0), (850.0, 1050.0)):
        known = with_speed(known, speed)
        assert known.speed == pytest.approx(mean)
    assert known.speed_weight == 3.0


@pytest.mark.parametrize(("wild", "mean"), [(9000.0, 1250.0), (10.0, 875.0), (2000.0, 1250.0), (500.0, 875.0)])
def test_a_speed_more_than_twice_off_counts_as_one_that_is_twice_off(wild, mean):
    known = ModeEvidence(mode="m", speed=1000.0, speed_weight=3.0)
    assert with_speed(known, wild).speed == pytest.approx(mean)


def test_a_slow_speed_is_clamped_as_well():
    known = ModeEvidence(mode="m", speed=0.5, speed_weight=1.0)
    assert with_speed(known, 100.0).speed == pytest.approx(0.75)


def test_a_speed_is_the_mean_of_about_sixty():
    known = ModeEvidence(mode="m", speed=1000.0, speed_weight=60.0)
    more = with_speed(known, 1600.0)
    assert (more.speed, more.speed_weight) == (1010.0, 60.0)


UNEVEN = {
    "daily_hours": tuple({3: 16.0, 4: 4.0}.get(hour, 10.0) for hour in range(24)),
    "daily_incidents": at_hours({2: 6.0, 3: 8.0, 4: 10.0}),
}
"""240 hours and 24 crashes again."""


@pytest.mark.parametrize(
    ("hour", "factor"),
    [
        # 8 and half of 6 and 10 were seen; 0.1 an hour in 16 hours and half of 10 and 4.
        (3, (2 + 16) / (2 + 2.3)),
        # 6 and half of 8; 10 hours and half of 10 and 16.
        (2, (2 + 10) / (2 + 2.3)),
        # Half of 10; 10 hours and half of 4 and 10.
        (5, (2 + 5) / (2 + 1.7)),
        (14, 2 / 4),
    ],
)
def test_an_hours_factor_takes_half_of_its_neighbours(hour, factor):
    assert daily_factor(swinging(**UNEVEN), hour) == pytest.approx(factor)


@pytest.mark.parametrize(("hour", "seen"), [(22, 4), (23, 12), (0, 16), (1, 12), (2, 4)])
def test_the_hours_before_and_after_midnight_are_neighbours(hour, seen):
    known = swinging(daily_incidents=at_hours({23: 8.0, 0: 8.0, 1: 8.0}))
    assert daily_factor(known, hour) == pytest.approx((2 + seen) / 4)


@pytest.mark.parametrize(("gain", "used"), [(3.99, False), (4.0, True)])
def test_the_pattern_is_used_once_it_has_proved_itself(gain, used):
    assert (daily_factor(swinging(daily_gain=gain), MORNING) != 1.0) is used


@pytest.mark.parametrize(("crashes", "used"), [(7.9, False), (8.0, True)])
def test_fewer_than_eight_crashes_say_nothing_about_the_time_of_day(crashes, used):
    known = swinging(daily_incidents=at_hours({MORNING: crashes}))
    assert (daily_factor(known, MORNING) != 1.0) is used


@pytest.mark.parametrize(("hours", "used"), [(0.0, False), (0.5, True)])
def test_a_mode_that_never_made_progress_has_no_pattern(hours, used):
    known = swinging(daily_hours=at_hours({MORNING: hours}))
    assert (daily_factor(known, MORNING) != 1.0) is used


def test_the_record_of_the_pattern_is_how_much_better_than_none_it_foretold():
    """A Poisson count's log likelihood: a crash earns log(factor), an hour costs (factor - 1) times the mean of 0.1."""
    known = swinging(daily_gain=1.0)
    assert with_incident(known, 0.0, MORNING).daily_gain == pytest.approx(1.0 + math.log(4.5))
    assert with_incident(known, 0.0, AFTERNOON).daily_gain == pytest.approx(1.0 - math.log(2.0))
    assert with_time(known, 0.0, 2 * HOUR_S, MORNING).daily_gain == pytest.approx(1.0 - 3.5 * 0.1 * 2)
    assert with_time(known, 0.0, 2 * HOUR_S, AFTERNOON).daily_gain == pytest.approx(1.0 + 0.5 * 0.1 * 2)


def test_no_more_than_so_much_of_a_record_is_kept():
    assert with_incident(swinging(daily_gain=29.0), 0.0, MORNING).daily_gain == 30.0
    assert with_incident(swinging(daily_gain=-29.9), 0.0, AFTERNOON).daily_gain == -30.0


def contradicting(recent: float, **changes) -> ModeEvidence:
    """A crash that makes so many recent ones, in four hours; 3.5 older hours had 0.375.

    With the prior those are 0.875 in 4 h: as many are expected of the 4 recent hours. The variance is twice that, for
    the rate is known from no longer, and a half: 2.25. Three sigma are 4.5 crashes more: 5.375.
    """
    block = {"block_hours": 2.5, "last_hours": 1.5, "block_incidents": recent - 1.0 - 0.25, "last_incidents": 0.25}
    sums = {"hours": 7.5, "incidents": recent - 1.0 + 0.375}
    return with_incident(ModeEvidence(**{"mode": "m", **block, **sums, **changes}), 0.0, 0)


def test_three_sigma_are_not_enough_to_replace_older_evidence():
    known = contradicting(5.375)
    assert (known.hours, known.incidents) == (7.5, 5.75)


def test_more_than_three_sigma_replace_older_evidence_by_the_last_two_blocks():
    known = contradicting(5.375 + 2**-20)
    assert (known.hours, known.incidents) == (4.0, 5.375 + 2**-20)
    assert (known.block_hours, known.last_hours, known.last_incidents) == (2.5, 1.5, 0.25)


def test_time_without_a_crash_contradicts_as_well():
    """20 crashes an hour for 10 hours, then 3 hours without: 60 were to be expected."""
    known = ModeEvidence(mode="m", hours=12.5, incidents=200.0, last_hours=1.5, block_hours=1.0)
    more = with_time(known, 0.0, 0.5 * HOUR_S, 0)
    assert (more.hours, more.incidents) == (3.0, 0.0)


@pytest.mark.parametrize(("hours", "kept"), [(4.9, 4.9), (5.0, 4.0)])
def test_less_than_an_older_hour_is_kept_whatever_it_says(hours, kept):
    assert contradicting(100.0, hours=hours).hours == kept


def test_recent_crashes_that_were_faded_meanwhile_leave_no_debt():
    """The sums fade, the blocks do not: fewer crashes than the blocks hold are none before them, not less than none."""
    assert contradicting(5.0, incidents=3.0).hours == 4.0
    assert contradicting(4.0, incidents=2.0).hours == 7.5
