"""The games queue: slots, backoff, games that are done and games that are given up."""

from __future__ import annotations

import msgspec
import pytest

from policy_driver import Host, rules
from rlagent.policy import events as ev
from rlagent.policy.explain import alerts, next_action
from rlagent.policy.model import GameRule


@pytest.fixture
def host():
    return Host(rules()).up()


def test_a_finished_game_gives_its_slot_to_the_next_in_the_queue(host):
    host.exit("A", "done", at=10)
    assert host.state.game("A").status == "EXITED"
    assert host.starting() == ["C"]


def test_since_is_the_time_of_the_last_change_of_status_and_of_nothing_else(host):
    begun = host.state.game("A").since
    host.stall("A", at=host.t + 5)
    host.progress("A", at=host.t + 5)
    assert (host.state.game("A").status, host.state.game("A").since) == ("RUNNING", begun)
    host.crash("A", at=host.t + 5)
    assert (host.state.game("A").status, host.state.game("A").since) == ("STARTING", host.t)


def test_restarts_wait_longer_each_time_up_to_the_last_waiting_time(host):
    waits = []
    for _ in range(8):
        host.crash("A", at=host.t)
        waits.append(host.state.game("A").not_before - host.t)
        host.restart("A", at=host.state.game("A").not_before)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_the_time_a_trainer_has_trained_is_no_longer_waited_for(host):
    waits = []
    for trained_s in (4, 0, 40, 15, 300):
        host.crash("A", at=host.t + trained_s)
        waits.append(host.state.game("A").not_before - host.t)
        host.restart("A", at=host.state.game("A").not_before)
    assert waits == [10 - 4, 20, 0, 20 - 15, 0]


def test_a_trainer_that_has_trained_longer_than_its_backoff_starts_again_in_the_same_turn(host):
    host.crash("A", at=10)
    assert host.starting() == ["A"]
    assert "A: SIGKILL; restart at once" in host.said("backoff")[-1].reason


def test_ten_good_minutes_make_the_next_failure_the_first_again(host):
    for _ in range(3):
        host.crash("A", at=host.t)
        host.restart("A", at=host.state.game("A").not_before)
    host.crash("A", at=host.t + 599)
    assert host.state.game("A").failures == 2
    host.restart("A", at=host.t)
    host.crash("A", at=host.t + 600)
    assert host.state.game("A").failures == 0
    host.restart("A", at=host.t)
    host.crash("A", at=host.t)
    assert host.state.game("A").not_before == host.t + 10


def test_a_failure_after_longer_training_than_its_wait_takes_one_off_the_row(host):
    """Twelve faults an hour are no crash loop: none of them costs a backoff."""
    for _ in range(24):
        host.crash("A", at=host.t + 300)
        assert host.starting() == ["A"]
        host.progress("A", at=host.t)


def test_a_game_without_a_step_in_five_attempts_is_fatal_and_the_next_takes_its_slot(host):
    host.crash("A", at=1)
    for n in range(5):
        assert host.state.game("A").status == "BACKOFF", n
        host.tick(host.state.game("A").not_before)
        host.exit("A", "error", at=host.t, detail="exit code 1: ValueError: no ROM")
    assert host.state.game("A").status == "FATAL"
    assert host.starting() == ["C"]
    assert "ValueError: no ROM" in alerts(host.state, host.t)[0]


def test_one_step_of_progress_forgives_the_attempts_before(host):
    for _ in range(3):
        for _ in range(4):
            host.crash("A", at=host.t)
            host.tick(host.state.game("A").not_before)
        host.progress("A", at=host.t)
    assert host.state.game("A").status == "RUNNING"


def test_a_wrong_configuration_is_fatal_at_once_and_no_incident(host):
    host.exit("A", "config", at=5, detail="exit code 2: unknown game")
    assert host.state.game("A").status == "FATAL"
    assert host.state.incidents == ()


def test_reboots_are_not_held_against_a_game(host):
    for _ in range(7):
        host.reboot(at=host.t + 10)
    assert host.state.game("A").barren == 0
    assert host.starting() == ["A", "B"]


def test_a_hang_is_an_incident_and_restarts_after_the_kill(host):
    host.hang("A", at=400)
    assert host.state.game("A").status == "STOPPING"
    assert len(host.state.incidents) == 1
    host.exit("A", "hang", at=405)
    assert host.state.game("A").status == "STARTING"
    assert len(host.state.incidents) == 1


def test_a_trainer_stopped_by_somebody_else_restarts_without_an_incident(host):
    host.exit("A", "outside", at=5)
    assert host.state.incidents == ()
    host.tick(15)
    assert host.starting() == ["A"]


def test_news_of_an_older_attempt_change_nothing(host):
    host.crash("A", at=5)
    host.restart("A", at=15)
    before = host.state
    stale = ev.TrainerExited(t=16, wall=before.wall, game="A", attempt=1, exit="signal", detail="SIGKILL")
    host.feed(ev.TrainerExited, at=16, game="A", attempt=1, exit="signal", detail=stale.detail)
    assert host.state.game("A") == before.game("A")
    assert host.state.incidents == before.incidents


def test_a_mode_in_which_nothing_runs_is_left():
    host = Host(rules(games="ABCD")).up().climb()
    for game in "ABCD":
        host.exit(game, "config", at=host.t + 1, detail="exit code 2: batch too large")
    assert host.state.mode == "light"
    assert "no game can run in this mode: A: wrong configuration" in host.said("demote")[-1].reason
    assert host.starting() == ["A", "B"]


def test_fatal_games_are_tried_again_when_slots_would_stay_empty():
    host = Host(rules(games="AB", max_barren_attempts=1)).up()
    host.hold("light", at=0)
    host.crash("A", at=host.t + 1)
    host.tick(host.state.game("A").not_before)
    fatal_at = host.t + 1
    host.crash("A", at=fatal_at)
    assert host.state.game("A").status == "FATAL"
    host.tick(fatal_at + 3599)
    assert host.state.game("A").status == "FATAL"
    host.tick(fatal_at + 3600)
    assert host.state.game("A").status == "STARTING"


def test_start_gives_fatal_games_a_fresh_chance(host):
    host.exit("A", "config", at=5)
    host.start(at=6)
    assert host.state.game("A").status == "QUEUED"
    assert host.state.game("A").barren == 0


def test_when_every_game_is_done_nothing_is_started_and_it_says_so():
    host = Host(rules(games="AB")).up()
    host.exit("A", "done", at=5)
    host.exit("B", "done", at=6)
    host.tick(100_000)
    assert host.state.mode == "light"
    assert next_action(host.state, host.t).reason == "every game has reached its target"


def test_changed_settings_of_the_mode_restart_its_trainers_in_place(host):
    changed = rules(modes=(("light", 2), ("medium", 4)))
    mode = type(changed.modes[0])(name="light", slots=2, settings="num_envs=64")
    host.feed(ev.Configured, at=10, rules=type(changed)(modes=(mode, changed.modes[1]), games=changed.games))
    assert host.state.transition.kind == "reconfigure"
    host.settle_drain(at=11)
    assert host.state.mode == "light"
    assert host.running() == ["A", "B"]
    assert host.state.mode_entered == 0


def test_unchanged_rules_touch_no_trainer(host):
    before = host.state.games
    host.feed(ev.Configured, at=10, rules=rules())
    assert host.state.games == before


def test_a_raised_target_brings_a_finished_game_back(host):
    host.exit("A", "done", at=5)
    games = (GameRule(name="A", target_frames=2000), *rules().games[1:])
    host.feed(ev.Configured, at=10, rules=type(rules())(modes=rules().modes, games=games))
    assert host.state.game("A").status == "QUEUED"


def test_a_game_that_left_the_queue_is_stopped_and_forgotten(host):
    host.feed(ev.Configured, at=10, rules=rules(games="BCD"))
    assert host.state.game("A").status == "STOPPING"
    host.exit("A", "stopped", at=11)
    assert host.state.game("A") is None
    assert host.starting() == ["C"]


def test_a_removed_mode_is_left_for_the_lowest(host):
    host.climb()
    host.feed(ev.Configured, at=host.t + 1, rules=rules(modes=(("light", 2), ("large", 6))))
    host.settle_drain(at=host.t + 1)
    assert host.state.mode == "light"


def slots(host):
    return {game.name: game.slot for game in host.state.games if game.has_slot}


def test_a_slot_keeps_its_number_over_restarts_and_the_next_game_gets_the_one_that_is_free():
    host = Host(rules()).up().climb()
    assert slots(host) == {"A": 0, "B": 1, "C": 2, "D": 3}
    host.crash("C", at=host.t + 1)
    host.exit("B", "done", at=host.t + 1)
    host.restart("C", at=host.state.game("C").not_before)
    assert slots(host) == {"A": 0, "C": 2, "D": 3, "E": 1}


def test_games_that_go_on_in_another_mode_keep_their_slots_as_far_as_it_has_them():
    host = Host(rules()).up()
    host.exit("A", "done", at=host.t + 1)
    assert slots(host) == {"B": 1, "C": 0}
    host.recover(at=host.t).climb()
    assert slots(host) == {"B": 1, "C": 0, "D": 2, "E": 3}


def test_a_state_from_before_slots_had_numbers_gives_them_at_the_next_start():
    host = Host(rules()).up()
    games = tuple(msgspec.structs.replace(game, slot=None) for game in host.state.games)
    host.state = msgspec.structs.replace(host.state, games=games)
    host.crash("B", at=host.t + 1)
    host.restart("B", at=host.state.game("B").not_before)
    assert slots(host) == {"A": None, "B": 0}
