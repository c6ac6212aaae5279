"""One game's life, field by field and word for word: what the policy keeps of it and says about it."""

from __future__ import annotations

import msgspec
import pytest

from policy_driver import Host, rules
from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision
from rlagent.policy.model import Game, Mode


@pytest.fixture
def host():
    """A and B run in light since 0; C to J wait."""
    return Host(rules()).up()


def game(**fields):
    """Game A after its first step at 0, but for these fields."""
    first = {"name": "A", "status": "RUNNING", "attempt": 1, "slot": 0, "progressing": True, "progressed_at": 0.0}
    return Game(**{**first, **fields})


def a(host):
    return host.state.game("A")


def last(host, kind):
    return host.said(kind)[-1]


def test_a_game_waits_in_the_queue_without_a_slot(host):
    assert host.state.game("C") == Game(name="C")


def test_a_start_is_the_next_attempt_in_a_slot(host):
    assert [(d.reason, d.game, d.attempt) for d in host.said("start")] == [
        ("start A: attempt 1", "A", 1),
        ("start B: attempt 1", "B", 1),
    ]
    host = Host(rules())
    assert a(host) == game(status="STARTING", progressing=False, progressed_at=None)


def test_the_first_step_is_remembered_and_the_next_one_is_not(host):
    host.crash("A", at=4)
    host.tick(10)
    host.progress("A", at=12)
    assert a(host) == game(since=12.0, attempt=2, progressed_at=12.0, failures=1, not_before=10.0, last_error="SIGKILL")
    host.stall("A", at=20)
    assert a(host).progressing is False
    host.progress("A", at=30)
    assert (a(host).since, a(host).progressed_at, a(host).progressing) == (12.0, 12.0, True)


def test_a_crash_waits_for_its_backoff_and_starts_again_with_the_error(host):
    host.crash("A", at=4)
    waiting = {"status": "BACKOFF", "since": 4.0, "progressing": False, "failures": 1, "not_before": 10.0}
    assert a(host) == game(**waiting, last_error="SIGKILL")
    assert last(host, "backoff") == Decision(kind="backoff", reason="A: SIGKILL; restart 1 in 6 s", game="A")
    assert host.state.incidents[0].symptoms == ("trainer A SIGKILL",)
    host.tick(9.9)
    assert a(host).status == "BACKOFF"
    host.tick(10)
    starting = {"status": "STARTING", "since": 10.0, "attempt": 2, "progressing": False, "progressed_at": None}
    assert a(host) == game(**starting, failures=1, not_before=10.0, last_error="SIGKILL")
    restart = Decision(kind="start", reason="start A: attempt 2, after SIGKILL", game="A", attempt=2)
    assert last(host, "start") == restart


def test_a_start_after_good_training_names_no_error(host):
    host.crash("A", at=700)
    assert (a(host).failures, a(host).last_error) == (0, "SIGKILL")
    assert last(host, "backoff").reason == "A: SIGKILL; restart at once"
    assert last(host, "start").reason == "start A: attempt 2"


def test_attempts_without_a_step_are_counted_until_the_game_is_given_up(host):
    host.crash("A", at=4)
    for attempt, (wait, when) in enumerate([(10, "20 s"), (30, "40 s"), (70, "80 s"), (150, "2.7 min")], start=2):
        host.tick(wait)
        host.crash("A", at=wait)
        assert (a(host).barren, a(host).failures) == (attempt - 1, attempt)
        assert last(host, "backoff").reason == f"A: SIGKILL; restart {attempt} in {when}"
    host.tick(310)
    host.crash("A", at=312)
    error = "5 attempts in a row without a step of progress; the last one: SIGKILL"
    given_up = {"status": "FATAL", "since": 312.0, "fatal_kind": "crash", "last_error": error}
    counts = {"attempt": 6, "barren": 5, "failures": 6, "not_before": 310.0}
    assert a(host) == game(**given_up, **counts, progressing=False, progressed_at=None)
    reason = f"A is FATAL: {error}; the next game takes its slot (08:05:12Z)"
    assert last(host, "fatal") == Decision(kind="fatal", reason=reason, game="A", attempt=6)


def test_a_step_forgives_attempts_without_one_although_the_trainer_is_stopped_before_it_fails_again(host):
    host.crash("A", at=4)
    for wait in (10, 30):
        host.tick(wait)
        host.crash("A", at=wait)
    host.restart("A", at=70)
    assert a(host).barren == 0
    host.hold("medium", at=71)
    host.settle_drain(at=72, recover=False)
    host.crash("A", at=73)
    assert a(host).barren == 1


@pytest.mark.parametrize(("trained_s", "failures", "wait_s"), [(599.0, 3, 4000 - 599), (700.0, 1, 1000 - 700)])
def test_good_training_makes_a_failure_the_first_one_although_it_was_shorter_than_the_backoff(
    trained_s, failures, wait_s
):
    host = Host(rules(backoff_s=(1000.0, 2000.0, 4000.0), backoff_reset_s=600.0)).up()
    for _ in range(2):
        host.crash("A", at=host.t)
        host.restart("A", at=a(host).not_before)
    host.crash("A", at=host.t + trained_s)
    assert (a(host).failures, a(host).not_before - host.t) == (failures, wait_s)


def test_a_wrong_configuration_is_given_up_with_what_is_wrong(host):
    host.exit("A", "config", at=5, detail="no game Pnog")
    error = "wrong configuration: no game Pnog"
    assert a(host) == game(status="FATAL", since=5.0, progressing=False, fatal_kind="config", last_error=error)
    reason = f"A is FATAL: {error}; the next game takes its slot (08:00:05Z)"
    assert last(host, "fatal") == Decision(kind="fatal", reason=reason, game="A", attempt=1)


def test_a_finished_game_forgets_its_last_error(host):
    host.crash("A", at=700)
    host.progress("A", at=710)
    host.exit("A", "done", at=720, detail="1,000 frames")
    assert a(host) == game(
        status="EXITED", since=720.0, attempt=2, progressing=False, progressed_at=710.0, not_before=700.0
    )
    assert last(host, "done") == Decision(kind="done", reason="A is done: 1,000 frames", game="A", attempt=2)


def test_a_trainer_that_hangs_is_stopped_and_keeps_that_as_its_error(host):
    host.hang("A", at=400)
    error = "hang: no step for 5 min"
    stopping = {"status": "STOPPING", "stop_reason": "hang", "progressing": False, "last_error": error}
    assert a(host) == game(**stopping, since=400.0)
    assert last(host, "stop") == Decision(kind="stop", reason="stop A: it hangs", game="A", attempt=1)
    assert host.state.incidents[0].symptoms == ("trainer A hung for 5 min",)
    host.hang("A", at=401)
    assert len(host.said("stop")) == 1
    host.exit("A", "hang", at=405, detail="SIGKILL")
    assert last(host, "backoff").reason == f"A: {error}; restart at once"
    assert (a(host).stop_reason, a(host).last_error) == ("", error)
    assert len(host.state.incidents) == 1


def test_a_game_that_reached_its_target_while_it_hung_crashes_like_any_other_when_its_target_is_raised(host):
    host.hang("A", at=400)
    host.exit("A", "done", at=405)
    higher = msgspec.structs.replace(host.state.rules.games[0], target_frames=2000)
    rest = host.state.rules.games[1:]
    host.feed(ev.Configured, at=410, rules=msgspec.structs.replace(host.state.rules, games=(higher, *rest)))
    host.exit("C", "done", at=420)
    host.recover(at=420)
    assert (a(host).status, a(host).stop_reason) == ("RUNNING", "")
    host.crash("A", at=430)
    assert host.state.incidents[-1].symptoms == ("trainer A SIGKILL",)


def test_a_trainer_that_hung_before_its_first_step_waits_without_a_reason_to_stop(host):
    host.crash("A", at=4)
    host.tick(10)
    host.hang("A", at=310)
    host.exit("A", "hang", at=311)
    assert (a(host).status, a(host).stop_reason, a(host).not_before) == ("BACKOFF", "", 331.0)


@pytest.mark.parametrize(
    ("stop", "reason", "words"),
    [
        (lambda host: host.hold("medium", at=5), "drain", "mode change"),
        (lambda host: host.stop(at=5), "operator", "stopped by an operator"),
        (
            lambda host: host.feed(ev.Configured, at=5, rules=rules(games="BCD")),
            "resize",
            "its slot is gone or its settings changed",
        ),
    ],
)
def test_a_stop_says_why_and_ends_in_the_queue(host, stop, reason, words):
    stop(host)
    assert a(host) == game(status="STOPPING", since=5.0, stop_reason=reason, progressing=False)
    assert host.said("stop")[0] == Decision(kind="stop", reason=f"stop A: {words}", game="A", attempt=1)


def test_a_stopped_game_is_in_the_queue_again(host):
    host.stop(at=5)
    host.exit("A", "stopped", at=6)
    assert a(host) == game(status="QUEUED", since=6.0, progressing=False)
    assert host.said("backoff") == []


def test_news_of_a_trainer_that_is_being_stopped_do_not_bring_it_back(host):
    host.stop(at=5)
    host.progress("A", at=6)
    host.hang("A", at=7)
    assert a(host) == game(status="STOPPING", since=5.0, stop_reason="operator", progressing=False)
    assert host.state.incidents == ()


@pytest.mark.parametrize(("kind", "counted"), [("signal", 1), ("oom", 1), ("error", 0), ("stopped", 0), ("lost", 0)])
def test_which_ends_of_a_trainer_that_is_being_stopped_are_crashes(host, kind, counted):
    host.stop(at=5)
    host.exit("A", kind, at=6, detail="SIGSEGV")
    assert a(host).status == "QUEUED"
    symptoms = [incident.symptoms for incident in host.state.incidents]
    assert symptoms == [("trainer A SIGSEGV while it was being stopped",)] * counted


@pytest.mark.parametrize("kind", ["outside", "stopped"])
def test_a_trainer_that_was_stopped_by_somebody_else_is_no_crash(host, kind):
    host.exit("A", kind, at=4, detail="SIGTERM")
    assert (a(host).status, a(host).last_error, host.state.incidents) == ("BACKOFF", "SIGTERM", ())


def test_a_waiting_game_leaves_its_backoff_for_the_queue_when_all_are_stopped(host):
    host.crash("A", at=4)
    host.stop(at=5)
    assert (a(host).status, a(host).since, a(host).stop_reason) == ("QUEUED", 5.0, "")
    assert [decision.game for decision in host.said("stop")] == ["B"]


@pytest.mark.parametrize("wish", [lambda host: host.stop(at=4), lambda host: host.hold("medium", at=4)])
def test_a_hang_that_ends_while_no_slot_is_free_waits_in_the_queue(host, wish):
    host.hang("A", at=3)
    wish(host)
    host.exit("A", "hang", at=5)
    assert (a(host).status, a(host).not_before) == ("QUEUED", 5.0 + 5.0)


def test_news_of_a_game_that_nobody_knows_or_of_another_attempt_change_nothing(host):
    games = host.state.games
    for name, attempt in (("Z", 1), ("A", 0), ("A", 2), ("C", 0)):
        host.feed(ev.TrainerStalled, at=1, game=name, attempt=attempt, silent_s=30.0)
        host.feed(ev.TrainerHung, at=1, game=name, attempt=attempt, silent_s=300.0)
        host.feed(ev.TrainerExited, at=1, game=name, attempt=attempt, exit="done", detail="")
        host.feed(ev.TrainerProgressed, at=1, game=name, attempt=attempt, global_step=1)
    assert host.state.games == games


def test_a_doubt_about_progress_is_about_every_trainer(host):
    host.agent_restarts(at=5)
    assert [game.progressing for game in host.state.games] == [False] * 10


def fatal(host, *games, at):
    for name in games:
        host.exit(name, "config", at=at)


def test_a_game_that_is_tried_again_has_one_attempt():
    host = Host(rules(games="A")).up()
    fatal(host, "A", at=10)
    host.tick(3610)
    again = {"status": "STARTING", "since": 3610.0, "attempt": 2, "progressing": False, "progressed_at": None}
    assert a(host) == game(**again, barren=4, not_before=3610.0, last_error="wrong configuration: config")
    host.crash("A", at=3611)
    assert (a(host).status, a(host).since) == ("FATAL", 3611.0)


def test_only_as_many_games_are_tried_again_as_slots_are_free():
    host = Host(rules(games="ABCD")).up()
    host.hold("light", at=1)
    fatal(host, "A", "B", at=10)
    host.tick(20)
    fatal(host, "C", at=20)
    assert host.starting() == ["D"]
    host.tick(3609)
    assert host.starting() == ["D"]
    host.tick(3610)
    assert host.starting() == ["A", "D"]
    assert [host.state.game(name).status for name in "BC"] == ["FATAL", "FATAL"]


def test_games_in_the_queue_come_before_those_that_were_given_up():
    host = Host(rules(games="ABC")).up()
    host.hold("light", at=1)
    fatal(host, "A", at=10)
    assert host.starting() == ["C"]
    host.recover(at=20)
    host.tick(4000)
    host.stop(at=4001)
    for name in "BC":
        host.exit(name, "stopped", at=4002)
    host.state = msgspec.structs.replace(host.state, stopped=False)
    host.tick(4003)
    assert host.starting() == ["B", "C"]
    assert a(host).status == "FATAL"


def test_the_last_games_in_the_queue_lose_their_slots_first():
    host = Host(rules()).up().climb()
    fewer = msgspec.structs.replace(host.state.rules, modes=(Mode(name="light", slots=2), Mode(name="medium", slots=2)))
    host.feed(ev.Configured, at=host.t + 1, rules=fewer)
    assert [decision.game for decision in host.said("stop")[-2:]] == ["D", "C"]
    host.exit("D", "stopped", at=host.t)
    assert host.starting() == []


def test_a_slot_beyond_those_of_the_mode_is_given_up_for_the_lowest_free_one():
    host = Host(rules(modes=(("light", 2), ("medium", 3)))).up().climb()
    host.exit("A", "done", at=host.t + 1)
    host.exit("B", "done", at=host.t)
    assert {game.name: game.slot for game in host.state.games if game.has_slot} == {"C": 2, "D": 0, "E": 1}
    host.recover(at=host.t)
    host.rollback(at=host.t + 1)
    host.settle_drain(at=host.t + 1)
    assert {game.name: game.slot for game in host.state.games if game.has_slot} == {"C": 0, "D": 1}
