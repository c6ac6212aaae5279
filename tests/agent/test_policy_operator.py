"""What operators ask for beyond holds and rollbacks: a mode without a hold, and a reboot that is announced."""

from __future__ import annotations

import pytest

from policy_driver import Host, rules
from rlagent.policy import events as ev
from rlagent.policy.explain import lines, next_action
from rlagent.policy.model import ANNOUNCED_REBOOT_S, Hold

THREE = rules(modes=(("light", 2), ("medium", 4), ("large", 6)))


@pytest.fixture
def light():
    return Host(rules()).up()


@pytest.fixture
def medium():
    return Host(rules()).up().climb()


def reasons(host, kind):
    return [decision.reason for decision in host.said(kind)]


def drained(host):
    """Announce a reboot and let every trainer checkpoint and stop."""
    host.announce_reboot(at=host.t + 10, drain=True)
    host.settle_drain(at=host.t + 5)
    return host


def test_scale_up_goes_there_at_once_and_does_not_hold(light):
    light.scale("medium", at=light.t + 1)
    assert light.said("scale")[0].reason == "scale light -> medium by ana; automation goes on from there"
    light.settle_drain(at=light.t + 5)
    assert (light.state.mode, light.state.hold, len(light.running())) == ("medium", None, 4)
    light.recover(at=light.t)
    light.demote_by_crashes()
    assert light.state.transition.to == "light"


def test_scale_down_is_no_failed_try_and_is_undone_by_the_next_promotion(medium):
    medium.scale("light", at=medium.t + 1)
    medium.settle_drain(at=medium.t + 5)
    assert (medium.state.failed_tries, medium.state.retry_at) == ({}, {})
    medium.recover(at=medium.t)
    medium.tick(medium.t + 3600)
    assert medium.state.transition.to == "medium"


def test_scale_does_not_wait_for_a_cooldown(medium):
    medium.rollback(at=medium.t + 1)
    medium.settle_drain(at=medium.t + 5)
    medium.scale("medium", at=medium.t + 5)
    assert medium.state.transition.to == "medium"


def test_scale_to_where_the_host_is_or_goes_changes_nothing(light):
    light.scale("light", at=light.t + 1)
    assert light.decisions[-1].reason == "in light already: nothing to change"
    light.scale("medium", at=light.t + 1)
    light.scale("medium", at=light.t + 1)
    assert light.decisions[-1].reason == "on the way to medium already: nothing to change"
    assert light.kinds().count("stop") == 2


@pytest.mark.parametrize(
    ("held", "mode", "reason"),
    [
        (None, "huge", "no mode 'huge': there are light, medium"),
        ("light", "medium", "the host is held in light by ana (demo): release it first, or hold medium"),
    ],
)
def test_scale_is_refused_where_it_could_not_last(light, held, mode, reason):
    if held is not None:
        wish = {"mode": held, "for_s": None, "no_fallback": False, "who": "ana", "why": "demo"}
        light.feed(ev.HoldRequested, at=light.t + 1, **wish)
    before = light.state.transition
    light.scale(mode, at=light.t + 1)
    assert (light.said("refuse")[-1].reason, light.state.transition) == (reason, before)


def test_an_announced_reboot_drains_is_not_counted_and_trainers_start_after_it(medium):
    drained(medium)
    assert (medium.running(), medium.state.stopped) == ([], True)
    assert next_action(medium.state, medium.t).reason == "all trainers, if the announced reboot has not come by then"
    assert "All trainers are stopped by an operator until the announced reboot." in lines(medium.state, medium.t)
    medium.reboot(at=medium.t + 60)
    assert (medium.state.incidents, medium.state.stopped, len(medium.starting())) == ((), False, 4)


def test_an_agent_restart_does_not_end_the_drain(medium):
    drained(medium)
    medium.agent_restarts(at=medium.t + 10)
    assert (medium.state.stopped, medium.starting()) == (True, [])
    medium.reboot(at=medium.t + 60)
    assert (medium.state.incidents, medium.state.stopped) == ((), False)


def test_a_reboot_that_does_not_come_lets_trainers_start_again_and_the_next_one_counts(medium):
    drained(medium)
    medium.tick(medium.t + ANNOUNCED_REBOOT_S - 60)
    assert medium.starting() == []
    medium.tick(medium.t + 61)
    assert medium.said("withdraw")[0].reason == "no reboot within 30 min of its announcement: one counts again"
    assert (medium.state.stopped, len(medium.starting())) == (False, 4)
    medium.reboot(at=medium.t + 10)
    assert len(medium.state.incidents) == 1


def test_a_withdrawn_reboot_lets_trainers_start_again(medium):
    drained(medium)
    medium.withdraw_reboot(at=medium.t + 1)
    assert (medium.state.announced_until, medium.state.stopped, len(medium.starting())) == (None, False, 4)
    medium.withdraw_reboot(at=medium.t + 1)
    assert reasons(medium, "refuse") == ["nothing to withdraw: no reboot is announced"]


def test_a_start_withdraws_the_reboot_that_trainers_were_stopped_for(medium):
    drained(medium)
    medium.start(at=medium.t + 1)
    assert (medium.state.announced_until, len(medium.starting())) == (None, 4)


@pytest.mark.parametrize("stop_first", [True, False])
def test_an_operators_lasting_stop_outlives_the_reboot(medium, stop_first):
    if stop_first:
        medium.stop(at=medium.t + 1)
    drained(medium)
    if not stop_first:
        medium.stop(at=medium.t + 1)
    medium.reboot(at=medium.t + 60)
    assert (medium.state.stopped, medium.starting(), medium.state.incidents) == (True, [], ())


def test_a_hold_keeps_who_wished_it_why_and_for_how_long(light):
    wish = {"mode": "medium", "for_s": 7200.0, "no_fallback": True, "who": "ana", "why": "a demo"}
    light.feed(ev.HoldRequested, at=10, **wish)
    assert light.state.hold == Hold(mode="medium", until=10 + 7200, no_fallback=True, who="ana", why="a demo")
    [decision] = light.said("hold")
    assert (decision.from_mode, decision.to_mode) == ("light", "medium")
    assert decision.reason == "hold medium for 2 h, without fallback by ana (a demo)"
    assert (light.state.transition.kind, light.state.transition.reason) == ("hold", decision.reason)


def test_a_hold_of_the_mode_the_host_is_in_moves_nothing(light):
    light.hold("light", at=10)
    assert light.state.hold == Hold(mode="light", until=None, no_fallback=False, who="ana", why="")
    [decision] = light.said("hold")
    assert (decision.reason, decision.to_mode) == ("hold light until released by ana", "light")
    assert light.state.transition is None


@pytest.mark.parametrize("for_s", [0.0, -5.0])
def test_a_hold_for_no_time_is_over_at_once(light, for_s):
    light.feed(ev.HoldRequested, at=10, mode="light", for_s=for_s, no_fallback=False, who="ana", why="demo")
    assert light.state.hold is None
    assert reasons(light, "release") == ["the hold of light by ana (demo) is over: the policy decides again"]


def test_a_hold_of_an_unknown_mode_is_refused_and_changes_nothing(light):
    light.hold("huge", at=10)
    assert reasons(light, "refuse") == ["no mode 'huge': there are light, medium"]
    assert (light.state.hold, light.state.transition, light.kinds()[-1]) == (None, None, "refuse")


def test_a_release_says_who_and_a_second_one_is_refused(light):
    light.hold("light", at=10)
    light.feed(ev.ReleaseRequested, at=11, who="ana", why="done")
    light.release(at=12)
    assert reasons(light, "release") == ["released by ana (done): the policy decides again"]
    assert reasons(light, "refuse") == ["nothing to release: the host is not held"]
    assert light.state.hold is None


def test_a_rollback_says_from_where_to_where_and_until_when(medium):
    medium.rollback(at=4000)
    [decision] = medium.said("rollback")
    assert decision.reason == "rollback medium -> light by ana (heat); retry not before 10:06:40Z"
    assert (decision.from_mode, decision.to_mode) == ("medium", "light")
    assert medium.state.transition.kind == "rollback"


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("medium", "medium is not below medium: to go up or stay, use hold"),
        ("large", "large is not below medium: to go up or stay, use hold"),
        ("huge", "no mode 'huge': there are light, medium, large"),
    ],
)
def test_a_rollback_goes_down_only(to, reason):
    host = Host(THREE).up().climb()
    host.rollback(at=host.t + 1, to=to)
    assert (reasons(host, "refuse"), host.state.transition, host.state.failed_tries) == ([reason], None, {})


def test_a_rollback_goes_down_one_rung_unless_told_otherwise():
    host = Host(THREE).up().climb().climb()
    host.rollback(at=host.t + 1)
    assert host.state.transition.to == "medium"


def test_from_the_lowest_mode_nothing_is_rolled_back(light):
    light.rollback(at=10)
    assert reasons(light, "refuse") == ["light is the lowest mode: there is nothing to roll back to"]
    light.rollback(at=11, to="light")
    assert reasons(light, "refuse")[1] == "light is not below light: to go up or stay, use hold"


def test_a_rollback_on_the_way_up_starts_from_where_the_host_was_going():
    host = Host(THREE).up().climb()
    host.scale("large", at=host.t + 1)
    host.rollback(at=host.t + 1)
    assert reasons(host, "rollback")[0].startswith("rollback large -> medium by ana (heat); ")


def test_scale_into_the_held_mode_is_held_there(medium):
    medium.hold("medium", at=medium.t + 1)
    medium.demote_by_crashes()
    medium.settle_drain(at=medium.t + 1)
    medium.feed(ev.ScaleRequested, at=medium.t + 1, mode="medium", who="ana", why="again")
    [decision] = medium.said("scale")
    assert decision.reason == "scale light -> medium by ana (again); held there"
    assert (decision.from_mode, decision.to_mode, medium.state.transition.kind) == ("light", "medium", "scale")


def test_scale_to_where_the_host_is_names_the_mode(light):
    light.scale("light", at=10)
    assert light.said("scale")[0].to_mode == "light"


def stops(host):
    return host.state.stopped, host.state.stopped_until_restart, host.state.stopped_for_reboot


def test_a_stop_stops_every_trainer_and_says_until_when(light):
    light.feed(ev.StopRequested, at=10, who="ana", why="heat")
    assert stops(light) == (True, False, False)
    assert reasons(light, "stopped") == ["stop all trainers by ana (heat): they stay stopped until started again"]
    assert reasons(light, "stop") == ["stop A: stopped by an operator", "stop B: stopped by an operator"]
    assert [game.stop_reason for game in light.state.games[:2]] == ["operator", "operator"]


def test_a_stop_until_restart_says_so_and_a_lasting_one_outlives_it(light):
    light.feed(ev.StopRequested, at=10, who="", why="", until_restart=True)
    assert stops(light) == (True, True, False)
    assert reasons(light, "stopped") == ["stop all trainers: they stay stopped until the agent's next start"]
    light.stop(at=11)
    assert stops(light) == (True, False, False)
    light.feed(ev.StopRequested, at=12, who="", why="", until_restart=True)
    assert stops(light) == (True, False, False)
    assert reasons(light, "stopped")[2] == "stop all trainers: they stay stopped until started again"


def test_a_stop_until_restart_again_is_still_one_until_restart(light):
    for at in (10, 11):
        light.feed(ev.StopRequested, at=at, who="", why="", until_restart=True)
    assert stops(light) == (True, True, False)


def test_a_stop_until_restart_leaves_a_drained_reboot_what_it_is(medium):
    drained(medium)
    medium.feed(ev.StopRequested, at=medium.t + 1, who="", why="", until_restart=True)
    assert stops(medium) == (True, True, True)


def test_a_lasting_stop_takes_a_drained_reboots_place(medium):
    drained(medium)
    medium.stop(at=medium.t + 1)
    assert stops(medium) == (True, False, False)
    medium.withdraw_reboot(at=medium.t + 1)
    assert (medium.state.stopped, medium.said("started")) == (True, [])


def test_a_start_says_who_and_leaves_no_trace_of_the_stop(light):
    light.stop(at=10)
    light.settle_drain(at=11, recover=False)
    light.feed(ev.StartRequested, at=12, who="ana", why="cool")
    assert reasons(light, "started") == ["start all trainers by ana (cool)"]
    assert (stops(light), light.starting(), light.said("withdraw")) == ((False, False, False), ["A", "B"], [])


def test_a_start_withdraws_the_drained_reboot_in_words_and_leaves_no_trace(medium):
    drained(medium)
    medium.start(at=medium.t + 1)
    assert reasons(medium, "withdraw") == ["the announced reboot is withdrawn by this start: one that comes now counts"]
    assert (stops(medium), medium.state.announced_until) == ((False, False, False), None)
    medium.reboot(at=medium.t + 60)
    assert len(medium.state.incidents) == 1


def test_a_start_while_a_reboot_is_announced_without_a_drain_leaves_the_announcement(medium):
    medium.announce_reboot(at=medium.t + 1)
    until = medium.state.announced_until
    medium.start(at=medium.t + 1)
    assert (medium.state.announced_until, medium.said("withdraw")) == (until, [])


def test_a_start_gives_a_fatal_game_all_its_attempts_again():
    host = Host(rules(games="AB", modes=(("light", 1),))).up()
    for _ in range(5):
        host.crash("A", at=host.t + 1)
        host.tick(host.state.game("A").not_before)
    host.crash("A", at=host.t + 1)
    assert host.state.game("A").status == "FATAL"
    host.start(at=host.t + 1)
    waiting = host.state.game("A")
    assert (waiting.status, waiting.fatal_kind, waiting.failures, waiting.barren, waiting.not_before) == (
        "QUEUED", "", 0, 0, host.t,
    )  # fmt: skip


def test_a_start_does_not_wait_for_the_backoff_of_a_game_that_was_stopped_in_it(light):
    light.crash("A", at=4)
    light.stop(at=5)
    light.exit("B", "stopped", at=6)
    assert [game.status for game in light.state.games[:2]] == ["QUEUED", "QUEUED"]
    light.start(at=7)
    assert light.starting() == ["A", "B"]


def test_a_start_leaves_running_and_finished_games_alone(light):
    light.exit("A", "done", at=5)
    light.recover(at=5)
    before = light.state.games[:3]
    light.start(at=6)
    assert light.state.games[:3] == before


def test_an_announcement_says_who_and_how_long_it_holds(medium):
    at = medium.t + 1
    medium.feed(ev.RebootAnnounced, at=at, who="ana", why="kernel")
    assert reasons(medium, "announce") == ["reboot announced by ana (kernel), not counted within 30 min"]
    assert (medium.state.announced_until, stops(medium)) == (at + ANNOUNCED_REBOOT_S, (False, False, False))
    assert len(medium.running()) == 4


def test_a_drained_announcement_stops_every_trainer_and_says_until_when(light):
    light.announce_reboot(at=10, drain=True)
    assert stops(light) == (True, True, True)
    assert reasons(light, "stopped") == ["stop all trainers until the reboot has happened, or its time is over"]
    assert reasons(light, "stop") == ["stop A: stopped by an operator", "stop B: stopped by an operator"]


def test_a_withdrawal_says_who_and_leaves_no_trace(medium):
    drained(medium)
    medium.feed(ev.RebootWithdrawn, at=medium.t + 1, who="ana", why="not today")
    assert reasons(medium, "withdraw") == [
        "the announced reboot is withdrawn by ana (not today): one that comes now counts"
    ]
    assert reasons(medium, "started") == ["start all trainers again"]
    assert stops(medium) == (False, False, False)


def test_a_withdrawal_of_a_reboot_that_nothing_was_stopped_for_starts_nothing(medium):
    medium.announce_reboot(at=medium.t + 1)
    medium.withdraw_reboot(at=medium.t + 1)
    assert (medium.said("started"), medium.state.announced_until) == ([], None)


def test_an_announcement_ends_after_its_last_second(medium):
    at = medium.t + 1
    medium.announce_reboot(at=at)
    medium.tick(at + ANNOUNCED_REBOOT_S)
    assert medium.state.announced_until == at + ANNOUNCED_REBOOT_S
    medium.tick(at + ANNOUNCED_REBOOT_S + 0.001)
    assert medium.state.announced_until is None
