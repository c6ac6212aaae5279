"""The simulation itself: deterministic, complete in CI, and eventful enough to mean something."""

from __future__ import annotations

from pathlib import Path

from sim import chunks
from sim.agents import simulate
from sim.years import Year


def test_a_seed_gives_the_same_story_again():
    stories = [simulate(chunks.FIRST).host.story for _ in range(2)]
    assert stories[0] == stories[1]


def test_every_chunk_has_its_file():
    here = Path(__file__).parent
    for kind in ("hosts", "years"):
        files = {f"test_sim_{kind}_{n}.py" for n in range(1, chunks.FILES + 1)}
        assert {path.name for path in here.glob(f"test_sim_{kind}_*.py")} == files


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
