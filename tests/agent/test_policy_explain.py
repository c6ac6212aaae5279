"""What `explain` says, word for word: the next action, where the host stands, and what a person should look at."""

from __future__ import annotations

import msgspec
import pytest

from policy_driver import Host, rules
from rlagent.policy import State
from rlagent.policy import events as ev
from rlagent.policy.explain import Next, alerts, lines, next_action

THREE = rules(modes=(("light", 2), ("medium", 4), ("large", 6)))
GOODPUT = msgspec.structs.replace(THREE, policy="goodput")


@pytest.fixture
def light():
    """Two games in light, all progressing; nothing is known of any mode's speed."""
    return Host(rules()).up()


@pytest.fixture
def medium(light):
    """Four games in medium, all progressing, on the top of the ladder."""
    return light.climb()


@pytest.fixture
def middle():
    """Four games in medium, one rung below the top; no checkpoint was reported."""
    return Host(THREE).up().climb()


def told(host, t=None):
    """The lines that speak of the ladder: those of goodput's numbers have their own tests."""
    text = lines(host.state, host.t if t is None else t)
    return [line for line in text if not line.startswith(("Goodput ", "The ladder rules", "The ladder would"))]


def following(host, t=None):
    return next_action(host.state, host.t if t is None else t)


def test_without_a_configuration_there_is_nothing_to_tell():
    assert next_action(State(), 5.0) == Next(kind="none", at=None, reason="not configured yet")
    assert lines(State(), 5.0) == ["The agent has no configuration yet."]
    assert alerts(State(), 5.0) == []


def test_a_mode_begins_when_the_last_trainer_has_stopped(light):
    light.rollback(at=1)
    light.hold("medium", at=2)
    assert following(light) == Next(
        kind="enter", at=None, reason="medium begins when A, B has checkpointed and stopped"
    )
    light.exit("A", "stopped", at=3)
    assert following(light).reason == "medium begins when B has checkpointed and stopped"


def test_stopped_by_an_operator_only_a_start_goes_on(light):
    light.stop(at=1)
    assert following(light) == Next(kind="none", at=None, reason="stopped by an operator; `start` goes on")


def test_stopped_for_a_reboot_trainers_start_when_its_time_is_over(light):
    light.announce_reboot(at=10, drain=True)
    reason = "all trainers, if the announced reboot has not come by then"
    assert following(light) == Next(kind="start", at=1810.0, reason=reason)


def test_the_next_promotion_has_its_time(light):
    assert following(light, 600.0) == Next(
        kind="promote", at=3600.0, reason="to medium: 60 min stable then, if nothing crashes"
    )
    light.tick(3599.0)
    assert [following(light, t).at for t in (3599.0, 3600.0, 3700.0)] == [3600.0, 3600.0, 3700.0]


def test_a_promotion_waits_for_a_step_of_every_trainer_that_has_a_slot(light):
    light.stall("A", at=600)
    light.stall("B", at=600)
    assert following(light, 700.0) == Next(
        kind="promote", at=3700.0, reason="to medium, at the earliest: stable time waits for a step of A, B"
    )
    light.progress("B", at=800)
    assert following(light, 800.0).reason.endswith("waits for a step of A")


@pytest.mark.parametrize(
    ("settled_s", "at_s", "reason"),
    [
        (0.0, 3600.0, "to medium: 60 min stable then, if nothing crashes"),
        (100.0, 3700.0, "to medium: 60 min stable then, if nothing crashes"),
    ],
)
def test_a_cooldown_that_ends_with_the_stable_time_or_before_is_not_what_is_waited_for(medium, settled_s, at_s, reason):
    rolled_back = medium.t + 10
    medium.rollback(at=rolled_back)
    medium.settle_drain(at=rolled_back + settled_s)
    assert following(medium) == Next(kind="promote", at=rolled_back + at_s, reason=reason)


def test_a_cooldown_longer_than_the_stable_time_is_what_is_waited_for():
    host = Host(rules(stable_s=600.0)).up().climb()
    host.rollback(at=host.t + 10)
    host.settle_drain(at=host.t + 20)
    assert following(host) == Next(kind="promote", at=host.t - 20 + 3600.0, reason="to medium: its cooldown ends then")


def test_a_promotion_that_is_due_comes_now_however_long_its_cooldown_is_over(medium):
    rolled_back = medium.t + 10
    medium.rollback(at=rolled_back)
    medium.settle_drain(at=rolled_back + 100)
    assert following(medium, rolled_back + 4000).at == rolled_back + 4000


def test_a_middle_mode_is_promoted_to_the_one_above(middle):
    assert following(middle).reason.startswith("to large: ")


def test_a_game_starts_again_after_its_backoff(light):
    light.crash("A", at=5)
    assert following(light) == Next(kind="start", at=10.0, reason="A again after its backoff: SIGKILL")


def test_a_game_that_ended_without_a_word_was_stopped(light):
    light.feed(ev.TrainerExited, at=5, game="A", attempt=1, exit="outside", detail="")
    assert following(light).reason == "A again after its backoff: stopped"


def test_a_hold_that_ends_before_anything_else_is_the_next(light):
    light.hold("light", at=1, for_s=600.0)
    assert following(light) == Next(kind="release", at=601.0, reason="the hold of light ends")


def test_a_hold_without_an_end_keeps_the_mode(light):
    light.hold("light", at=1)
    assert following(light) == Next(kind="none", at=None, reason="held: no promotion from light until released")


def test_a_game_that_is_given_up_is_tried_again_after_the_cooldown_where_a_slot_is_free():
    host = Host(rules(games="AB")).up()
    host.hold("light", at=1)
    host.exit("B", "config", at=10)
    assert following(host) == Next(kind="retry", at=3610.0, reason="one more attempt of B, which is FATAL")


def test_a_game_that_is_given_up_is_not_tried_again_while_another_takes_its_slot():
    host = Host(rules(games="ABC")).up()
    host.hold("light", at=1)
    host.exit("B", "config", at=10)
    assert host.starting() == ["C"]
    assert following(host).kind == "none"


def test_when_every_game_is_done_nothing_follows():
    host = Host(rules(games="AB")).up()
    for game in "AB":
        host.exit(game, "done", at=5)
    assert following(host) == Next(kind="none", at=None, reason="every game has reached its target")


def test_with_one_game_done_the_other_is_promoted():
    host = Host(rules(games="AB")).up()
    host.exit("A", "done", at=5)
    assert following(host).kind == "promote"


def test_the_top_of_the_ladder_says_how_many_incidents_would_demote(medium):
    reason = "medium is the top of the ladder: 4 more incident(s) within 60 min would demote"
    assert following(medium) == Next(kind="none", at=None, reason=reason)
    medium.crash_and_recover("A", at=medium.t + 1, checkpoint=True)
    medium.tick(medium.t + 20)
    assert ": 3 more incident(s)" in following(medium).reason


def test_goodput_tries_the_lowest_mode_that_it_never_tried_once_the_present_one_is_known():
    """Known after half the stable time: 1800 s; reviews come every 900 s, the first at 0."""
    host = Host(GOODPUT).up()
    assert host.state.evidence.review_at == 900.0
    assert following(host) == Next(kind="review", at=1800.0, reason="try medium, once light is known")
    host.stall("A", at=1700)
    host.tick(1900)
    assert following(host) == Next(kind="review", at=2600.0, reason="try medium, once light is known")


def test_goodput_tries_a_mode_in_its_cooldown_later_than_another():
    host = Host(GOODPUT).up()
    host.hold("medium", at=1)
    host.settle_drain(at=1)
    host.release(at=2)
    host.rollback(at=3)
    host.settle_drain(at=3)
    assert host.state.retry_at == {"medium": 3603.0}
    assert following(host) == Next(kind="review", at=1803.0, reason="try large, once light is known")


@pytest.mark.parametrize(("cooldown_s", "at"), [(3600.0, 3603.0), (60.0, 1803.0)])
def test_goodput_waits_for_a_cooldown_or_until_the_present_mode_is_known(cooldown_s, at):
    host = Host(msgspec.structs.replace(GOODPUT, modes=GOODPUT.modes[:2], cooldown_s=cooldown_s)).up()
    host.hold("medium", at=1)
    host.settle_drain(at=1)
    host.release(at=2)
    host.rollback(at=3)
    host.settle_drain(at=3)
    assert following(host) == Next(kind="review", at=at, reason="try medium, once light is known")


def test_goodput_that_knows_every_other_mode_compares_them():
    host = Host(msgspec.structs.replace(GOODPUT, modes=GOODPUT.modes[:2])).up()
    host.hold("medium", at=1)
    host.settle_drain(at=1)
    host.feed(ev.SpeedMeasured, at=301, steps_per_s=1000.0, over_s=300.0)
    host.release(at=302)
    host.scale("light", at=303)
    host.settle_drain(at=303)
    assert following(host) == Next(kind="review", at=900.0, reason="goodput compares the modes; so does each incident")


def test_goodput_reviews_nothing_while_held_or_where_there_is_one_mode():
    host = Host(GOODPUT).up()
    host.hold("light", at=1)
    assert following(host).reason == "held: no promotion from light until released"
    only = Host(msgspec.structs.replace(GOODPUT, modes=GOODPUT.modes[:1])).up()
    assert following(only).reason == "light is the only mode"


def test_of_two_actions_at_one_time_the_first_game_comes_first(light):
    light.crash("B", at=5)
    light.crash("A", at=5)
    assert following(light).reason.startswith("A again")


def test_the_lines_of_a_calm_host(light):
    assert told(light, 600.0) == [
        "Mode light for 10 min; the ladder is light < medium.",
        "Incidents in this mode in 60 min: 0 (more than 3 demote).",
        "Stable for 10 min of the 60 min that a promotion needs.",
        "light is the lowest mode: it stays however often it crashes.",
    ]


def test_the_lines_of_a_host_on_the_top(medium):
    assert told(medium, medium.t + 60) == [
        "Mode medium for 60 s; the ladder is light < medium.",
        "Incidents in this mode in 60 min: 0 (more than 3 demote).",
        "Stable for 60 s of the 60 min that a promotion needs.",
        "4 more incident(s) within 60 min would demote to light.",
    ]


def test_every_incident_that_counts_is_told_with_its_age(middle):
    middle.checkpoint(at=middle.t)
    middle.crash_and_recover("A", at=middle.t + 60, checkpoint=True)
    middle.reboot(at=middle.t + 540)
    middle.recover(at=middle.t)
    assert told(middle, middle.t + 60)[1:] == [
        "Incidents in this mode in 60 min: 2 (more than 3 demote).",
        "Stable for 60 s of the 60 min that a promotion needs.",
        "  - trainer A SIGKILL, 10 min ago",
        "  - reboot, 60 s ago",
        "2 more incident(s) within 60 min would demote to light.",
        "2 incident(s) in a row without a checkpoint; 3 would demote.",
    ]


def test_incidents_without_a_checkpoint_are_told_only_where_they_would_demote(middle):
    middle.crash_and_recover("A", at=middle.t + 60, checkpoint=False)
    assert middle.state.barren_incidents == 1
    assert told(middle)[-1] == "3 more incident(s) within 60 min would demote to light."
    middle.checkpoint(at=middle.t)
    assert told(middle)[-1] == "3 more incident(s) within 60 min would demote to light."
    middle.crash_and_recover("A", at=middle.t + 60, checkpoint=False)
    assert told(middle)[-1] == "1 incident(s) in a row without a checkpoint; 3 would demote."
    off = msgspec.structs.replace(middle.state.rules, blind_spot_incidents=0)
    middle.feed(ev.Configured, at=middle.t, rules=off)
    assert told(middle)[-1] == "2 more incident(s) within 60 min would demote to light."


def test_an_open_incident_tells_which_trainers_are_waited_for(light):
    light.crash("A", at=100)
    light.stall("B", at=101)
    assert "An incident is open: waiting for a step of A, B." in told(light)
    light.progress("B", at=102)
    assert "An incident is open: waiting for a step of A." in told(light)
    light.restart("A", at=110)
    assert not any("An incident is open" in line for line in told(light))


def test_a_drain_is_told_with_its_reason_and_nothing_after_it(medium):
    medium.rollback(at=medium.t + 10)
    text = told(medium)
    assert text[:2] == [
        "Mode medium for 10 s; the ladder is light < medium.",
        "Incidents in this mode in 60 min: 0 (more than 3 demote).",
    ]
    assert text[3:] == [f"On its way to light: {medium.said('rollback')[0].reason}."]


@pytest.mark.parametrize(("until_restart", "until"), [(False, "started again"), (True, "the agent's next start")])
def test_a_stop_is_told_with_its_end_and_nothing_after_it(light, until_restart, until):
    light.feed(ev.StopRequested, at=1, who="ana", why="", until_restart=until_restart)
    assert told(light)[3:] == [f"All trainers are stopped by an operator until {until}."]


def test_a_hold_is_told_with_its_end_and_who_wants_it(medium):
    medium.hold("medium", at=medium.t + 10)
    assert told(medium)[3:] == [
        "Held in medium until released by ana: no promotion.",
        "4 more incident(s) within 60 min would demote to light.",
    ]
    wish = {"mode": "medium", "for_s": 1200.0, "no_fallback": True, "who": "ana", "why": "heat"}
    medium.feed(ev.HoldRequested, at=medium.t, **wish)
    assert told(medium, medium.t + 600)[3:] == [
        "Held in medium for another 10 min by ana (heat): no promotion.",
        "Held without fallback: no demotion either.",
    ]


def test_a_cooldown_is_told_until_it_ends(medium):
    rolled_back = medium.t + 10
    medium.rollback(at=rolled_back)
    medium.settle_drain(at=rolled_back + 10)
    medium.stall("A", at=rolled_back + 20)
    line = "medium failed 1 time(s): not tried again for another 10 min."
    assert line in told(medium, rolled_back + 3000)
    assert not any("not tried again" in line for line in told(medium, rolled_back + 3600))


def test_under_goodput_incidents_demote_only_where_they_are_capped_or_the_host_is_held():
    host = Host(GOODPUT).up()
    host.scale("medium", at=1)
    host.settle_drain(at=1)
    assert told(host, 61.0) == [
        "Mode medium for 60 s; the ladder is light < medium < large.",
        "Incidents in this mode in 60 min: 0.",
        "Stable for 60 s.",
    ]
    host.feed(ev.Configured, at=61, rules=msgspec.structs.replace(GOODPUT, max_crashes_cap=True))
    assert told(host)[1:] == [
        "Incidents in this mode in 60 min: 0 (more than 3 demote).",
        "Stable for 60 s.",
        "4 more incident(s) within 60 min would demote to light.",
    ]
    host.feed(ev.Configured, at=61, rules=GOODPUT)
    host.hold("medium", at=61)
    assert told(host)[1] == "Incidents in this mode in 60 min: 0 (more than 3 demote)."
    assert told(host)[-1] == "4 more incident(s) within 60 min would demote to light."


def test_one_more_incident_demotes_before_the_last_of_the_limit(medium):
    for _ in range(3):
        medium.crash_and_recover("A", at=medium.t + 60, checkpoint=True)
    assert told(medium)[-2:] == [
        "1 more incident(s) within 60 min would demote to light.",
        "1 incident(s) in a row without a checkpoint; 3 would demote.",
    ]


def test_a_fatal_game_and_an_unstable_host_are_alerts(light):
    light.exit("A", "config", at=5, detail="no such game")
    assert alerts(light.state, light.t) == ["A is FATAL: wrong configuration: no such game"]
    for _ in range(3):
        light.crash_and_recover("B", at=light.t + 60, checkpoint=True)
    assert len(alerts(light.state, light.t)) == 1
    light.crash_and_recover("B", at=light.t + 60, checkpoint=True)
    unstable = "4 incidents in 60 min in the lowest mode: the host is not stable"
    assert alerts(light.state, light.t)[1:] == [unstable]


def test_incidents_above_the_lowest_mode_are_no_alert():
    host = Host(GOODPUT).up()
    host.scale("medium", at=1)
    host.settle_drain(at=1)
    for _ in range(5):
        host.crash_and_recover("A", at=host.t + 60, checkpoint=True)
    assert (host.state.mode, len(host.state.counted(host.t))) == ("medium", 5)
    assert alerts(host.state, host.t) == []
