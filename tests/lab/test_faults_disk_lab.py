"""What breaks on the disk under rltrain, on hosts with systemd and without, whose state is on a small real disk."""

import re
import time

import pytest

from faults.catalogue import named
from lab import faulty
from lab.each_host import on_each_host
from lab.faulty import asked, heal, inject, more_steps, read, trains, until
from trainer_runs import TINY

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

DISK_MIB = 320
CHECKPOINTS = f"{faulty.VAR}/runs/Pong/checkpoints"
RESUMED = re.compile(r"resume: ckpt-\d+\.pt \| step (\d+)")
COMMAND = ["-m", "rltrainer", "train", "--game", "{game}"]
for flag, number in TINY.items():
    COMMAND += ["--" + flag.replace("_", "-"), str(number)]


@pytest.fixture(scope="module")
def lab(make_lab, controller_python):
    lab = make_lab(*faulty.specs(controller_python))
    faulty.prepare(lab, controller_python, COMMAND, hang_timeout_s=240.0, disk_mib=DISK_MIB)
    return lab


def checkpoints(host) -> set[str]:
    return {name for name in host.names(CHECKPOINTS) if re.fullmatch(r"ckpt-\d+\.pt", name)}


def kept(host):
    """Wait until as many checkpoints lie there as are kept."""
    until(host, lambda _seen: len(checkpoints(host)) >= 3, "three checkpoints")


def message(host, name):
    """Wait until the trainer's log says what is expected."""
    until(host, lambda _seen: re.search(named(name).message, read(host, "logs/Pong.log")), "the message")


@pytest.mark.parametrize("name", ["checkpoint-corrupt", "checkpoint-truncated", "checkpoint-empty"])
@on_each_host
def test_a_spoiled_newest_checkpoint_costs_one_interval(host, controller_python, name):
    before = until(host, trains, "a trainer")
    kept(host)
    starts = len(RESUMED.findall(read(host, "logs/Pong.log")))
    inject(host, controller_python, name)
    message(host, name)
    count = len(before["incidents"]) + 1
    after = until(host, lambda seen: len(seen["incidents"]) == count and trains(seen), "the end of the incident")
    assert re.match(named(name).incident, after["incidents"][-1]["what"])
    resumed = RESUMED.findall(read(host, "logs/Pong.log"))
    spoiled = host.names(f"{CHECKPOINTS}/quarantine")
    assert len(resumed) == starts + 1
    assert 0 < int(resumed[-1]) < max(int(file[5:17]) for file in spoiled)


@on_each_host
def test_a_folder_that_can_not_be_written_stops_checkpoints_not_training(host, controller_python):
    before = until(host, trains, "a trainer")
    inject(host, controller_python, "checkpoint-unwritable")
    try:
        message(host, "checkpoint-unwritable")
        more_steps(host, before["trainers"][0]["global_step"] + 200)
        newest = max(checkpoints(host))
    finally:
        heal(host, controller_python)
    after = until(host, lambda seen: trains(seen) and max(checkpoints(host)) > newest, "a checkpoint")
    assert len(after["incidents"]) == len(before["incidents"])


@on_each_host
def test_a_full_disk_stops_no_training_and_a_death_on_it_is_noticed(host, controller_python):
    before = until(host, trains, "a trainer")
    kept(host)
    inject(host, controller_python, "disk-full")
    try:
        said = re.compile(named("disk-full").message)
        until(host, lambda seen: any(map(said.search, seen["alerts"])), "the alert", seen_by=asked)
        names = checkpoints(host)
        time.sleep(3)
        assert len(names) >= 3
        assert names <= checkpoints(host)
        seen = asked(host)
        assert len(seen["incidents"]) == len(before["incidents"])
        assert seen["trainers"][0]["pid"] == before["trainers"][0]["pid"]
        inject(host, controller_python, "trainer-sigkill")
        count = len(before["incidents"]) + 1
        until(host, lambda seen: len(seen["incidents"]) == count, "the incident", seen_by=asked)
    finally:
        heal(host, controller_python)
    after = until(
        host,
        lambda seen: len(seen["incidents"]) == count and trains(seen) and not seen["alerts"],
        "the end of the incident and of the alert",
    )
    assert re.match(named("disk-full-exit").incident, after["incidents"][-1]["what"])
    assert more_steps(host, before["trainers"][0]["global_step"])
