"""The GPU probe through the real pynvml binding, against a scripted driver library, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from stubs.nvml.nvml_stub import DRIVER_NOT_LOADED, GPU_IS_LOST, UNKNOWN, NvmlStub, build

PROGRAM = """
import sys, msgspec
from rlagent.probe.gpu import GpuProbe
probe = GpuProbe(poll_s=0.02, stale_s=float(sys.argv[1]), retry_s=0.05)
for line in sys.stdin:
    gpus, error = probe.readings()
    sys.stdout.write(msgspec.json.encode([gpus, error, sorted(probe.lost())]).decode() + "\\n")
    sys.stdout.flush()
"""
NEVER_S, SOON_S = 3600.0, 0.5
"""When a driver counts as hanging: only where a test lets it hang, as any program may stand still on a busy machine."""
HEALTHY = {
    "count": 1,
    "name_0": "NVIDIA A100",
    "utilization_0": 57,
    "memory_used_mib_0": 1024,
    "memory_total_mib_0": 81920,
    "temperature_c_0": 61,
    "power_mw_0": 250500,
    "throttle_reasons_0": 0x44,
}
READING = {
    "index": 0,
    "name": "NVIDIA A100",
    "utilization_percent": 57,
    "memory_used_mib": 1024,
    "memory_total_mib": 81920,
    "temperature_c": 61,
    "power_w": 250.5,
    "throttled": True,
    "error": None,
}


class Probe:
    """A program that runs the probe and answers what it reads."""

    def __init__(self, environment, stale_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(stale_s)], stdin=-1, stdout=-1, text=True, env=environment
        )

    def ask(self, question: str = "readings") -> tuple[list[dict], str | None, list[str]]:
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))

    def wait_for(self, condition):
        """Ask until the condition holds for (gpus, error) and return both."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            gpus, error, _ = self.ask()
            if condition(gpus, error):
                return gpus, error
            time.sleep(0.02)
        raise AssertionError(f"last seen: {gpus} {error}")


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(tmp_path, nvml_library):
    stub = NvmlStub(tmp_path, nvml_library)
    stub.say(**HEALTHY)
    return stub


@pytest.fixture
def start(driver):
    probes = []

    def start_probe(stale_s: float = NEVER_S) -> Probe:
        probes.append(Probe(driver.environment, stale_s))
        return probes[-1]

    yield start_probe
    for probe in probes:
        probe.process.kill()
        probe.process.wait()
        probe.process.stdout.close()


@pytest.fixture
def probe(driver, start):
    driver.install()
    return start()


def test_reads_every_field_of_a_healthy_gpu(probe):
    assert probe.wait_for(lambda gpus, _: gpus) == ([READING], None)


@pytest.mark.parametrize("reasons", [0x0, 0x1, 0x4, 0x100])
def test_idle_and_capped_clocks_are_no_trouble(driver, probe, reasons):
    """GPU idle, the power cap, the display's clock setting."""
    driver.say(throttle_reasons_0=reasons)
    assert probe.wait_for(lambda gpus, _: gpus and gpus[0]["throttled"] is False)


def test_several_gpus_in_their_order(driver, probe):
    driver.say(count=2, name_1="NVIDIA T4", utilization_1=3)
    gpus, _ = probe.wait_for(lambda gpus, _: len(gpus) == 2)
    assert [(gpu["index"], gpu["name"], gpu["utilization_percent"]) for gpu in gpus] == [
        (0, "NVIDIA A100", 57),
        (1, "NVIDIA T4", 3),
    ]


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("name_0", ["name"]),
        ("utilization_0", ["utilization_percent"]),
        ("memory_used_mib_0", ["memory_used_mib", "memory_total_mib"]),
        ("temperature_c_0", ["temperature_c"]),
        ("power_mw_0", ["power_w"]),
    ],
)
@pytest.mark.parametrize("fault", [None, f"error {UNKNOWN}"], ids=["not supported", "raises"])
def test_a_field_that_is_refused_is_none_and_the_others_stay(driver, probe, key, fields, fault):
    driver.say(**{key: fault})
    without = {**READING, **dict.fromkeys(fields)}
    assert probe.wait_for(lambda gpus, _: gpus and gpus[0][fields[0]] is None) == ([without], None)


@pytest.mark.parametrize("call", ["init", "count", "handle_0", "utilization_0", "power_mw_0"])
def test_a_hang_in_any_call_ends_the_readings_and_says_so_and_heals(driver, start, call):
    driver.install()
    if call == "init":
        driver.say(init="hang")
    probe = start(SOON_S)
    if call != "init":
        probe.wait_for(lambda gpus, _: gpus)
        driver.say(**{call: "hang"})
    gpus, error = probe.wait_for(lambda _, error: error is not None and "answered" in error)
    assert (gpus, error.startswith("NVML has not answered for ")) == ([], True)
    driver.say(init=None, handle_0=None)
    driver.say(**HEALTHY)
    assert probe.wait_for(lambda gpus, _: gpus) == ([READING], None)


def test_a_missing_library_is_named_and_a_driver_that_comes_later_is_found(driver, start):
    probe = start()
    assert probe.wait_for(lambda _, error: error != "not read yet") == (
        [],
        "no NVIDIA driver (NVML library not found)",
    )
    driver.install()
    assert probe.wait_for(lambda gpus, _: gpus) == ([READING], None)


def test_a_driver_that_is_not_loaded_is_said_and_tried_again(driver, start):
    driver.install()
    driver.say(init=f"error {DRIVER_NOT_LOADED}")
    probe = start()
    _, error = probe.wait_for(lambda _, error: error != "not read yet")
    assert error == "NVML: Driver Not Loaded"
    driver.say(init=None)
    assert probe.wait_for(lambda gpus, _: gpus) == ([READING], None)


def test_a_restarted_driver_gets_a_new_session(driver, probe):
    driver.say(driver="535.1")
    probe.wait_for(lambda gpus, _: gpus)
    driver.say(driver="550.2", utilization_0=99)
    gpus, _ = probe.wait_for(lambda gpus, _: gpus and gpus[0]["utilization_percent"] == 99)
    assert len(gpus) == 1


def test_no_gpu_is_a_reason_not_an_empty_list_alone(driver, probe):
    driver.say(count=0)
    assert probe.wait_for(lambda gpus, error: not gpus and error != "not read yet") == (
        [],
        "the driver shows no GPU",
    )


@pytest.mark.parametrize("call", ["handle_0", "utilization_0"])
def test_a_lost_gpu_is_lost_until_it_is_back(driver, probe, call):
    driver.say(count=2, name_1="NVIDIA T4")
    probe.wait_for(lambda gpus, _: len(gpus) == 2)
    assert probe.ask()[2] == []
    driver.say(**{call: f"error {GPU_IS_LOST}"})
    gpus, _ = probe.wait_for(lambda gpus, _: gpus and gpus[0]["error"])
    assert [gpu["error"] for gpu in gpus] == ["GPU is lost", None]
    assert probe.ask()[2] == [0]
    time.sleep(0.2)
    assert probe.ask()[2] == [0]
    driver.say(handle_0=None, utilization_0=57)
    probe.wait_for(lambda gpus, _: gpus and gpus[0]["error"] is None)
    assert probe.ask()[2] == []
    driver.say(**{call: f"error {GPU_IS_LOST}"})
    probe.wait_for(lambda gpus, _: gpus and gpus[0]["error"])
    assert probe.ask()[2] == [0]


def test_a_hanging_driver_does_not_keep_the_agent_from_ending(driver, start):
    driver.install()
    probe = start(SOON_S)
    probe.wait_for(lambda gpus, _: gpus)
    driver.say(count="hang")
    probe.wait_for(lambda _, error: error is not None)
    probe.process.stdin.close()
    assert probe.process.wait(60) == 0
