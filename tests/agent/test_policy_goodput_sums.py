"""What the goodput policy takes from events into its evidence, second by second, and when it reviews."""

from __future__ import annotations

import msgspec
import pytest

from policy_driver import WALL, Host, rules
from rlagent.policy import events as ev
from rlagent.policy.goodput import hour_of

HOUR = int(WALL // 3600) % 24
"""The driver's hosts begin on the hour: 08:00 UTC."""


@pytest.fixture
def host():
    """Two games in light, progressing since 0; the ladder rules and never promotes: the sums are the same for both."""
    return Host(rules(stable_s=1e9)).up()


def light(host):
    return host.state.evidence.of("light")


def around(value):
    """Sums fade a little within these minutes."""
    return pytest.approx(value, rel=0.02)


def test_time_counts_while_every_trainer_takes_steps(host):
    host.stall("A", at=360)
    assert light(host).hours == around(0.1)
    assert light(host).daily_hours[HOUR] == around(0.1)
    assert host.state.evidence.since is None
    host.progress("A", at=600)
    assert host.state.evidence.since == 600
    host.stall("A", at=780)
    assert light(host).hours == around(0.15)


def test_no_time_is_no_evidence(host):
    host.stall("A", at=0)
    assert host.state.evidence.modes == ()
    host.progress("A", at=10)
    host.stall("A", at=10.5)
    assert light(host).hours == around(0.5 / 3600)


def test_time_is_looked_at_every_fifteen_minutes(host):
    host.tick(899)
    assert (host.state.evidence.since, host.state.evidence.review_at) == (0, 900)
    host.tick(900)
    assert (host.state.evidence.since, host.state.evidence.review_at) == (900, 1800)
    assert light(host).hours == around(0.25)


def test_a_review_while_nothing_makes_progress_begins_no_time(host):
    host.stall("A", at=360)
    host.tick(900)
    assert (host.state.evidence.since, host.state.evidence.review_at) == (None, 1800)
    assert light(host).hours == around(0.1)


def test_an_incident_ends_the_time_and_is_reviewed_at_once(host):
    host.crash("A", at=360)
    known, evidence = light(host), host.state.evidence
    assert (known.hours, known.incidents, known.daily_incidents[HOUR]) == (around(0.1), 1.0, 1.0)
    assert (evidence.since, evidence.down_since, evidence.incident, evidence.review_at) == (None, 360, False, 1260)


def test_crashes_and_time_belong_to_their_hour_of_day(host):
    host.tick(3600)
    host.crash("A", at=3700)
    known = light(host)
    assert [hour for hour in range(24) if known.daily_incidents[hour]] == [HOUR + 1]
    host.restart("A", at=3710)
    host.stall("A", at=2 * 3600)
    assert light(host).daily_hours[HOUR + 2] == around((7200 - 3710) / 3600)


def test_the_downtime_of_an_incident_lasts_until_every_trainer_takes_steps_again(host):
    host.crash("A", at=360)
    host.tick(380)
    host.progress("A", at=460)
    known = light(host)
    assert (known.restarts, known.down_s) == (1.0, 100.0)
    assert (host.state.evidence.down_since, host.state.evidence.since) == (None, 460)


def test_a_second_incident_before_the_first_is_over_ends_its_downtime(host):
    host.crash("A", at=100)
    host.crash("B", at=200)
    assert (light(host).incidents, light(host).restarts, light(host).down_s) == (around(2.0), 1.0, 100.0)
    assert host.state.evidence.down_since == 200
    host.recover(at=230)
    assert (light(host).restarts, light(host).down_s) == (around(2.0), around(130.0))


def test_an_incident_that_ends_because_trainers_are_stopped_has_no_downtime(host):
    host.crash("A", at=100)
    host.stop(at=150)
    host.settle_drain(at=160)
    assert (host.state.incident_open, host.state.evidence.down_since) == (False, None)
    assert light(host).restarts == 0.0


@pytest.mark.parametrize(("seen_at", "reboot_at", "down_since"), [(360, 1000, 390), (360, 370, 370), (360, 360, 360)])
def test_trainers_are_taken_to_have_gone_on_for_half_a_minute_before_a_reboot(host, seen_at, reboot_at, down_since):
    host.tick(seen_at)
    host.reboot(at=reboot_at)
    assert light(host).hours == around(down_since / 3600)
    assert host.state.evidence.down_since == down_since
    host.recover(at=reboot_at + 100)
    assert light(host).down_s == around(reboot_at + 100 - down_since)


def test_an_agent_restart_ends_the_time_and_is_no_incident(host):
    host.tick(360)
    host.agent_restarts(at=1000)
    assert (light(host).hours, light(host).incidents) == (around(390 / 3600), 0.0)
    assert (host.state.evidence.since, host.state.evidence.down_since) == (None, None)


def test_a_mode_change_ends_the_time_of_the_old_mode():
    host = Host(rules(stable_s=360.0)).up()
    host.tick(360)
    assert host.state.transition.to == "medium"
    assert (light(host).hours, host.state.evidence.since) == (around(0.1), None)
    host.settle_drain(at=400)
    assert host.state.evidence.since == 400
    host.stall("A", at=760)
    assert host.state.evidence.of("medium").hours == around(0.1)
    assert light(host).hours == around(0.1)


def test_a_crash_while_a_mode_drains_is_one_of_that_mode():
    host = Host(rules(stable_s=360.0)).up()
    host.tick(360)
    host.reboot(at=370)
    assert host.state.mode == "medium"
    assert (light(host).incidents, host.state.evidence.of("medium").incidents) == (1.0, 0.0)
    host.recover(at=400)
    assert (light(host).restarts, host.state.evidence.of("medium").restarts) == (0.0, 0.0)


@pytest.mark.parametrize(("steps_per_s", "speed"), [(0.0, 0.0), (0.5, 0.5), (1000.0, 1000.0)])
def test_a_speed_is_taken_where_it_is_one(host, steps_per_s, speed):
    host.feed(ev.SpeedMeasured, at=300, steps_per_s=steps_per_s, over_s=300.0)
    assert light(host).speed == speed


def test_no_speed_does_not_weigh_on_the_next_one(host):
    for steps_per_s in (0.0, 1000.0):
        host.feed(ev.SpeedMeasured, at=300, steps_per_s=steps_per_s, over_s=300.0)
    assert light(host).speed == 1000.0


def test_a_speed_told_while_a_trainer_does_not_take_steps_is_none_of_the_mode(host):
    host.stall("A", at=10)
    host.feed(ev.SpeedMeasured, at=300, steps_per_s=1000.0, over_s=300.0)
    assert light(host).speed == 0.0


def test_a_mode_that_is_no_longer_configured_is_not_reviewed(host):
    gone = msgspec.structs.replace(host.state.rules, modes=rules(modes=(("other", 2),)).modes)
    host.feed(ev.Configured, at=100, rules=gone)
    host.tick(2000)
    assert host.state.evidence.review_at == 900


@pytest.mark.parametrize(
    ("wall", "hour"), [(0.0, 0), (3599.9, 0), (3600.0, 1), (86399.0, 23), (86400.0, 0), (-1.0, 23)]
)
def test_the_hour_of_day(wall, hour):
    assert hour_of(wall) == hour
