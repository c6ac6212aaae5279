"""Which mode the goodput policy chooses and why, on the edges of its margin and its waiting times.

With the prior alone each mode has the same crash rate, so that scores are as speeds are.
"""

from __future__ import annotations

import msgspec
import pytest

from policy_days import AFTERNOON, MORNING, swinging
from policy_driver import Host, rules
from rlagent.policy import State
from rlagent.policy.belief import Belief
from rlagent.policy.evidence import Evidence, ModeEvidence
from rlagent.policy.goodput import Choice, choose
from rlagent.policy.model import Game

TWO = rules(policy="goodput")
THREE = rules(modes=(("light", 2), ("medium", 4), ("large", 6)), policy="goodput")
RUNNING = (Game(name="A", status="RUNNING", progressing=True),)
DAY = 86400.0


def mode(name, speed=0.0, **known):
    return ModeEvidence(mode=name, speed=speed, **known)


def chosen(here, *modes, t=DAY, wall=0.0, rules=TWO, **state):
    """The choice at `t` in a mode that was entered at 0, every trainer taking steps."""
    made_up = {"rules": rules, "mode": here, "games": RUNNING, "evidence": Evidence(modes=modes), **state}
    return choose(State(**made_up), rules, t, wall)


def chosen_mode(*args, **kwargs):
    choice = chosen(*args, **kwargs)
    return None if choice is None else choice.to


@pytest.mark.parametrize(("better", "to"), [(714.0, None), (715.0, "medium")])
def test_two_percent_more_are_not_enough(better, to):
    assert chosen_mode("light", mode("light", 700.0), mode("medium", better)) == to


@pytest.mark.parametrize(("stay_s", "to"), [(1799.0, None), (1800.0, "medium")])
def test_a_faster_mode_waits_for_half_an_hour(stay_s, to):
    modes = (mode("light", 700.0), mode("medium", 900.0))
    assert chosen_mode("light", *modes, t=stay_s) == to
    assert chosen_mode("light", *modes, t=DAY + stay_s, mode_entered=DAY) == to


@pytest.mark.parametrize(("slower", "to"), [(999.0, "light"), (1000.0, None)])
def test_a_slower_mode_that_is_better_is_gone_to_at_once(slower, to):
    """Medium has crashed 200 times in an hour."""
    bad = mode("medium", 1000.0, hours=1.0, incidents=200.0)
    assert chosen_mode("medium", mode("light", slower), bad, t=1.0) == to


@pytest.mark.parametrize(("hour", "to"), [(MORNING, "medium"), (AFTERNOON, None)])
def test_a_mode_that_crashes_in_the_morning_is_left_in_the_morning(hour, to):
    """Both crash once an hour, but light 4.5 times at three in the morning, and every other hour in the afternoon."""
    known = swinging(hours=9.5, incidents=9.5), mode("medium", 980.0, hours=9.5, incidents=9.5)
    assert chosen_mode("light", *known, wall=hour * 3600.0) == to


def test_of_several_better_modes_the_best_is_chosen():
    modes = (mode("light", 700.0), mode("medium", 900.0), mode("large", 800.0))
    assert chosen_mode("light", *modes, rules=THREE) == "medium"
    assert chosen_mode("large", *modes, rules=THREE) == "medium"


@pytest.mark.parametrize(("t", "to"), [(DAY - 1, "large"), (DAY, "medium")])
def test_a_mode_in_its_cooldown_is_not_chosen(t, to):
    modes = (mode("light", 700.0), mode("medium", 900.0), mode("large", 800.0))
    assert chosen_mode("light", *modes, rules=THREE, t=t, retry_at={"medium": DAY}) == to


def test_a_mode_that_is_in_its_cooldown_itself_is_left_for_a_better_one_alone():
    modes = (mode("light", 700.0), mode("medium", 900.0))
    assert chosen_mode("medium", *modes, retry_at={"medium": 2 * DAY}) is None
    assert chosen_mode("light", *modes, retry_at={"light": 2 * DAY}) == "medium"


def test_nothing_that_was_never_tried_is_taken_for_better():
    """Untried modes are guessed to be fast; they are tried for that, not chosen."""
    assert chosen_mode("light", mode("light", 700.0), t=1799.0) is None


@pytest.mark.parametrize(("stay_s", "to"), [(1799.0, None), (1800.0, "medium")])
def test_the_lowest_untried_mode_is_tried_after_half_the_stable_time(stay_s, to):
    assert chosen_mode("light", mode("light", 700.0), t=stay_s, rules=THREE) == to


def test_an_untried_mode_is_not_tried_while_a_trainer_takes_no_steps():
    stalled = (msgspec.structs.replace(RUNNING[0], progressing=False),)
    assert chosen_mode("light", mode("light", 700.0), games=stalled) is None


def test_an_untried_mode_in_its_cooldown_leaves_the_try_to_the_next():
    assert chosen_mode("light", mode("light", 700.0), rules=THREE, retry_at={"medium": 2 * DAY}) == "large"


def test_a_mode_that_was_not_measured_yet_does_not_try_itself():
    assert chosen_mode("medium", mode("light", 700.0)) is None


def test_the_reason_of_a_try_says_what_is_known():
    known = "light: 658 useful of 700 steps/s at 1.0 crashes/h (0.041 to 2.0)"
    assert (
        chosen("light", mode("light", 700.0)).why == f"medium was never tried, and light is known after 24 h; {known}"
    )


def test_the_reason_of_a_move_has_both_modes_in_numbers_and_where_the_faster_one_pays():
    """By the prior's mean rate 0.94 of a speed is useful, by its optimistic one 0.997.

    Medium gains 900 - 658 = 242 steps/s; a crash costs 45 s of 900 and 180 s of 658: 159,000 steps, 44 an hour's crash.
    """
    why = chosen("light", mode("light", 700.0), mode("medium", 900.0)).why
    assert why == (
        "the better score by 29 %, 898 to 698 steps/s; "
        "medium: 846 useful of 900 steps/s at 1.0 crashes/h (0.041 to 2.0); "
        "light: 658 useful of 700 steps/s at 1.0 crashes/h (0.041 to 2.0); "
        "medium pays below 5.5 crashes/h"
    )


def test_the_price_of_a_crash_is_in_the_rate_below_which_a_mode_pays():
    dear = msgspec.structs.replace(TWO, crash_price_s=600.0)
    why = chosen("light", mode("light", 700.0), mode("medium", 900.0), rules=dear).why
    assert why.endswith("medium pays below 1.6 crashes/h")


def test_a_gain_over_nothing_has_no_percentage_and_of_two_equally_fast_modes_the_present_one_has_to_pay():
    why = chosen("medium", mode("light", 1000.0), mode("medium", 1000.0, hours=1.0, incidents=200.0)).why
    assert why.startswith("the better score, 997 to 0 steps/s; light: 940 useful")
    assert why.endswith("; medium pays below 1 crashes/h")


def test_a_gain_over_half_a_step_has_a_percentage():
    why = chosen("light", mode("light", 0.5), mode("medium", 1.0)).why
    assert why.startswith("the better score by 100 %, 1 to 0.5 steps/s; ")


def test_modes_whose_crashes_cost_nothing_have_no_rate_below_which_one_pays():
    made_up = {"rate": 1.0, "rate_low": 0.5, "shape": 1.0, "spread_h": 1.0, "restart_s": 60.0, "lost_s": 0.0}
    best, here = (
        Belief(mode=name, tried=True, measured=True, speed=speed, goodput=0.0, score=speed, **made_up)
        for name, speed in (("medium", 200.0), ("light", 100.0))
    )
    choice = Choice(best=best, here=here, stay_s=0.0, price_s=0.0)
    assert choice.why.endswith("; light: 0 useful of 100 steps/s at 1.0 crashes/h (0.5 to 1.8)")


def known(host, *modes):
    """The host with this evidence instead of its own, and a review due."""
    host.state = msgspec.structs.replace(host.state, evidence=Evidence(modes=modes))
    return host


LIGHT_IS_BETTER = (mode("light", 1000.0), mode("medium", 500.0))
MEDIUM_IS_BETTER = (mode("light", 500.0), mode("medium", 1000.0))


def test_a_better_mode_above_is_a_promotion():
    host = known(Host(TWO).up(), *MEDIUM_IS_BETTER)
    host.tick(1800)
    [decision] = host.said("promote")
    assert decision.reason.startswith("promote light -> medium: the better score by 100 %, ")
    assert (decision.from_mode, decision.to_mode) == ("light", "medium")


def test_a_better_mode_below_is_a_demotion_and_no_failed_try():
    host = Host(TWO).up()
    host.scale("medium", at=1)
    known(host.settle_drain(at=1), *LIGHT_IS_BETTER)
    host.tick(1801)
    [decision] = host.said("demote")
    assert decision.reason.startswith("demote medium -> light: the better score by 100 %, ")
    assert host.state.failed_tries == {}


@pytest.mark.parametrize("wish", ["hold", "stop", "scale"])
def test_a_host_that_is_held_stopped_or_on_its_way_is_not_moved(wish):
    host = Host(TWO).up()
    wishes = {
        "hold": lambda: host.hold("light", at=1),
        "stop": lambda: host.stop(at=1),
        "scale": lambda: host.scale("medium", at=1),
    }
    wishes[wish]()
    known(host, *MEDIUM_IS_BETTER)
    host.tick(1800)
    assert (host.said("promote"), host.said("demote")) == ([], [])
    assert host.state.evidence.review_at == 2700


def test_the_ladder_is_told_once_what_goodput_would_do_and_again_after_it_changed_its_mind():
    host = Host(rules(stable_s=1e9)).up()
    for modes, said in ((MEDIUM_IS_BETTER, 1), (MEDIUM_IS_BETTER, 1), (LIGHT_IS_BETTER, 1), (MEDIUM_IS_BETTER, 2)):
        would = host.state.evidence.would
        host.state = msgspec.structs.replace(host.state, evidence=Evidence(modes=modes, would=would))
        host.tick(host.t + 1800)
        assert len(host.said("shadow")) == said
    shadow = host.said("shadow")[0]
    assert shadow.reason.startswith("goodput would go light -> medium: the better score by 100 %, ")
    assert (shadow.from_mode, shadow.to_mode) == ("light", "medium")
    assert (host.state.evidence.would, host.state.transition) == ("medium", None)


def test_goodput_that_would_stay_says_nothing_and_notes_the_mode():
    host = known(Host(rules(stable_s=1e9)).up(), *LIGHT_IS_BETTER)
    host.tick(1800)
    assert (host.said("shadow"), host.state.evidence.would) == ([], "light")
