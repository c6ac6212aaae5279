"""Which GPU and how many CPUs a trainer gets: dealt out by slot, the same again after a restart."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rlagent.config import Config, ModeSection
from rlagent.gpus import GpuSpread
from rlagent.launches import launch
from rlagent.paths import Paths
from rlagent.policy.model import Game
from rlagent.probe.gpu import NOT_READ_YET
from rlagent.protocol.status import GpuStatus
from stubs.nvml.nvml_stub import NvmlStub, build


class Driver:
    """What the probe says."""

    def __init__(self, count: int, error: str | None = None) -> None:
        self.count, self.error = count, error

    def readings(self):
        return [GpuStatus(index=index) for index in range(self.count)], self.error


def spread(driver: Driver) -> GpuSpread:
    gpus = GpuSpread(driver)
    assert gpus.is_known()
    return gpus


def test_slots_go_round_the_gpus():
    gpus = spread(Driver(2))
    assert [gpus.variables(slot, (), {}) for slot in range(4)] == [
        {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} for gpu in ("0", "1", "0", "1")
    ]


@pytest.mark.parametrize(
    ("driver", "slot", "environ"),
    [
        (Driver(1), 0, {}),
        (Driver(0, "no NVIDIA driver (NVML library not found)"), 0, {}),
        (Driver(2), None, {}),
        (Driver(2), 1, {"CUDA_VISIBLE_DEVICES": "3"}),
        (Driver(2), 1, {"CUDA_VISIBLE_DEVICES": ""}),
    ],
    ids=["one GPU", "none", "no slot", "the user chose", "the user wants none"],
)
def test_where_there_is_nothing_to_choose_the_environment_stays_as_it_is(driver, slot, environ):
    assert spread(driver).variables(slot, (), environ) == {}


def test_a_lost_gpu_s_trainers_go_to_the_others_which_stay_where_they_are():
    gpus = spread(Driver(4))
    chosen = [gpus.variables(slot, (1,), {})["CUDA_VISIBLE_DEVICES"] for slot in range(4)]
    assert (chosen[0], chosen[2], chosen[3]) == ("0", "2", "3")
    assert chosen[1] in ("0", "2", "3")
    assert gpus.variables(1, (0, 1, 2, 3), {})["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_driver_that_hangs_later_does_not_change_where_trainers_go():
    driver = Driver(2)
    gpus = spread(driver)
    driver.count, driver.error = 0, "NVML has not answered for 12 s"
    assert gpus.is_known()
    assert gpus.variables(1, (), {})["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_start_waits_for_the_driver_s_first_word_only():
    driver = Driver(0, NOT_READ_YET)
    gpus = GpuSpread(driver)
    assert not gpus.is_known()
    for error in ("NVML has not answered for 10 s", "the driver shows no GPU", None):
        driver.error = error
        assert gpus.is_known()


@pytest.mark.parametrize(("cpus", "games", "threads"), [(16, 4, "4"), (2, 2, "1"), (2, 4, "1"), (7, 2, "3")])
def test_the_slots_of_a_mode_share_the_cpus(tmp_path, cpus, games, threads):
    mode = ModeSection(name="light", games=games, num_envs=8, batch_size=64)
    launched = launch(Config(), Paths(tmp_path), mode, Game(name="Pong"), cpu_count=cpus, environ={})
    assert launched.env["RLFLEET_THREADS"] == threads


def environment(pid: int) -> dict[str, str]:
    pairs = (entry.partition(b"=") for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return {name.decode(): value.decode() for name, _, value in pairs}


def test_an_agent_with_two_gpus_gives_each_trainer_one_and_the_same_after_a_kill(make_host, tmp_path):
    stub = NvmlStub(tmp_path, build(tmp_path))
    stub.say(count=2, name_0="NVIDIA A100", name_1="NVIDIA A100")
    stub.install()
    host = make_host().start(environment=stub.environment)

    def chosen(pids):
        return {game: environment(pid).get("CUDA_VISIBLE_DEVICES") for game, pid in pids.items()}

    pids = host.wait_running(2)
    assert chosen(pids) == {"MsPacman": "0", "Pong": "1"}
    os.kill(pids["Pong"], signal.SIGKILL)
    host.wait_for(lambda: host.game("Pong")["attempt"] == 2 and host.game("Pong")["pid"], "the restart")
    assert chosen(host.wait_running(2)) == {"MsPacman": "0", "Pong": "1"}
