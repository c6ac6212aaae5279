"""Whose end is laid to the kernel: only a kill for memory just before it, in the trainer's own group."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlagent.oom import LOOK_EVERY_S, OomWatch

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
    looks(watch, 100 + LOOK_EVERY_S, since_s=100)
    assert watch.was_killed("Pong", 1)


def test_a_kill_long_before_was_somebody_elses(host, watch):
    looks(watch, 100)
    host.kills[GROUP] += 1
    looks(watch, 101 + 2 * LOOK_EVERY_S, since_s=100)
    assert not watch.was_killed("Pong", 1)


def test_a_kill_in_another_group_was_somebody_elses(host, watch):
    looks(watch, 100)
    host.kills[OTHER] += 1
    assert not watch.was_killed("Pong", 1)


def test_a_trainer_that_was_moved_is_looked_at_where_it_is(host, watch):
    looks(watch, 100)
    host.group = OTHER
    looks(watch, 101 + LOOK_EVERY_S, since_s=100)
    assert not watch.was_killed("Pong", 1)
    host.kills[OTHER] += 1
    assert watch.was_killed("Pong", 1)


def test_a_kill_just_before_a_look_that_finds_the_trainer_gone_is_still_known(host, watch):
    """What is gone is in no group of its own: the look goes to another counter."""
    looks(watch, 100)
    host.kills[GROUP] += 1
    host.group = OTHER
    looks(watch, 100 + LOOK_EVERY_S, since_s=100)
    assert watch.was_killed("Pong", 1)


def test_an_attempt_that_was_never_seen_running_tells_nothing_nor_does_the_one_before_it(host, watch):
    looks(watch, 100)
    host.kills[GROUP] += 1
    assert not watch.was_killed("Pong", 2)
    assert not watch.was_killed("MsPacman", 1)
