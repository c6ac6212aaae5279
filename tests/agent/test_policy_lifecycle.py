"""What happens around the trainers: agent starts, reboots, new configurations, a recovered journal, a lost GPU."""

from __future__ import annotations

import msgspec
import pytest

from policy_driver import WALL, Host, rules
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision
from rlagent.policy.goodput import UNSEEN_S
from rlagent.policy.model import ANNOUNCED_REBOOT_S, Game, GameRule, Mode, Rules


@pytest.fixture
def light():
    return Host(rules()).up()


@pytest.fixture
def medium():
    return Host(rules()).up().climb()


def configure(host: Host, *, at, **changes) -> None:
    host.feed(ev.Configured, at=at, rules=msgspec.structs.replace(host.state.rules, **changes))


def stop_until_restart(host: Host, *, at) -> None:
    host.feed(ev.StopRequested, at=at, who="ana", why="", until_restart=True)


def stops(state: State) -> tuple[bool, bool, bool]:
    return state.stopped, state.stopped_until_restart, state.stopped_for_reboot


def used_attempts(host: Host) -> dict[str, int]:
    """The attempts of games that left the queue, but for those that never began."""
    return {name: attempt for name, attempt in host.state.retired.items() if attempt}


def targets(**changed: int) -> tuple[GameRule, ...]:
    """The queue with some games' targets changed."""
    return tuple(
        GameRule(name=game.name, target_frames=changed.get(game.name, game.target_frames)) for game in rules().games
    )


def test_the_state_knows_the_wall_clock_of_the_last_event(light):
    light.tick(100)
    assert (light.state.t, light.state.wall) == (100, WALL + 100)


def test_time_up_to_a_crash_that_was_seen_is_progress_and_up_to_a_reboot_only_as_far_as_somebody_watched():
    hours = []
    for crash in (Host.reboot, lambda host, at: host.crash("A", at=at)):
        host = Host(rules()).up()
        host.tick(600)
        crash(host, at=1200)
        hours.append(host.state.evidence.of("light").hours)
    assert hours == [pytest.approx((600 + UNSEEN_S) / 3600, rel=0.01), pytest.approx(1200 / 3600, rel=0.01)]


def test_a_recovered_journal_goes_on_from_the_saved_state_and_alerts(light):
    state, decisions = step(State(), ev.JournalRecovered(t=500, wall=WALL + 700, state=light.state, how="a bad page"))
    assert state == msgspec.structs.replace(light.state, t=500, wall=WALL + 700)
    assert decisions == (Decision(kind="alert", reason="a bad page"),)


def test_a_recovered_state_that_is_ahead_of_the_clock_keeps_its_time(light):
    light.tick(900)
    state, _ = step(State(), ev.JournalRecovered(t=500, wall=WALL, state=light.state, how=""))
    assert state.t == 900


def test_a_reboot_ends_the_trainers_that_were_being_stopped(medium):
    medium.stop(at=medium.t + 1)
    medium.reboot(at=medium.t + 60)
    stopped = medium.state.games[:4]
    assert [(game.status, game.stop_reason, game.since) for game in stopped] == [("QUEUED", "", medium.t)] * 4
    assert medium.state.stopped


def test_a_reboot_starts_what_was_running_at_once(light):
    light.crash("A", at=10)
    light.restart("A", at=20)
    light.reboot(at=100)
    assert light.starting() == ["A", "B"]
    assert [game.not_before for game in light.state.games[:2]] == [100, 100]


def test_a_reboot_leaves_what_was_waiting_in_its_backoff(light):
    light.crash("A", at=4)
    light.reboot(at=5)
    assert (light.state.game("A").status, light.state.game("A").not_before) == ("BACKOFF", 10)


def test_the_reboots_of_the_last_hour_are_known(light):
    light.reboot(at=100)
    light.announce_reboot(at=200)
    light.reboot(at=300)
    assert light.state.reboots == (100, 300)
    light.tick(3699)
    assert light.state.reboots == (100, 300)
    light.tick(3700)
    assert light.state.reboots == (300,)


def test_a_reboot_is_forgotten_after_an_hour_also_when_nothing_else_happened(light):
    light.announce_reboot(at=200)
    light.reboot(at=300)
    light.tick(3900)
    assert (light.state.incidents, light.state.reboots) == ((), ())


def test_an_announcement_holds_to_the_last_second_that_the_agent_saw(medium):
    medium.announce_reboot(at=4000)
    medium.tick(4000 + ANNOUNCED_REBOOT_S)
    medium.reboot(at=9000)
    assert (medium.state.incidents, medium.said("withdraw")) == ((), [])


def test_a_reboot_uses_its_announcement_up(medium):
    medium.announce_reboot(at=medium.t + 1)
    medium.reboot(at=medium.t + 60)
    assert medium.state.announced_until is None


@pytest.mark.parametrize("restart", [Host.agent_restarts, Host.reboot])
def test_a_start_of_the_agent_ends_a_stop_until_then_and_every_trace_of_it(light, restart):
    stop_until_restart(light, at=10)
    light.settle_drain(at=11, recover=False)
    assert stops(light.state) == (True, True, False)
    restart(light, at=20)
    assert stops(light.state) == (False, False, False)
    assert light.starting() == ["A", "B"]


def test_the_announced_reboot_ends_the_stop_for_it_and_every_trace_of_that(light):
    light.announce_reboot(at=10, drain=True)
    light.settle_drain(at=11, recover=False)
    assert stops(light.state) == (True, True, True)
    light.reboot(at=60)
    assert stops(light.state) == (False, False, False)


def test_a_silent_journal_makes_every_trainer_show_itself_again(light):
    light.feed(ev.JournalBack, at=100)
    assert [game.progressing for game in light.state.games[:2]] == [False, False]
    light.progress("A", at=101)
    assert light.state.progressing_since is None
    light.progress("B", at=102)
    assert light.state.progressing_since == 102


def test_a_lost_gpu_names_itself_and_makes_every_trainer_show_itself_again(light):
    light.feed(ev.GpuLost, at=100, gpu=3)
    assert (light.state.lost_gpus, [game.progressing for game in light.state.games[:2]]) == ((3,), [False, False])
    assert light.said("incident")[0].reason == "incident 1 of at most 3 in 60 min: GPU 3 lost"


def test_each_gpu_is_counted_and_comes_back_on_its_own(light):
    light.feed(ev.GpuLost, at=100, gpu=0)
    light.feed(ev.GpuLost, at=101, gpu=1)
    assert light.state.incidents[0].symptoms == ("GPU 0 lost", "GPU 1 lost")
    light.feed(ev.GpuBack, at=102, gpu=0)
    assert light.state.lost_gpus == (1,)


def test_the_configuration_that_is_in_force_already_changes_nothing(medium):
    medium.rollback(at=medium.t + 1)
    medium.settle_drain(at=medium.t + 1)
    medium.exit("B", "config", at=medium.t + 1)
    before = medium.state
    medium.feed(ev.Configured, at=before.t, rules=before.rules)
    assert medium.state == before


def test_a_new_journal_begins_with_the_attempts_that_left_a_trace():
    event = ev.Configured(t=5, wall=WALL, rules=rules(games="ABC"), used_attempts={"B": 7, "Z": 3})
    state, _ = step(State(), event)
    assert [(game.name, game.attempt, game.since) for game in state.games] == [("A", 1, 5), ("B", 8, 5), ("C", 0, 5)]
    assert (state.mode, state.visit, state.mode_entered) == ("light", 1, 5)


def test_a_new_game_waits_since_it_was_configured(light):
    configure(light, at=50, games=(*rules().games, GameRule(name="K", target_frames=1)))
    assert (light.state.game("K").status, light.state.game("K").since) == ("QUEUED", 50)


def test_a_raised_target_restarts_its_trainer_with_it_and_no_other(light):
    configure(light, at=50, games=targets(B=2000))
    assert [game.status for game in light.state.games[:2]] == ["RUNNING", "STOPPING"]
    assert light.said("stop")[0].reason == "stop B: its slot is gone or its settings changed"
    light.exit("B", "stopped", at=51)
    assert (light.starting(), light.state.game("B").attempt, light.state.incidents) == (["B"], 2, ())


def test_a_raised_target_of_a_game_that_waits_changes_nothing_else(light):
    light.crash("A", at=4)
    before = light.state.game("A")
    configure(light, at=5, games=targets(A=2000, C=2000))
    assert light.state.game("A") == before
    assert light.state.game("C").status == "QUEUED"


def test_a_finished_game_whose_target_stays_is_left_finished(light):
    light.exit("A", "done", at=5)
    configure(light, at=10, games=targets(B=2000))
    assert light.state.game("A").status == "EXITED"


def test_a_new_order_of_the_queue_is_taken_and_stops_nothing(light):
    configure(light, at=10, games=tuple(reversed(rules(games="ABC").games)))
    assert [(game.name, game.status) for game in light.state.games] == [
        ("C", "QUEUED"),
        ("B", "RUNNING"),
        ("A", "RUNNING"),
    ]


def test_a_removed_game_that_still_runs_stays_last_until_its_trainer_has_ended(light):
    configure(light, at=10, games=rules(games="BCD").games)
    assert [game.name for game in light.state.games] == ["B", "C", "D", "A"]
    assert (light.state.game("A").stop_reason, used_attempts(light)) == ("resize", {})
    light.exit("A", "stopped", at=11)
    assert ([game.name for game in light.state.games], used_attempts(light)) == (["B", "C", "D"], {"A": 1})


def test_a_removed_game_that_waits_is_gone_at_once(light):
    light.exit("A", "config", at=5)
    configure(light, at=10, games=rules(games="BCD").games)
    assert ([game.name for game in light.state.games], used_attempts(light)) == (["B", "C", "D"], {"A": 1})


def test_a_game_that_nobody_configured_is_dropped_whatever_else_is_missing():
    """A state that was put together by hand: one game too few, one too many."""
    two = rules(games="AB")
    state = State(rules=two, mode="light", games=(Game(name="A"), Game(name="Z", attempt=3)))
    after, _ = step(state, ev.Tick(t=1.0, wall=1.0))
    assert [game.name for game in after.games] == ["A"]
    assert after.retired == {"Z": 3}


def test_retired_games_add_up(light):
    configure(light, at=10, games=rules(games="BC").games)
    light.exit("A", "stopped", at=11)
    configure(light, at=12, games=rules(games="C").games)
    light.exit("B", "stopped", at=13)
    assert used_attempts(light) == {"A": 1, "B": 1}
    light.exit("C", "config", at=14)
    configure(light, at=15, games=rules(games="D").games)
    assert used_attempts(light) == {"A": 1, "B": 1, "C": 1}


THREE = (("light", 2), ("medium", 4), ("large", 6))


def test_failed_tries_and_cooldowns_of_a_removed_mode_are_forgotten_and_others_stay():
    host = Host(rules(modes=THREE)).up().climb().climb()
    host.rollback(at=host.t + 1, to="medium")
    host.settle_drain(at=host.t)
    rolled_back = host.t + 1
    host.rollback(at=rolled_back)
    host.settle_drain(at=host.t)
    assert host.state.failed_tries == {"large": 1, "medium": 1}
    configure(host, at=host.t + 1, modes=rules(modes=THREE[:2]).modes)
    assert (host.state.failed_tries, host.state.retry_at) == ({"medium": 1}, {"medium": rolled_back + 3600})


def test_a_removed_held_mode_says_so_when_it_releases_and_where_it_goes(medium):
    medium.hold("medium", at=medium.t + 1)
    configure(medium, at=medium.t + 1, modes=rules(modes=(("light", 2),)).modes)
    assert medium.said("release")[0].reason == "the held mode medium is no longer configured: released"
    assert medium.said("reconfigure")[0].reason == "mode medium is no longer configured: going to light"
    assert (medium.state.transition.kind, medium.state.transition.to) == ("reconfigure", "light")


def test_another_mode_that_is_removed_does_not_release_a_hold(light):
    light.hold("light", at=10)
    configure(light, at=11, modes=rules(modes=(("light", 2),)).modes)
    assert light.state.hold is not None


def test_a_mode_that_is_removed_while_the_host_is_on_its_way_there_is_not_entered(light):
    light.scale("medium", at=10)
    configure(light, at=11, modes=rules(modes=(("light", 2), ("large", 4))).modes)
    assert light.said("reconfigure")[0].reason == "mode medium is no longer configured: going to light"
    light.settle_drain(at=12)
    assert light.state.mode == "light"


def test_a_mode_that_is_removed_while_the_host_leaves_it_needs_no_other_change(medium):
    medium.rollback(at=medium.t + 1)
    configure(medium, at=medium.t + 1, modes=rules(modes=(("light", 2), ("large", 4))).modes)
    assert (medium.state.transition.kind, medium.said("reconfigure")) == ("rollback", [])


def test_changed_settings_of_the_mode_say_so_and_those_of_another_touch_nothing(light):
    both = (Mode(name="light", slots=2), Mode(name="medium", slots=4, settings="new"))
    configure(light, at=10, modes=both)
    assert light.state.transition is None
    configure(light, at=11, modes=(Mode(name="light", slots=2, settings="new"), both[1]))
    assert light.said("reconfigure")[0].reason == "the settings of light changed: its trainers are restarted"
    assert light.state.transition.to == "light"


def evidence_of_crashes(host: Host, mode: str) -> float:
    return host.state.evidence.of(mode).incidents


def test_evidence_of_a_mode_is_kept_as_long_as_its_settings_are(light):
    light.crash_and_recover("A", at=10, checkpoint=True)
    configure(light, at=light.t, modes=(Mode(name="light", slots=3), Mode(name="medium", slots=4)))
    assert evidence_of_crashes(light, "light") > 0.9
    configure(light, at=light.t, modes=(Mode(name="light", slots=3, settings="new"), Mode(name="medium", slots=4)))
    assert evidence_of_crashes(light, "light") == 0


def test_what_a_removed_mode_does_while_it_is_left_is_no_evidence_of_its_successor(medium):
    """The successor has its name, and the settings of the mode that was the last one meanwhile."""
    configure(medium, at=medium.t + 1, modes=(Mode(name="light", slots=2),))
    medium.exit("A", "signal", at=medium.t + 1)
    medium.settle_drain(at=medium.t + 1)
    assert evidence_of_crashes(medium, "medium") > 0.9
    configure(medium, at=medium.t + 1, modes=rules().modes)
    assert evidence_of_crashes(medium, "medium") == 0


def test_an_unknown_mode_has_no_rung():
    assert Rules(modes=rules().modes, games=()).index("nonsense") == -1
