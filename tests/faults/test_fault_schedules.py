"""Minutes of random faults on a real agent: whatever comes together, one set of trainers goes on, nothing is lost."""

from __future__ import annotations

import random

import pytest

import soak
from faults.catalogue import named
from faults.conftest import breakable
from faults.schedule import LEFT_OUT, SETTINGS, Schedule
from stubs.nvml.nvml_stub import NvmlStub

SECONDS = 240


@pytest.fixture
def schedule(tmp_path, library, clock_library):
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
        hosts.append(breakable(tmp_path / "host", program="exclusive_trainer.py", **SETTINGS))
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
