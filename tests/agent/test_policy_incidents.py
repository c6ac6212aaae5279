"""Incidents and failed tries at the ends of what is kept and counted."""

from __future__ import annotations

import pytest

from policy_driver import Host, rules
from rlagent.policy import events as ev
from rlagent.policy.ladder import INCIDENTS_KEPT

EAGER = {"blind_spot_incidents": 0, "backoff_s": (0.0,), "max_barren_attempts": 10**6}


@pytest.fixture
def light():
    """Two games in light, both progressing, restarted at once whenever they crash."""
    return Host(rules(**EAGER)).up()


def test_an_incident_names_its_first_twenty_symptoms(light):
    for number in range(30):
        light.exit("A", "error", at=light.t + 1, detail=f"exit code {number}")
        light.tick(light.t)
    [incident] = light.state.incidents
    assert incident.symptoms == tuple(f"trainer A exit code {number}" for number in range(20))


def test_the_newest_five_hundred_incidents_are_kept(light):
    for _ in range(INCIDENTS_KEPT + 5):
        light.crash_and_recover("A", at=light.t + 1, checkpoint=False)
    assert [incident.t for incident in light.state.incidents] == list(range(6, INCIDENTS_KEPT + 6))


def test_a_trainer_whose_first_step_came_with_an_incident_has_not_recovered_from_it(light):
    light.crash("B", at=50)
    light.tick(50)
    light.progress("B", at=100)
    light.crash("A", at=100)
    light.crash("B", at=110)
    assert [incident.symptoms for incident in light.state.incidents] == [
        ("trainer B SIGKILL",),
        ("trainer A SIGKILL", "trainer B SIGKILL"),
    ]


def test_a_trainer_that_took_a_step_after_an_incident_began_crashes_on_its_own(light):
    light.crash("A", at=100)
    light.crash("B", at=101)
    light.tick(101)
    light.progress("B", at=102)
    light.crash("B", at=103)
    assert [incident.t for incident in light.state.incidents] == [100, 103]


def test_a_crash_before_the_first_step_belongs_to_the_open_incident_however_long_it_takes(light):
    light.crash("A", at=100)
    light.tick(100)
    light.crash("A", at=500)
    assert len(light.state.incidents) == 1


def test_a_trainer_that_stalled_for_a_minute_is_part_of_the_open_incident(light):
    light.crash("A", at=100)
    light.stall("B", at=101)
    light.crash("B", at=200)
    assert len(light.state.incidents) == 1


def test_a_crash_after_a_reboot_without_a_step_between_is_part_of_it(light):
    light.reboot(at=100)
    light.tick(100)
    light.crash("A", at=110)
    [incident] = light.state.incidents
    assert incident.reboot
    light.reboot(at=120)
    assert [one.symptoms for one in light.state.incidents] == [("reboot", "trainer A SIGKILL"), ("reboot",)]


def test_a_reboot_within_an_incident_makes_the_next_reboot_one_of_its_own(light):
    light.crash("A", at=100)
    light.reboot(at=110)
    assert [one.reboot for one in light.state.incidents] == [True]
    light.reboot(at=120)
    assert [one.t for one in light.state.incidents] == [100, 120]


def test_a_lost_gpu_is_no_reboot(light):
    light.gpu_fault(at=100)
    light.reboot(at=110)
    assert [one.symptoms for one in light.state.incidents] == [("GPU 0 lost", "reboot")]


def test_the_fourth_incident_in_the_lowest_mode_alerts_and_the_third_does_not(light):
    for number in range(1, 5):
        light.crash_and_recover("A", at=light.t + 10, checkpoint=False)
        assert len(light.said("alert")) == (number == 4)
    assert light.said("alert")[0].reason.startswith(
        "4 incidents in 60 min (limit 3) in the lowest mode light: staying; "
    )
    assert light.said("incident")[2].reason == "incident 3 of at most 3 in 60 min: trainer A SIGKILL"


def test_the_cooldown_grows_fifty_times_and_then_no_more():
    host = Host(rules(cooldown_factor=1.01, cooldown_max_s=10**9, **EAGER)).up()
    for number in range(1, 54):
        host.scale("medium", at=host.t + 1)
        host.settle_drain(at=host.t)
        host.rollback(at=host.t)
        grown = 3600.0 * 1.01 ** min(number - 1, 50)
        assert host.state.retry_at["medium"] - host.t == pytest.approx(grown, rel=1e-9)
        host.settle_drain(at=host.t)
    assert host.state.failed_tries == {"medium": 53}


def test_a_failed_try_is_of_the_mode_one_is_heading_for(light):
    light.hold("medium", at=10)
    light.rollback(at=11)
    assert light.state.failed_tries == {"medium": 1}
    assert light.state.retry_at == {"medium": 11 + 3600.0}


def test_another_goal_during_a_drain_keeps_the_games_that_had_slots(light):
    light.hold("medium", at=10)
    light.exit("A", "stopped", at=11)
    light.hold("light", at=12)
    assert (light.state.transition.keep, light.state.transition.since) == (("A", "B"), 12)
    assert light.said("hold")[-1].from_mode == "light"
    light.settle_drain(at=13)
    assert light.running() == ["A", "B"]


def test_only_automatic_mode_changes_are_counted_as_such(light):
    light.hold("medium", at=10)
    light.settle_drain(at=10)
    assert light.state.mode_changes == ()
    light.release(at=20)
    for _ in range(4):
        light.crash_and_recover("A", at=light.t + 10, checkpoint=False, recover_if_settled=True)
    assert light.state.mode_changes == (60.0,)
    assert light.said("demote")[0].reason.endswith("; retry not before 09:01:00Z")


def test_an_exit_told_twice_brings_no_second_checkpoint(light):
    light.crash("A", at=10)
    last = {"game": "A", "attempt": 1, "exit": "signal", "detail": "SIGKILL", "checkpoint_step": 1}
    light.feed(ev.TrainerExited, at=11, **last)
    assert (light.state.barren_incidents, light.state.checkpoints_reported) == (1, False)


def test_an_exit_of_an_unknown_game_is_nothing(light):
    light.feed(ev.TrainerExited, at=10, game="Z", attempt=1, exit="signal", detail="SIGKILL", checkpoint_step=1)
    assert (light.state.incidents, light.state.incident_open) == ((), False)
