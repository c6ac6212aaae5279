"""How the ladder moves from mode to mode: what it says, what it keeps, what it forgets."""

from __future__ import annotations

import pytest

from policy_driver import WALL, Host, rules
from rlagent.policy import events as ev
from rlagent.policy.model import Incident, Transition

EAGER = {"blind_spot_incidents": 0, "backoff_s": (0.0,), "max_barren_attempts": 10**6}


@pytest.fixture
def light():
    """Two games in light, both progressing, restarted at once whenever they crash."""
    return Host(rules(**EAGER)).up()


@pytest.fixture
def medium():
    return Host(rules(**EAGER)).up().climb()


def reasons(host, kind):
    return [decision.reason for decision in host.said(kind)]


def crash_at(host, *times):
    for at in times:
        host.crash("A", at=at)
        host.progress("A", at=at)


def test_an_incident_knows_when_where_and_what(medium):
    medium.crash("A", at=4000)
    assert medium.state.incidents == (
        Incident(t=4000, wall=WALL + 4000, visit=2, mode="medium", symptoms=("trainer A SIGKILL",)),
    )
    assert (medium.state.incident_open, medium.state.barren_incidents) == (True, 1)


def test_each_incident_counts_towards_the_blind_spot_and_a_checkpoint_empties_it(light):
    crash_at(light, 100, 200)
    assert light.state.barren_incidents == 2
    light.checkpoint(at=201)
    assert (light.state.barren_incidents, light.state.checkpoints_reported) == (0, True)


def test_an_incident_is_over_when_all_trainers_make_progress_again(light):
    light.crash("A", at=100)
    light.progress("A", at=107.5)
    assert reasons(light, "recovered") == ["recovered 7.5 s after trainer A SIGKILL"]
    assert not light.state.incident_open


def test_an_incident_is_over_when_no_trainer_is_wanted_any_more(light):
    light.crash("A", at=100)
    light.stop(at=101)
    light.exit("A", "stopped", at=102)
    assert light.state.incident_open
    light.exit("B", "stopped", at=103)
    assert reasons(light, "recovered") == ["recovered 3 s after trainer A SIGKILL"]


def test_a_second_symptom_makes_no_second_incident_and_says_nothing(light):
    light.crash("A", at=100)
    light.crash("B", at=101)
    assert reasons(light, "incident") == ["incident 1 of at most 3 in 60 min: trainer A SIGKILL"]


def test_a_symptom_ends_the_stable_time(light):
    light.stall("A", at=100)
    light.progress("A", at=110)
    assert light.state.stable_s == 100
    light.crash("A", at=200)
    assert (light.state.stable_s, light.state.progressing_since) == (0.0, None)


def test_the_lowest_mode_in_trouble_says_what_happened(light):
    crash_at(light, 100, 200, 300, 400)
    [reason] = reasons(light, "alert")
    assert reason == (
        "4 incidents in 60 min (limit 3) in the lowest mode light: staying; trainer A SIGKILL 08:01:40Z, "
        "trainer A SIGKILL 08:03:20Z, trainer A SIGKILL 08:05:00Z, trainer A SIGKILL 08:06:40Z"
    )


def test_a_demotion_says_what_happened_and_until_when(medium):
    crash_at(medium, 4000, 4100, 4200)
    medium.crash("A", at=4300)
    [decision] = medium.said("demote")
    assert decision.reason == (
        "demote medium -> light: 4 incidents in 60 min (limit 3): trainer A SIGKILL 09:06:40Z, "
        "trainer A SIGKILL 09:08:20Z, trainer A SIGKILL 09:10:00Z, trainer A SIGKILL 09:11:40Z; "
        "retry not before 10:11:40Z"
    )
    assert (decision.from_mode, decision.to_mode) == ("medium", "light")
    assert medium.state.transition == Transition(
        kind="demote", to="light", since=4300, reason=decision.reason, keep=("A", "B", "C", "D")
    )


def test_a_demotion_names_the_last_ten_incidents():
    host = Host(rules(max_crashes=11, **EAGER)).up().climb()
    for number in range(12):
        host.exit("A", "error", at=4000 + 60 * number, detail=f"number {number}")
        host.progress("A", at=host.t)
    reason = host.said("demote")[0].reason
    assert "12 incidents in 60 min (limit 11): trainer A number 2 09:08:40Z, trainer A number 3 " in reason


def test_the_blind_spot_says_what_happened():
    host = Host(rules(**{**EAGER, "blind_spot_incidents": 3})).up().climb()
    host.checkpoint(at=3700)
    crash_at(host, 4000, 4100)
    host.crash("A", at=4200)
    assert host.said("demote")[0].reason == (
        "demote medium -> light: 3 incidents in a row without a checkpoint between them: trainer A SIGKILL 09:06:40Z, "
        "trainer A SIGKILL 09:08:20Z, trainer A SIGKILL 09:10:00Z; retry not before 10:10:00Z"
    )


def test_one_incident_without_a_checkpoint_demotes_where_so_wished():
    host = Host(rules(**{**EAGER, "blind_spot_incidents": 1})).up().climb()
    host.checkpoint(at=3700)
    host.crash("A", at=4000)
    assert "1 incidents in a row without a checkpoint" in host.said("demote")[0].reason


def test_a_mode_in_which_no_game_can_run_is_left_and_each_game_says_why():
    host = Host(rules(games="AB")).up().climb()
    host.exit("A", "config", at=4000, detail="no such game")
    assert host.said("demote") == []
    host.exit("B", "config", at=4001, detail="no memory")
    assert host.said("demote")[0].reason == (
        "demote medium -> light: no game can run in this mode: A: wrong configuration: no such game; "
        "B: wrong configuration: no memory; retry not before 10:06:41Z"
    )


def test_games_that_are_done_do_not_keep_a_mode_in_which_no_other_can_run():
    host = Host(rules(games="AB")).up().climb()
    host.exit("A", "done", at=4000)
    host.exit("B", "config", at=4001, detail="no memory")
    assert host.said("demote")[0].reason == (
        "demote medium -> light: no game can run in this mode: B: wrong configuration: no memory; "
        "retry not before 10:06:41Z"
    )


def test_a_mode_is_not_left_when_every_game_is_done():
    host = Host(rules(games="AB")).up().climb()
    for game in "AB":
        host.exit(game, "done", at=4000)
    assert (host.state.transition, host.state.mode) == (None, "medium")


def test_a_stopped_host_is_not_demoted(medium):
    crash_at(medium, 4000, 4100, 4200)
    medium.stop(at=4250)
    medium.exit("A", "oom", at=4251, detail="killed for memory")
    assert len(medium.state.counted(4251)) == 4
    assert medium.state.transition is None


def test_a_promotion_says_how_long_it_was_stable(light):
    light.tick(3660)
    [decision] = light.said("promote")
    assert decision.reason == "promote light -> medium: 61 min stable (needs 60 min)"
    assert (decision.from_mode, decision.to_mode) == ("light", "medium")
    assert light.state.transition.kind == "promote"
    assert light.state.mode_changes == (3660,)


def test_without_a_stable_time_it_climbs_as_soon_as_all_trainers_take_steps():
    host = Host(rules(stable_s=0.0, **EAGER))
    host.progress("A", at=0.25)
    assert host.state.transition is None
    host.progress("B", at=0.5)
    assert host.state.transition.to == "medium"


def test_a_promotion_after_failed_tries_says_which_one_it_is(medium):
    for tries in (2, 3):
        medium.rollback(at=medium.t + 1)
        medium.settle_drain(at=medium.t + 1)
        medium.tick(medium.t + 3600)
        assert reasons(medium, "promote")[-1] == (
            f"promote light -> medium: 60 min stable (needs 60 min), try {tries} of medium after its cooldown"
        )
        medium.settle_drain(at=medium.t)


def test_a_stopped_host_is_not_promoted(light):
    light.tick(3599)
    light.stop(at=3600)
    assert light.state.transition is None


def test_the_highest_mode_stays(medium):
    medium.tick(medium.t + 100_000)
    assert (medium.state.mode, medium.state.transition) == ("medium", None)


def test_entering_a_mode_begins_a_new_stay(light):
    light.crash("A", at=100)
    light.progress("A", at=100)
    light.tick(3700)
    light.exit("A", "stopped", at=3705)
    light.exit("B", "stopped", at=3712)
    [decision] = light.said("enter")
    assert decision.reason == "enter medium after a drain of 12 s"
    assert (decision.from_mode, decision.to_mode) == ("light", "medium")
    state = light.state
    assert (state.mode, state.visit, state.mode_entered, state.mode_entered_wall) == ("medium", 2, 3712, WALL + 3712)
    assert (state.transition, state.stable_s, state.progressing_since, state.barren_incidents) == (None, 0.0, None, 0)
    assert not state.incident_open


def test_an_incident_that_is_open_when_a_mode_is_entered_ends_with_the_old_one(light):
    light.crash("A", at=100)
    light.scale("medium", at=101)
    light.settle_drain(at=102, recover=False)
    assert (light.state.incident_open, light.said("recovered")) == (False, [])


def test_new_settings_of_the_mode_are_no_new_stay_but_no_stable_time_either(light):
    crash_at(light, 100)
    light.tick(1000)
    changed = rules(modes=(("light", 2), ("medium", 4)), **EAGER)
    mode = type(changed.modes[0])(name="light", slots=2, settings="new")
    light.feed(ev.Configured, at=1000, rules=type(changed)(modes=(mode, changed.modes[1]), games=changed.games))
    light.settle_drain(at=1001)
    assert (light.state.visit, light.state.mode_entered, light.state.barren_incidents) == (1, 0, 1)
    assert (light.state.stable_s, light.state.progressing_since) == (0.0, 1001)
    assert [incident.t for incident in light.state.counted(1001)] == [100]


def test_going_to_the_lowest_mode_for_want_of_the_present_one_is_a_new_stay(medium):
    configured = rules(modes=(("light", 2), ("large", 6)), **EAGER)
    medium.feed(ev.Configured, at=4000, rules=configured)
    medium.settle_drain(at=4001)
    assert (medium.state.mode, medium.state.visit, medium.state.mode_entered) == ("light", 3, 4001)


def test_stable_time_of_a_mode_that_ends_at_once_is_not_taken_along():
    host = Host(rules(games="A", **EAGER)).up().climb()
    host.tick(5000)
    host.exit("A", "config", at=5001)
    assert (host.state.mode, host.state.stable_at(5001)) == ("light", 0.0)


def test_a_fatal_game_has_one_more_attempt_in_the_next_mode(light):
    light.exit("A", "config", at=10)
    light.scale("medium", at=20)
    light.settle_drain(at=21, recover=False)
    assert light.state.game("A").status == "STARTING"
    assert light.state.game("A").barren == light.state.rules.max_barren_attempts - 1


def test_games_that_had_slots_keep_them_in_a_smaller_mode():
    """C and D ran while A and B, which come first in the queue, had given up."""
    host = Host(rules(games="ABCD", modes=(("light", 1), ("medium", 2)))).up().climb()
    for game in "AB":
        host.exit(game, "config", at=host.t + 1)
    host.recover(at=host.t)
    assert host.running() == ["C", "D"]
    host.rollback(at=host.t + 1)
    host.settle_drain(at=host.t, recover=False)
    assert host.starting() == ["C"]


def test_old_incidents_are_dropped_while_a_younger_one_is_open(light):
    crash_at(light, 100, 200)
    light.crash("A", at=3000)
    light.tick(3700)
    assert [incident.t for incident in light.state.incidents] == [200, 3000]
    light.tick(3800)
    assert [incident.t for incident in light.state.incidents] == [3000]


def test_an_open_incident_is_kept_however_old_it_is(light):
    crash_at(light, 100)
    light.crash("A", at=200)
    light.tick(50_000)
    assert [incident.t for incident in light.state.incidents] == [200]
    light.progress("A", at=50_001)
    assert reasons(light, "recovered")[-1] == "recovered 13.8 h after trainer A SIGKILL"
    light.tick(50_002)
    assert light.state.incidents == ()


def test_a_window_longer_than_an_hour_keeps_its_incidents():
    host = Host(rules(window_s=7200.0, **EAGER)).up()
    crash_at(host, 100)
    host.tick(7299)
    assert len(host.state.incidents) == 1
    host.tick(7300)
    assert host.state.incidents == ()


def test_mode_changes_of_the_last_hour_are_known(light):
    light.tick(3600)
    light.settle_drain(at=3600)
    crash_at(light, 3700, 3800, 3900)
    light.crash("A", at=4000)
    assert light.state.mode_changes == (3600, 4000)
    light.tick(7199)
    assert light.state.mode_changes == (3600, 4000)
    light.tick(7200)
    assert light.state.mode_changes == (4000,)


def test_only_the_mode_that_has_held_is_forgiven():
    host = Host(rules(modes=(("light", 2), ("medium", 4), ("large", 6)), **EAGER)).up().climb().climb()
    host.rollback(at=host.t + 1)
    host.settle_drain(at=host.t)
    host.rollback(at=host.t + 1)
    host.settle_drain(at=host.t)
    assert host.state.failed_tries == {"large": 1, "medium": 1}
    host.hold("medium", at=host.t + 1)
    host.settle_drain(at=host.t)
    retry = host.state.retry_at["large"]
    host.tick(host.t + 21600)
    assert reasons(host, "forget") == ["medium has held for 6 h: its failed tries are forgotten"]
    assert (host.state.failed_tries, host.state.retry_at) == ({"large": 1}, {"large": retry})


def test_a_mode_that_is_being_left_has_not_held(medium):
    medium.rollback(at=4000)
    medium.settle_drain(at=4001)
    medium.scale("medium", at=4002)
    medium.settle_drain(at=4003)
    medium.tick(25_602)
    medium.scale("light", at=25_602)
    medium.tick(30_000)
    assert (medium.state.failed_tries, medium.said("forget")) == ({"medium": 1}, [])
