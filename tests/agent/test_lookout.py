"""The host's readings: how often they are taken, and what the guard is told."""

from __future__ import annotations

import pytest

from agent_world import Parts, config
from policy_driver import Host, rules
from rlagent.lookout import Lookout
from rlagent.paths import Paths
from rlagent.protocol.progress import Progress
from rlagent.protocol.status import GpuStatus, HostReadings
from rlagent.statusview import GameReading


class Reports:
    """Senses of which only the reports are asked for."""

    def __init__(self) -> None:
        self.speeds: dict[str, float | None] = {}

    def games(self) -> dict[str, GameReading]:
        return {game: GameReading(progress=Progress(global_step=1, sps=sps)) for game, sps in self.speeds.items()}


class Watching:
    """A lookout at 1000 s."""

    def __init__(self, folder, text: str = "") -> None:
        self.parts, self.reports = Parts(), Reports()
        self.host = Host(rules(modes=(("light", 2), ("medium", 3)), games="ABC")).up()
        world = self.parts.world()
        self.lookout = Lookout(config(text), Paths(folder), self.reports, self.parts.gpus, world)

    def look(self, at: float) -> list[dict[str, object]]:
        return self.lookout.look(self.host.state, at)


@pytest.fixture
def watching(tmp_path):
    return Watching(tmp_path)


def test_the_host_is_read_at_the_start_and_every_five_seconds(watching):
    looks = []
    for at in (1000.0, 1004.9, 1005.0, 1009.9, 1010.0, 1100.0, 1104.9):
        watching.look(at)
        looks.append(watching.parts.host.looks)
    assert looks == [1, 1, 2, 2, 3, 4, 4]


def test_the_last_readings_are_shown(watching):
    assert watching.lookout.host.disk_free_mib == 50_000.0
    watching.parts.host.seen = HostReadings(disk_free_mib=40_000.0)
    watching.look(1005.0)
    assert watching.lookout.host.disk_free_mib == 40_000.0


@pytest.mark.parametrize(("mode", "acts"), [("log", False), ("act", True)])
def test_what_the_guard_finds_is_told_with_what_may_be_done(tmp_path, mode, acts):
    watching = Watching(tmp_path, f'[guard]\nmode = "{mode}"\nactions_per_hour = 5')
    watching.parts.host.seen = HostReadings(disk_free_mib=1024.0)
    (found,) = watching.look(1005.0)
    evidence = "1024 MiB free on the disk (limit 1024 MiB)"
    assert found == {"cause": "disk", "evidence": evidence, "act": acts, "actions_max": 5}
    assert watching.lookout.warnings() == [f"guard: {evidence}"]
    assert watching.look(1009.0) == []


def test_the_guard_sees_the_gpus_and_the_time(watching):
    watching.parts.gpus.gpus = [GpuStatus(index=3, temperature_c=95.0)]
    for at in range(1005, 1065, 5):
        assert watching.look(float(at)) == []
    assert watching.look(1065.0)[0]["evidence"] == "GPU 3 at 95 C for 60 s (limit 90 C)"


def fall(watching, speeds) -> list[object]:
    """Return what is found when, after ten minutes at 200 steps/s together, trainers report other speeds."""
    watching.reports.speeds = {"A": 100.0, "B": 100.0}
    found = []
    for at in range(1005, 1605, 5):
        found += watching.look(float(at))
    watching.reports.speeds = speeds
    for at in range(1605, 2805, 5):
        found += watching.look(float(at))
    return [one["evidence"].partition(" steps/s")[0] for one in found]


@pytest.mark.parametrize(
    ("speeds", "found"),
    [
        ({"A": 40.0, "B": 30.0}, ["70"]),
        ({"A": 90.0, "B": 30.0}, []),
        ({"A": 40.0}, ["40"]),
        ({"A": 40.0, "B": None}, []),
        ({"A": None, "B": None}, []),
        ({}, []),
        ({"A": 60.0, "B": 50.0, "C": 1.0}, []),
    ],
    ids=str,
)
def test_the_speed_is_that_of_all_trainers_together_where_all_report_one(watching, speeds, found):
    assert fall(watching, speeds) == found


def test_without_progress_of_all_there_is_no_speed_and_other_work_is_not_compared(watching):
    watching.host.stall("A", at=2)
    assert fall(watching, {"A": 1.0, "B": 1.0}) == []
    watching = Watching(watching.lookout._paths.state_dir)
    watching.reports.speeds = {"A": 100.0, "B": 100.0}
    for at in range(1005, 1705, 5):
        watching.look(float(at))
    watching.host.climb()
    watching.reports.speeds = {"A": 10.0, "B": 10.0, "C": 10.0}
    assert [watching.look(float(at)) for at in range(1705, 3000, 5)] == [[]] * 259
