"""How the two policies are compared for people: each mode's sentence, and what either policy would do now."""

from __future__ import annotations

import msgspec
import pytest

from policy_days import MORNING, swinging
from policy_driver import Host, rules
from rlagent.policy import State, compare
from rlagent.policy import events as ev
from rlagent.policy.belief import Belief
from rlagent.policy.evidence import Evidence, ModeEvidence

THREE = rules(modes=(("light", 2), ("medium", 4), ("large", 6)))
GOODPUT = msgspec.structs.replace(THREE, policy="goodput", stable_s=7200.0, blind_spot_incidents=0)


def told(host, t=None):
    return compare.lines(host.state, host.state.rules, host.t if t is None else t)


def ladder_would(host, t=None):
    """What the ladder would do, whoever rules."""
    [line] = [line for line in told(host, t) if line.startswith("The ladder ")]
    return line.removeprefix("The ladder ").removeprefix("rules and ").removeprefix("would ").removesuffix(".")


def measured(host, steps_per_s=1000.0):
    host.feed(ev.SpeedMeasured, at=host.t, steps_per_s=steps_per_s, over_s=300.0)
    return host


def light(policy=THREE):
    return measured(Host(policy).up())


def scaled(mode, policy=GOODPUT):
    """A host that an operator took to a mode; its speed there is measured."""
    host = light(policy)
    host.scale(mode, at=host.t + 1)
    return measured(host.settle_drain(at=host.t + 1))


def crashed(host, times):
    for _ in range(times):
        host.crash_and_recover("A", at=host.t + 400, checkpoint=True)
    return host


def known_as(host, *modes):
    """The host with this evidence instead of its own."""
    host.state = msgspec.structs.replace(host.state, evidence=Evidence(modes=modes))
    return host


def test_without_a_configuration_nothing_is_believed_of_any_mode():
    assert compare.mode_beliefs(State(), 0.0, 0.0) == []


def test_before_anything_is_known_there_is_nothing_to_compare():
    assert told(Host(THREE).up()) == []


@pytest.mark.parametrize(("hour", "rate"), [(MORNING, 4.5), (MORNING + 12, 0.5)])
def test_what_is_believed_is_for_the_hour_of_day(hour, rate):
    known = Evidence(modes=(swinging(hours=9.5, incidents=9.5),))
    state = State(rules=THREE, evidence=known)
    assert compare.mode_beliefs(state, 0.0, hour * 3600.0)[0].rate == pytest.approx(rate)


def test_later_than_the_last_event_it_is_told_for_the_hour_of_day_that_it_is_then():
    known = Evidence(modes=(swinging(hours=9.5, incidents=9.5),))
    state = State(rules=THREE, mode="light", t=7200.0, wall=86400.0, evidence=known)
    assert "at 0.5 crashes/h" in compare.lines(state, THREE, 7200.0 - 3 * 3600.0)[0]
    assert "at 4.5 crashes/h" in compare.lines(state, THREE, 7200.0 + MORNING * 3600.0)[0]


def test_the_lowest_mode_has_nothing_to_be_better_than_and_an_untried_one_no_numbers():
    """With the prior alone: half a crash in half an hour, of which 45 s are lost and 180 s waited for."""
    text = told(light())
    assert text[0] == "Goodput of light: 940 useful of 1,000 steps/s at 1.0 crashes/h (0.041 to 2.0)."
    assert text[1:3] == ["Goodput of medium: nothing measured yet.", "Goodput of large: nothing measured yet."]


def test_a_mode_is_compared_with_the_best_of_the_slower_ones():
    """By the prior light makes 470 useful steps/s, medium 940; a crash costs 45 s of work and 180 s of the slower mode.

    Medium gains 530 steps/s over light and loses 36 an hour's crash; large gains 560 over medium, and loses 66.
    """
    modes = [ModeEvidence(mode=mode, speed=speed) for mode, speed in (("light", 500.0), ("medium", 1000.0))]
    text = told(known_as(light(), *modes, ModeEvidence(mode="large", speed=1500.0)))
    assert [line.partition(", better than ")[2] for line in text[:3]] == ["", "light below 15.", "medium below 8.5."]


def test_a_mode_is_no_better_than_an_equally_fast_one():
    text = told(known_as(light(), *(ModeEvidence(mode=mode, speed=500.0) for mode in ("light", "medium"))))
    assert ["better than" in line for line in text[:2]] == [False, False]


def test_a_mode_whose_crashes_cost_nothing_has_no_limit():
    made_up = {"rate": 1.0, "rate_low": 0.5, "score": 0.0, "shape": 1.0, "spread_h": 1.0, "restart_s": 60.0}
    fast, slow = (
        Belief(mode="m", tried=True, measured=True, speed=speed, lost_s=0.0, goodput=0.0, **made_up)
        for speed in (1000.0, 500.0)
    )
    assert compare._limit(fast, [slow, fast], THREE) == ""


def test_the_ladder_waits_for_its_stable_time():
    host = light()
    assert ladder_would(host, 600.0) == "promote to medium after another 50 min without an incident"
    assert ladder_would(host, 3599.5) == "promote to medium after another 0.5 s without an incident"
    assert ladder_would(host, 3600.0) == "promote to medium now"


def test_the_ladder_waits_for_the_cooldown_where_that_is_longer():
    host = scaled("medium")
    host.rollback(at=host.t + 10)
    host.settle_drain(at=host.t + 10)
    host.state = msgspec.structs.replace(host.state, rules=msgspec.structs.replace(GOODPUT, stable_s=600.0))
    assert ladder_would(host, host.t + 590) == "promote to medium after another 50 min without an incident"


def test_a_middle_mode_is_promoted_one_rung_up_and_demoted_one_rung_down():
    host = scaled("medium")
    assert ladder_would(host) == "promote to large after another 2 h without an incident"
    assert ladder_would(crashed(host, 3)) == "promote to large after another 2 h without an incident"
    assert ladder_would(crashed(host, 1)) == "demote to light: 4 incidents in 60 min"


def test_the_top_mode_stays_or_is_demoted_one_rung_down():
    host = scaled("large")
    assert ladder_would(host) == "stay in large"
    assert ladder_would(crashed(host, 4)) == "demote to medium: 4 incidents in 60 min"


def test_the_lowest_mode_is_not_demoted_however_often_it_crashes():
    host = crashed(light(GOODPUT), 4)
    assert ladder_would(host) == "promote to medium after another 2 h without an incident"


def test_a_host_that_is_held_stays():
    host = light()
    host.hold("light", at=host.t + 1)
    assert ladder_would(host) == "stay in light"


def test_either_policy_is_told_as_the_one_that_rules():
    assert told(light())[3:] == [
        "The ladder rules and would promote to medium after another 60 min without an incident.",
        "Goodput would stay in light.",
    ]
    assert told(light(GOODPUT))[3:] == [
        "Goodput rules and would stay in light.",
        "The ladder would promote to medium after another 2 h without an incident.",
    ]


def test_while_a_mode_drains_that_is_no_longer_configured_nothing_is_said_of_the_policies():
    host = light()
    host.feed(ev.Configured, at=host.t + 1, rules=rules(modes=(("other", 2),)))
    known_as(host, ModeEvidence(mode="other", speed=500.0))
    assert [line.partition(":")[0] for line in told(host)] == ["Goodput of other"]
