"""What operators ask for beyond holds and rollbacks: a mode without a hold, and a reboot that is announced."""

from __future__ import annotations

import pytest

from policy_driver import Host, rules
from rlagent.policy.explain import lines, next_action
from rlagent.policy.model import ANNOUNCED_REBOOT_S


@pytest.fixture
def light():
    return Host(rules()).up()


@pytest.fixture
def medium():
    return Host(rules()).up().climb()


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
        ("light", "medium", "the host is held in light by ana: release it first, or hold medium"),
    ],
)
def test_scale_is_refused_where_it_could_not_last(light, held, mode, reason):
    if held is not None:
        light.hold(held, at=light.t + 1)
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
    assert medium.decisions[-1].reason == "nothing to withdraw: no reboot is announced"


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
