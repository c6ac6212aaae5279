"""The ladder policy, rule by rule, on its exact edges."""

from __future__ import annotations

import pytest

from policy_driver import Host, rules
from rlagent.policy import events as ev
from rlagent.policy.explain import next_action


@pytest.fixture
def host():
    """Two games in light, everything progressing at t = 0."""
    return Host(rules()).up()


def test_starts_in_the_lowest_mode_with_the_first_games(host):
    assert host.state.mode == "light"
    assert host.running() == ["A", "B"]


def test_promotes_after_exactly_the_stable_time(host):
    host.tick(3599.999)
    assert host.state.transition is None
    host.tick(3600)
    assert host.state.transition.to == "medium"
    assert len(host.said("promote")) == 1


def test_every_trainer_is_stopped_gracefully_before_the_new_mode_begins(host):
    host.tick(3600)
    assert [g.status for g in host.state.games[:2]] == ["STOPPING", "STOPPING"]
    host.exit("A", "stopped", at=3601)
    assert host.state.mode == "light"
    host.exit("B", "stopped", at=3602)
    assert host.state.mode == "medium"
    assert host.starting() == ["A", "B", "C", "D"]


def test_time_without_progress_is_not_stable_time(host):
    host.stall("A", at=1000)
    host.tick(3600)
    host.progress("A", at=4000)
    host.tick(6599)
    assert host.state.transition is None
    host.tick(6600)
    assert host.state.transition.to == "medium"


def test_an_incident_restarts_the_stable_time(host):
    host.crash("A", at=3000)
    host.restart("A", at=3010)
    host.tick(6609)
    assert host.state.transition is None
    host.tick(6610)
    assert host.state.transition.to == "medium"


def test_the_third_incident_never_demotes_and_the_fourth_does():
    host = Host(rules()).up().climb()
    for n in range(3):
        host.crash_and_recover("A", at=host.t + 100, checkpoint=True)
        assert host.state.transition is None, n
    host.crash("A", at=host.t + 100)
    assert host.state.transition.kind == "demote"
    assert host.state.transition.to == "light"


def test_an_incident_exactly_one_window_old_is_out():
    host = Host(rules()).up().climb()
    first = host.t + 100
    host.crash_and_recover("A", at=first, checkpoint=True)
    host.crash_and_recover("A", at=first + 1000, checkpoint=True)
    host.crash_and_recover("A", at=first + 2000, checkpoint=True)
    host.crash("A", at=first + 3600)
    assert host.state.transition is None


def test_an_incident_just_inside_the_window_counts():
    host = Host(rules()).up().climb()
    first = host.t + 100
    host.crash_and_recover("A", at=first, checkpoint=True)
    host.crash_and_recover("A", at=first + 1000, checkpoint=True)
    host.crash_and_recover("A", at=first + 2000, checkpoint=True)
    host.crash("A", at=first + 3599.999)
    assert host.state.transition.kind == "demote"


def test_the_reason_of_a_demotion_names_every_incident_and_the_retry():
    host = Host(rules()).up().climb()
    for _ in range(3):
        host.crash_and_recover("A", at=host.t + 60, checkpoint=True)
    host.reboot(at=host.t + 60)
    reason = host.said("demote")[-1].reason
    assert reason.startswith("demote medium -> light: 4 incidents in 60 min (limit 3): trainer A SIGKILL")
    assert ", reboot " in reason
    assert "; retry not before " in reason


def test_all_symptoms_of_one_crash_are_one_incident():
    host = Host(rules()).up().climb()
    before = len(host.state.incidents)
    host.gpu_fault(at=host.t + 10)
    for game in ("A", "B", "C", "D"):
        host.exit(game, "error", at=host.t + 1)
    host.reboot(at=host.t + 5)
    assert len(host.state.incidents) - before == 1
    assert host.state.incidents[-1].symptoms[0].startswith("GPU 0 lost")


def test_a_second_reboot_before_any_step_is_a_crash_of_its_own():
    """Otherwise a host that reboots while its trainers start would never be demoted."""
    host = Host(rules(blind_spot_incidents=0)).up().climb()
    for _ in range(3):
        host.reboot(at=host.t + 30)
        assert host.state.transition is None
    host.reboot(at=host.t + 30)
    assert host.state.mode == "light"  # nothing was left to drain


def test_an_announced_reboot_does_not_count():
    host = Host(rules()).up().climb()
    host.announce_reboot(at=host.t + 10)
    host.reboot(at=host.t + 60)
    assert host.state.incidents == ()
    host.reboot(at=host.t + 60)
    assert len(host.state.incidents) == 1


def test_a_clean_reboot_counts_unless_configured_otherwise():
    for counts in (True, False):
        host = Host(rules(count_clean_reboots=counts)).up()
        host.agent_stops(at=host.t + 10)
        host.reboot(at=host.t + 60)
        assert len(host.state.incidents) == int(counts)


def test_an_agent_restart_is_no_incident_and_its_absence_is_not_stable_time(host):
    host.tick(1000, record=True)
    host.agent_restarts(at=3000)
    assert host.state.incidents == ()
    host.progress("A", at=3001)
    host.progress("B", at=3001)
    assert host.state.stable_at(3001) == pytest.approx(1000)


def test_three_incidents_without_a_checkpoint_between_them_demote():
    host = Host(rules()).up()
    host.checkpoint(at=5)
    host.climb()
    for _ in range(2):
        host.crash_and_recover("A", at=host.t + 1300, checkpoint=False)
        assert host.state.transition is None
    host.crash("A", at=host.t + 1300)
    assert "3 incidents in a row without a checkpoint" in host.state.transition.reason


def test_a_checkpoint_between_them_resets_the_blind_spot():
    host = Host(rules()).up().climb()
    for _ in range(3):
        host.crash_and_recover("A", at=host.t + 1300, checkpoint=True)
    assert host.state.transition is None


def test_the_lowest_mode_stays_and_alerts():
    host = Host(rules()).up()
    for _ in range(4):
        host.crash_and_recover("A", at=host.t + 30, checkpoint=True)
    assert host.state.mode == "light"
    assert host.state.transition is None
    assert "alert" in host.kinds()


def test_cooldown_delays_the_next_try_and_grows_with_its_factor():
    host = Host(rules(cooldown_factor=2.0, stable_s=60)).up()
    for factor in (1, 2, 4):
        host.climb()
        demoted = host.demote_by_crashes()
        host.settle_drain(at=demoted + 1)
        host.tick(demoted + factor * 3600 - 1)
        assert host.state.transition is None, factor
        host.tick(demoted + factor * 3600)
        assert host.state.transition.kind == "promote", factor


def test_failed_tries_are_forgotten_once_the_rung_has_held():
    host = Host(rules(cooldown_factor=2.0, stable_s=60)).up().climb()
    host.settle_drain(at=host.demote_by_crashes() + 1)
    assert host.state.failed_tries == {"medium": 1}
    host.climb()
    host.tick(host.t + 21599)
    assert host.state.failed_tries == {"medium": 1}
    host.tick(host.t + 2)
    assert host.state.failed_tries == {}


def test_the_window_starts_empty_after_a_demotion_and_history_keeps_the_old_ones():
    host = Host(rules()).up().climb()
    host.settle_drain(at=host.demote_by_crashes() + 1)
    assert host.state.counted(host.t) == ()
    assert len(host.state.incidents) == 4


def test_a_crash_while_draining_counts_for_the_mode_being_drained():
    host = Host(rules()).up()
    host.tick(3600)
    host.reboot(at=3601)
    assert host.state.mode == "medium"
    assert [i.mode for i in host.state.incidents] == ["light"]
    assert host.state.counted(host.t) == ()


def test_a_crash_while_starting_a_mode_counts_for_that_mode():
    host = Host(rules()).up()
    host.tick(3600)
    host.settle_drain(at=3601, recover=False)
    host.crash("C", at=3605)
    assert [i.mode for i in host.state.counted(3605)] == ["medium"]


def test_a_running_game_keeps_running_across_a_mode_change():
    host = Host(rules()).up().climb()
    host.exit("A", "done", at=host.t + 1)
    host.exit("C", "done", at=host.t + 1)
    host.recover(at=host.t + 1)
    assert host.running() == ["B", "D", "E", "F"]
    host.settle_drain(at=host.demote_by_crashes("B") + 1)
    assert host.running() == ["B", "D"]


def test_hold_goes_there_and_blocks_promotion():
    host = Host(rules()).up()
    host.hold("light", at=10)
    host.tick(10_000)
    assert host.state.transition is None
    assert next_action(host.state, 10_000).kind == "none"


def test_hold_of_a_higher_mode_climbs_at_once_even_in_its_cooldown():
    host = Host(rules()).up().climb()
    host.settle_drain(at=host.demote_by_crashes() + 1)
    host.hold("medium", at=host.t + 1)
    assert host.state.transition.to == "medium"


def test_a_timed_hold_ends_by_itself_and_survives_a_reboot():
    host = Host(rules()).up()
    host.hold("light", at=10, for_s=7200)
    host.reboot(at=100)
    assert host.state.hold is not None
    host.recover(at=110)
    host.tick(7209)
    assert host.state.transition is None
    host.tick(7210)
    assert host.state.hold is None
    assert host.state.transition.kind == "promote"


def test_a_held_mode_still_falls_back_unless_told_not_to():
    for no_fallback in (False, True):
        host = Host(rules()).up().climb()
        host.hold("medium", at=host.t + 1, no_fallback=no_fallback)
        for _ in range(4):
            host.crash_and_recover("A", at=host.t + 60, checkpoint=True, recover_if_settled=True)
        assert (host.state.transition is not None) is not no_fallback


def test_rollback_counts_as_a_failed_try():
    host = Host(rules()).up().climb()
    at = host.t + 10
    host.rollback(at=at)
    assert host.state.transition.kind == "rollback"
    host.settle_drain(at=at + 1)
    assert host.state.mode == "light"
    assert next_action(host.state, host.t).at == at + 3601  # stable time began one second later
    assert host.state.retry_at == {"medium": at + 3600}


def test_rollback_is_refused_in_the_lowest_mode_and_to_a_mode_that_is_not_lower(host):
    host.rollback(at=10)
    host.rollback(at=11, to="medium")
    host.rollback(at=12, to="nonsense")
    assert [d.kind for d in host.decisions[-3:]] == ["refuse", "refuse", "refuse"]
    assert host.state.transition is None


def test_rollback_during_a_promotion_turns_it_around(host):
    host.tick(3600)
    host.rollback(at=3601)
    host.settle_drain(at=3602)
    assert host.state.mode == "light"
    assert host.state.retry_at == {"medium": 3601 + 3600}


def test_stop_and_start():
    host = Host(rules()).up()
    host.stop(at=10)
    host.exit("A", "stopped", at=11)
    host.exit("B", "stopped", at=11)
    host.reboot(at=100)
    host.tick(10_000)
    assert host.starting() == []
    host.start(at=10_001)
    assert host.starting() == ["A", "B"]


def test_a_middle_rung_is_used_on_the_way_down():
    host = Host(rules(modes=(("light", 2), ("medium", 4), ("large", 6)))).up().climb().climb()
    assert host.state.mode == "large"
    host.settle_drain(at=host.demote_by_crashes() + 1)
    assert host.state.mode == "medium"


def test_a_clock_that_jumps_back_changes_nothing(host):
    host.tick(1000)
    host.tick(-50_000)
    assert host.state.t == 1000
    assert host.state.transition is None


def test_a_stop_until_restart_ends_with_the_agents_next_start(host):
    host.feed(ev.StopRequested, at=10, who="ana", why="", until_restart=True)
    host.exit("A", "stopped", at=11)
    host.exit("B", "stopped", at=11)
    host.tick(1000)
    assert host.starting() == []
    host.agent_restarts(at=1001)
    assert host.starting() == ["A", "B"]


def test_a_stop_that_lasts_is_not_shortened_by_one_until_restart(host):
    host.stop(at=10)
    host.feed(ev.StopRequested, at=11, who="ana", why="", until_restart=True)
    host.agent_restarts(at=12)
    assert host.state.stopped is True
