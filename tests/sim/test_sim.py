"""The simulation itself: deterministic, and eventful enough to mean something."""

from __future__ import annotations

import soak
from sim.agents import simulate
from sim.years import Year


def test_a_seed_gives_the_same_story_again():
    stories = [simulate(soak.SEED).host.story for _ in range(2)]
    assert stories[0] == stories[1]


def test_the_hosts_live_through_every_kind_of_trouble():
    told = "\n".join(line for seed in range(100) for line in simulate(seed).host.story)
    troubles = (
        "promote: ", "demote: ", "rollback: ", "hold: ", "release: ", "stopped: ", "fatal: ", "done: ", "enter: ",
        "incident: ", "recovered: ", "agent killed", "reboot, announced", "reboot, unannounced", "disk is full",
        "the journal took no line", "GPU 0 is lost", "hung for", "while it was being stopped",
    )  # fmt: skip
    assert [kind for kind in troubles if kind not in told] == []


def test_the_host_years_have_quiet_hosts_and_restless_ones():
    incidents = [len(Year(seed).run(weeks=4).fold.crashes_seen) for seed in range(20)]
    assert min(incidents) < 5
    assert max(incidents) > 30
