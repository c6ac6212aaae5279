"""Minutes of random faults on a real agent: whatever comes together, one set of trainers goes on, nothing is lost."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest

import soak
from faults.catalogue import named
from faults.conftest import breakable
from faults.schedule import LEFT_OUT, SETTINGS, Schedule
from stubs.nvml.nvml_stub import NvmlStub

SECONDS = 240


@pytest.fixture
def folder(tmp_path):
    """Make a folder in memory where there is one: a busy disk would keep the agent from answering."""
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path  # noqa: S108  # a folder of our own in it
    with tempfile.TemporaryDirectory(prefix="rlfleet-schedule-", dir=in_memory) as path:
        yield Path(path)


@pytest.fixture
def schedule(tmp_path, folder, library, clock_library):
    """Make schedules on a host with a driver and a clock that can break."""
    hosts = []

    def make(chance: random.Random) -> Schedule:
        preload, shift = clock_library
        shift.write_bytes(bytes(8))
        (tmp_path / "driver").mkdir()
        driver = NvmlStub(tmp_path / "driver", library)
        driver.say(count=1, name_0="NVIDIA A100", utilization_0=57)
        driver.install()
        environment = {**driver.environment, "LD_PRELOAD": str(preload), "RLFLEET_CLOCK_SHIFT": str(shift)}
        hosts.append(breakable(folder / "host", program="exclusive_trainer.py", **SETTINGS))
        return Schedule(hosts[-1], driver, environment, chance)

    yield make
    for host in hosts:
        host.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [pytest.param(n, marks=soak.tenth(n)) for n in range(1, soak.TENTHS + 1)])
def test_a_random_schedule_of_faults(schedule, number):
    story = schedule(random.Random(f"{soak.SEED} {number}"))
    story.run(SECONDS)
    print(story.bursts, dict(story.blows))


def test_what_is_left_out_is_in_the_catalogue():
    assert [named(name).name for name in LEFT_OUT] == list(LEFT_OUT)
