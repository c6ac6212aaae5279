"""Cases in which a plausible policy goes wrong: storms, drains, reloads, announcements."""

from __future__ import annotations

import random

import msgspec
import pytest

from policy_driver import Host, rules
from rlagent.policy import events as ev
from rlagent.policy.explain import alerts, lines, next_action
from rlagent.policy.model import Mode


@pytest.fixture
def medium():
    """Four games in medium, all progressing, with checkpoints reported."""
    host = Host(rules(blind_spot_incidents=0)).up()
    host.checkpoint(at=1)
    return host.climb()


def changed(base, **fields):
    return msgspec.structs.replace(base, **fields)


def test_a_storm_of_overlapping_crashes_demotes():
    """With four trainers that crash every 30 s on average one is always down: still each crash counts."""
    for seed in range(8):
        host = Host(rules()).up()
        host.checkpoint(at=1)
        host.climb()
        dice = random.Random(seed)
        for _ in range(60):
            if host.state.transition is not None or host.state.mode == "light":
                break
            at = host.t + dice.expovariate(4 / 30)
            for game in host.state.games:
                if game.status == "BACKOFF" and game.not_before <= at:
                    host.tick(game.not_before)
            for game in host.state.games:
                if game.status == "STARTING" and game.since + 10 <= at:
                    host.progress(game.name, at=game.since + 10)
            alive = [game.name for game in host.state.games if game.status == "RUNNING"]
            if alive:
                host.crash(dice.choice(alive), at=at)
                host.checkpoint(at=host.t)
            else:
                host.tick(at)
        assert host.state.failed_tries == {"medium": 1}, seed


def test_a_trainer_that_was_not_touched_for_a_minute_crashes_on_its_own(medium):
    host = medium
    begin = host.t + 10
    host.crash("A", at=begin)
    host.crash("B", at=begin + 60)
    assert len(host.state.incidents) == 1
    host.crash("C", at=begin + 60.5)
    assert len(host.state.incidents) == 2


def test_a_reboot_long_after_an_open_incident_began_is_its_own(medium):
    host = medium
    host.crash("A", at=host.t + 10)
    host.reboot(at=host.t + 100)
    assert [i.symptoms[0] for i in host.state.incidents] == ["trainer A SIGKILL", "reboot"]


@pytest.mark.parametrize(
    ("kind", "incidents"), [("oom", 1), ("lost", 1), ("error", 1), ("signal", 1), ("done", 0), ("outside", 0)]
)
def test_which_exits_are_incidents(medium, kind, incidents):
    medium.exit("A", kind, at=medium.t + 1)
    assert len(medium.state.incidents) == incidents


def test_a_trainer_that_somebody_else_keeps_stopping_waits_longer_and_longer(medium):
    waits = []
    for _ in range(4):
        medium.exit("A", "outside", at=medium.t + 1)
        waits.append(medium.state.game("A").not_before - medium.t)
        medium.restart("A", at=medium.state.game("A").not_before)
    assert waits == [10 - 1, 20 - 1, 40 - 1, 80 - 1]
    assert medium.state.incidents == ()


def test_a_silent_journal_pauses_stable_time_and_every_trainer_must_show_itself_again():
    host = Host(rules()).up()
    host.tick(3000)
    host.feed(ev.JournalBack, at=4000)
    assert host.said("alert")[-1].reason == (
        "the journal took no line for up to 16.7 min: that time is not taken for stable time"
    )
    assert (host.state.stable_s, host.state.progressing_since) == (3000, None)
    host.tick(5000)
    assert host.state.transition is None
    host.recover(at=5000)
    host.tick(5599)
    assert host.state.transition is None
    host.tick(5600)
    assert host.state.transition.kind == "promote"


def test_a_silent_journal_closes_no_incident_and_counts_none(medium):
    medium.crash("A", at=medium.t + 10)
    medium.feed(ev.JournalBack, at=medium.t + 100)
    assert (len(medium.state.incidents), medium.state.incident_open) == (1, True)


def test_goodput_takes_a_silent_journal_for_unwatched_time(medium):
    begin = medium.state.evidence.since
    medium.tick(begin + 100)
    medium.feed(ev.JournalBack, at=begin + 1900)
    known = medium.state.evidence.of("medium")
    assert known.hours == pytest.approx(130 / 3600, rel=1e-3)  # half a journal tick longer than was seen
    assert medium.state.evidence.since is None


def test_a_checkpoint_told_with_a_crash_comes_before_it(medium):
    for _ in range(3):
        attempt = medium.state.game("A").attempt
        last = {"game": "A", "attempt": attempt, "exit": "error", "detail": "exit code 1", "checkpoint_step": 9}
        medium.feed(ev.TrainerExited, at=medium.t + 10, **last)
        assert medium.state.barren_incidents == 1
        medium.restart("A", at=medium.t + 300)


def test_a_segfault_while_being_stopped_counts_for_the_mode_being_drained():
    host = Host(rules()).up()
    host.tick(3600)
    host.exit("A", "signal", at=3601, detail="SIGSEGV")
    host.exit("B", "stopped", at=3602)
    assert [(i.mode, i.symptoms) for i in host.state.incidents] == [
        ("light", ("trainer A SIGSEGV while it was being stopped",))
    ]
    assert host.state.counted(host.t) == ()


def test_a_hang_that_demotes_does_not_take_a_slot_of_the_new_mode(medium):
    host = medium
    for _ in range(3):
        host.crash_and_recover("D", at=host.t + 100, checkpoint=True)
    host.hang("D", at=host.t + 100)
    assert host.state.transition.kind == "demote"
    host.exit("D", "hang", at=host.t + 5)
    host.settle_drain(at=host.t + 1, recover=False)
    assert host.starting() == ["A", "B"]
    assert host.state.game("D").status == "QUEUED"


def test_a_hang_while_an_operator_stops_leaves_the_game_in_the_queue(medium):
    medium.hang("A", at=medium.t + 100)
    medium.stop(at=medium.t + 1)
    medium.exit("A", "hang", at=medium.t + 1)
    assert medium.state.game("A").status == "QUEUED"


def test_holding_the_mode_that_is_being_left_begins_it_anew(medium):
    host = medium
    host.demote_by_crashes()
    tries = host.state.failed_tries
    host.hold("medium", at=host.t + 1)
    host.settle_drain(at=host.t + 1)
    host.tick(host.t + 1)
    assert host.state.mode == "medium"
    assert host.state.transition is None
    assert host.state.counted(host.t) == ()
    assert host.state.failed_tries == tries


def test_kept_games_keep_their_slots_although_others_come_first_in_the_queue():
    host = Host(rules()).up()
    host.exit("A", "config", at=1)
    host.recover(at=2)
    assert host.running() == ["B", "C"]
    host.tick(host.t + 3600)
    host.settle_drain(at=host.t + 1)
    # A is tried again in medium, but only after those that were running.
    assert host.running() == ["A", "B", "C", "D"]
    host.settle_drain(at=host.demote_by_crashes("B") + 1)
    assert host.running() == ["A", "B"]


def test_all_games_fatal_by_configuration_are_tried_again_after_the_cooldown():
    host = Host(rules(games="AB")).up()
    for game in "AB":
        host.exit(game, "config", at=10)
    assert next_action(host.state, 11).kind == "retry"
    host.tick(3609)
    assert host.starting() == []
    host.tick(3610)
    assert host.starting() == ["A", "B"]


def test_an_announced_reboot_does_not_count_although_the_clock_jumps(medium):
    medium.announce_reboot(at=medium.t + 10)
    medium.reboot(at=medium.t + 3600)
    assert medium.state.incidents == ()


def test_an_announcement_expires(medium):
    medium.announce_reboot(at=medium.t + 10)
    medium.tick(medium.t + 1801)
    medium.reboot(at=medium.t + 1)
    assert len(medium.state.incidents) == 1


def test_the_cooldown_never_exceeds_its_maximum():
    host = Host(rules(cooldown_factor=100.0, cooldown_max_s=7200.0, stable_s=60.0)).up()
    for expected in (3600, 7200, 7200):
        host.climb()
        demoted = host.demote_by_crashes()
        assert host.state.retry_at["medium"] == demoted + expected
        host.settle_drain(at=demoted + 1)


def test_forgetting_failed_tries_forgets_their_cooldown_too():
    host = Host(rules(stable_s=60.0, cooldown_max_s=86400.0)).up().climb()
    host.rollback(at=host.t + 1)
    host.settle_drain(at=host.t + 1)
    host.hold("medium", at=host.t + 1)
    host.settle_drain(at=host.t + 1)
    host.tick(host.t + 21600)
    assert (host.state.failed_tries, host.state.retry_at) == ({}, {})


def test_release_lets_a_demotion_happen_that_was_held_back(medium):
    medium.hold("medium", at=medium.t + 1, no_fallback=True)
    for _ in range(4):
        medium.crash_and_recover("A", at=medium.t + 60, checkpoint=True)
    assert medium.state.transition is None
    medium.release(at=medium.t + 1)
    assert medium.state.transition.kind == "demote"


def test_rollback_over_two_rungs():
    host = Host(rules(modes=(("light", 2), ("medium", 4), ("large", 6)))).up().climb().climb()
    host.rollback(at=host.t + 1, to="light")
    host.settle_drain(at=host.t + 1)
    assert host.state.mode == "light"
    assert list(host.state.retry_at) == ["large"]


def test_rollback_to_the_present_mode_is_refused(medium):
    medium.rollback(at=medium.t + 1, to="medium")
    assert medium.decisions[-1].kind == "refuse"


def test_the_edge_of_a_short_window():
    for age, counts in ((600.0, False), (599.999, True)):
        host = Host(rules(window_s=600.0)).up().climb()
        first = host.t + 100
        host.crash_and_recover("A", at=first, checkpoint=True)
        host.crash_and_recover("A", at=first + 200, checkpoint=True)
        host.crash_and_recover("A", at=first + 400, checkpoint=True)
        host.crash("A", at=first + age)
        assert (host.state.transition is not None) is counts


def test_incidents_of_the_last_hour_are_kept_though_the_window_is_short():
    host = Host(rules(window_s=600.0)).up()
    host.crash_and_recover("A", at=100, checkpoint=True)
    host.tick(3699)
    assert len(host.state.incidents) == 1
    host.tick(3700)
    assert host.state.incidents == ()


def test_twenty_minute_reboots_demote_by_the_blind_spot():
    host = Host(rules()).up()
    host.checkpoint(at=1)
    host.climb()
    for _ in range(2):
        host.reboot(at=host.t + 1300)
        host.recover(at=host.t + 30)
        assert host.state.mode == "medium"
    host.reboot(at=host.t + 1300)
    assert host.state.mode == "light"


def test_trainers_that_never_report_checkpoints_know_no_blind_spot():
    host = Host(rules()).up().climb()
    for _ in range(5):
        host.crash_and_recover("A", at=host.t + 3000, checkpoint=False)
    assert host.state.mode == "medium"


def test_fewer_slots_stop_the_last_games_and_more_slots_start_the_next(medium):
    fewer = changed(medium.state.rules, modes=(Mode(name="light", slots=2), Mode(name="medium", slots=3)))
    medium.feed(ev.Configured, at=medium.t + 1, rules=fewer)
    assert [game.status for game in medium.state.games[:4]] == ["RUNNING", "RUNNING", "RUNNING", "STOPPING"]
    medium.exit("D", "stopped", at=medium.t + 1)
    more = changed(fewer, modes=(Mode(name="light", slots=2), Mode(name="medium", slots=5)))
    medium.feed(ev.Configured, at=medium.t + 1, rules=more)
    assert medium.starting() == ["D", "E"]


def test_a_removed_game_that_comes_back_goes_on_counting_its_attempts(medium):
    medium.crash_and_recover("A", at=medium.t + 1, checkpoint=True)
    attempt = medium.state.game("A").attempt
    medium.feed(ev.Configured, at=medium.t + 1, rules=rules(games="BCDEF"))
    medium.exit("A", "stopped", at=medium.t + 1)
    assert medium.state.game("A") is None
    medium.feed(ev.Configured, at=medium.t + 1, rules=rules(games="ABCDEF"))
    assert medium.state.game("A").attempt == attempt


def test_a_waiting_game_that_is_removed_keeps_its_number_too():
    host = Host(rules(games="ABC")).up()
    host.exit("A", "config", at=1)
    host.feed(ev.Configured, at=2, rules=rules(games="BC"))
    host.feed(ev.Configured, at=3, rules=rules(games="ABC"))
    assert host.state.game("A").attempt == 1


def test_a_held_mode_that_is_removed_releases_the_hold(medium):
    medium.hold("medium", at=medium.t + 1)
    medium.feed(ev.Configured, at=medium.t + 1, rules=rules(modes=(("light", 2), ("large", 5))))
    assert medium.state.hold is None


def test_settings_that_change_during_a_drain_restart_nothing_twice(medium):
    medium.rollback(at=medium.t + 1)
    new = changed(medium.state.rules, modes=(Mode(name="light", slots=2, settings="new"), Mode(name="medium", slots=4)))
    medium.feed(ev.Configured, at=medium.t + 1, rules=new)
    assert medium.state.transition.kind == "rollback"
    medium.settle_drain(at=medium.t + 1)
    assert medium.state.mode == "light"
    assert medium.state.transition is None


def test_progress_of_a_trainer_that_is_being_stopped_does_not_undo_the_stop(medium):
    medium.stop(at=medium.t + 1)
    medium.progress("A", at=medium.t + 1)
    assert medium.state.game("A").status == "STOPPING"


def test_a_second_reboot_after_a_clean_one_is_not_clean():
    host = Host(rules(count_clean_reboots=False)).up()
    host.agent_stops(at=10)
    host.reboot(at=60)
    host.recover(at=61)
    host.reboot(at=120)
    assert len(host.state.incidents) == 1


def test_start_ends_a_backoff_and_forgives_failures():
    host = Host(rules()).up()
    for _ in range(4):
        host.crash("A", at=host.t + 1)
        host.restart("A", at=host.state.game("A").not_before)
    host.crash("A", at=host.t + 1)
    host.start(at=host.t + 1)
    assert host.state.game("A").status == "STARTING"


def test_ten_good_minutes_are_counted_from_the_first_step_across_a_stall():
    host = Host(rules()).up()
    host.crash("A", at=5)
    host.restart("A", at=15)
    host.stall("A", at=300)
    host.progress("A", at=400)
    host.crash("A", at=15 + 600)
    assert host.state.game("A").failures == 0


def test_the_alert_of_a_lowest_mode_in_trouble_stays_while_it_is():
    host = Host(rules()).up()
    for _ in range(4):
        host.crash_and_recover("A", at=host.t + 30, checkpoint=True)
    assert alerts(host.state, host.t) == ["4 incidents in 60 min in the lowest mode: the host is not stable"]
    assert alerts(host.state, host.t + 3600) == []


def test_the_soonest_of_several_actions_is_the_next(medium):
    medium.crash("A", at=medium.t + 1)
    medium.crash("B", at=medium.t + 3)
    action = next_action(medium.state, medium.t)
    assert (action.kind, action.at) == ("start", medium.state.game("A").not_before)


@pytest.mark.parametrize("prepare", [lambda h: h.stop(at=h.t + 1), lambda h: h.rollback(at=h.t + 1)])
def test_explain_names_a_stop_and_a_drain(medium, prepare):
    prepare(medium)
    text = " ".join(lines(medium.state, medium.t))
    assert "stopped by an operator" in text or "On its way to light" in text
    assert "waiting for a step" not in text


def test_explain_works_while_a_removed_mode_drains(medium):
    medium.feed(ev.Configured, at=medium.t + 1, rules=rules(modes=(("other", 2),)))
    assert "On its way to other" in " ".join(lines(medium.state, medium.t))


def test_a_ladder_of_one_mode_says_so():
    host = Host(rules(modes=(("only", 2),))).up()
    assert next_action(host.state, host.t).reason == "only is the only mode"


def test_a_lost_gpu_counts_once_until_it_is_back(medium):
    for at in (10, 20):
        medium.gpu_fault(at=medium.t + at)
        medium.agent_restarts(at=medium.t + 1)
        medium.recover(at=medium.t + 1)
    assert len(medium.state.incidents) == 1
    medium.feed(ev.GpuBack, at=medium.t + 100, gpu=0)
    medium.gpu_fault(at=medium.t + 1)
    assert len(medium.state.incidents) == 2
