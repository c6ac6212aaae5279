"""Whose end is laid to the kernel: only a kill for memory just before it, in the trainer's own group."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlagent.oom import OomWatch

GROUP, OTHER = Path("group"), Path("other")


class Host:
    def __init__(self) -> None:
        self.kills = {GROUP: 3, OTHER: 8}
        self.group = GROUP

    def oom_counter(self, _pid):
        return self.group

    def oom_kills(self, counter):
        return self.kills[counter]


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def watch(host):
    return OomWatch(host)


def looks(watch, until_s, since_s=0.0):
    for tick in range(int(since_s * 4), int(until_s * 4)):
        watch.look("Pong", 1, 100, tick / 4)


def test_a_kill_just_before_the_end_is_the_trainers(host, watch):
    looks(watch, 100)
    host.kills[GROUP] += 1
    assert watch.was_killed("Pong", 1)


def test_one_that_took_a_while_to_end_after_the_kill_is_still_known(host, watch):
    looks(watch, 100)
    host.kills[GROUP] += 1
    looks(watch, 105, since_s=100)
    assert watch.was_killed("Pong", 1)


def test_a_kill_long_before_was_somebody_elses(host, watch):
    looks(watch, 100)
    host.kills[GROUP] += 1
    looks(watch, 111, since_s=100)
    assert not watch.was_killed("Pong", 1)


def test_a_kill_in_another_group_was_somebody_elses(host, watch):
    looks(watch, 100)
    host.kills[OTHER] += 1
    assert not watch.was_killed("Pong", 1)


def test_a_trainer_that_was_moved_is_looked_at_where_it_is(host, watch):
    looks(watch, 100)
    host.group = OTHER
    looks(watch, 106, since_s=100)
    assert not watch.was_killed("Pong", 1)
    host.kills[OTHER] += 1
    assert watch.was_killed("Pong", 1)


def test_a_kill_just_before_a_look_that_finds_the_trainer_gone_is_still_known(host, watch):
    """What is gone is in no group of its own: the look goes to another counter."""
    looks(watch, 100)
    host.kills[GROUP] += 1
    host.group = OTHER
    looks(watch, 105, since_s=100)
    assert watch.was_killed("Pong", 1)


@pytest.mark.parametrize(("second", "third", "is_its_own"), [(4.9, 9.9, True), (5.0, 9.9, True), (5.0, 10.0, False)])
def test_a_look_is_taken_every_five_seconds_and_the_last_two_count(host, watch, second, third, is_its_own):
    watch.look("Pong", 1, 100, 0.0)
    host.kills[GROUP] += 1
    watch.look("Pong", 1, 100, second)
    watch.look("Pong", 1, 100, third)
    assert watch.was_killed("Pong", 1) is is_its_own


def test_a_counter_that_went_back_tells_of_no_kill(host, watch):
    """As that of a group which was made anew."""
    looks(watch, 100)
    host.kills[GROUP] = 0
    assert not watch.was_killed("Pong", 1)


def test_a_new_attempt_does_not_inherit_the_looks_of_the_one_before(host, watch):
    watch.look("Pong", 1, 100, 0.0)
    host.kills[GROUP] += 1
    watch.look("Pong", 2, 100, 1.0)
    assert not watch.was_killed("Pong", 2)
    assert not watch.was_killed("Pong", 1)
    host.kills[GROUP] += 1
    assert watch.was_killed("Pong", 2)


def test_an_attempt_that_was_never_seen_running_tells_nothing_nor_does_the_one_before_it(host, watch):
    looks(watch, 100)
    host.kills[GROUP] += 1
    assert not watch.was_killed("Pong", 2)
    assert not watch.was_killed("MsPacman", 1)
