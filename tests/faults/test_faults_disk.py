"""What breaks on the disk under rltrain: checkpoints spoiled, not writable, no space. One host on a small real disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest

from agent_host import AgentHost
from faults.catalogue import named
from faults.conftest import target
from faults.inject import heal
from faults.target import UNHURRIED
from trainer_runs import TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own and a read-only folder need root"),
]
DISK_MIB = 320
WAIT_S, HANG_S = 120, 60.0


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk") / "host"
    (folder / "var").mkdir(parents=True)
    flags = [text for name, value in TINY.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "rltrainer", "train", "--game", "{game}", *flags]
    one = AgentHost(
        folder,
        policy={"max_crashes": 100},
        guard={"disk_free_mib": 1.0},
        supervisor={"start_timeout_s": 120.0, "hang_timeout_s": HANG_S, "stop_timeout_s": 20.0},
        trainer={"command": command, "checkpoint_interval_s": 1.0, "env": UNHURRIED},
        games=[{"name": "Pong", "target_frames": 40_000_000}],
        modes=[{"name": "light", "games": 1, "num_envs": 8, "batch_size": 64}],
    )
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", folder / "var"], check=True)
    try:
        yield one.start()
        heal(target(one))
    finally:
        one.close()
        time.sleep(0.2)
        subprocess.run(["umount", "-l", folder / "var"], check=True)


def log(host) -> str:
    return host.paths.game_log("Pong").read_text(errors="replace")


def checkpoint_step(host) -> int:
    """Wait for a fresh checkpoint and return its step count."""
    host.wait_running(1, timeout_s=WAIT_S)
    host.wait_for(lambda: (host.game("Pong")["checkpoint_age_s"] or 99) < 3, "a checkpoint", WAIT_S)
    return host.game("Pong")["global_step"]


def three_checkpoints(host) -> set[str]:
    """Wait until as many checkpoints lie there as are kept, and return their names."""
    folder = host.paths.run_dir("Pong") / "checkpoints"

    def names() -> set[str]:
        return {path.name for path in folder.glob("ckpt-*.pt")}

    host.wait_for(lambda: len(names()) >= 3, "three checkpoints", WAIT_S)
    return names()


def more_steps(host, than: int) -> None:
    host.wait_for(lambda: (host.game("Pong")["global_step"] or 0) > than, "more steps", WAIT_S)


@pytest.mark.parametrize("name", ["checkpoint-corrupt", "checkpoint-truncated", "checkpoint-empty"])
def test_a_spoiled_newest_checkpoint_costs_one_interval(host, name):
    fault, before = named(name), len(host.status()["incidents"])
    checkpoint_step(host)
    three_checkpoints(host)
    quarantine = host.paths.run_dir("Pong") / "checkpoints" / "quarantine"

    def quarantined() -> set[tuple[str, int]]:
        """Names and inodes: a trainer in no hurry may write, and lose, a checkpoint of the same step again."""
        return {(path.name, path.stat().st_ino) for path in quarantine.glob("*")} - already

    already: set[tuple[str, int]] = set()
    already = quarantined()
    fault.inject(target(host))
    ((newest, _),) = host.wait_for(quarantined, "the damaged one to be put aside", WAIT_S)
    host.wait_for(lambda: re.search(fault.message, log(host)), "the message", WAIT_S)
    host.wait_running(1, timeout_s=WAIT_S)
    whats = [incident["what"] for incident in host.status()["incidents"][before:]]
    assert len(whats) == 1
    assert re.match(fault.incident, whats[0])

    def resumed() -> list[str]:
        """Return the steps it went on from, after it had found the damage."""
        return re.findall(r"resume: ckpt-\d+\.pt \| step (\d+)", re.split(fault.message, log(host))[-1])

    (step,) = host.wait_for(resumed, "the log to tell of it", WAIT_S)
    assert 0 < int(step) < int(newest[5:17])


def test_a_folder_that_can_not_be_written_stops_checkpoints_not_training(host):
    fault, before = named("checkpoint-unwritable"), len(host.status()["incidents"])
    step = checkpoint_step(host)
    fault.inject(target(host))
    try:
        host.wait_for(lambda: re.search(fault.message, log(host)), "the message", WAIT_S)
        more_steps(host, step + 200)
    finally:
        heal(target(host))
    last = max(three_checkpoints(host))
    host.wait_for(lambda: max(three_checkpoints(host)) > last, "checkpoints to come again", WAIT_S)
    assert len(host.status()["incidents"]) == before


def test_a_full_disk_stops_no_training_and_a_death_on_it_is_noticed_at_once(host):
    fault, before = named("disk-full"), len(host.status()["incidents"])
    step = checkpoint_step(host)
    three_checkpoints(host)
    fault.inject(target(host))
    host.wait_for(
        lambda: any(re.search(fault.message, alert) for alert in host.status()["alerts"]), "the alert", WAIT_S
    )
    kept = three_checkpoints(host)
    time.sleep(HANG_S + 10)  # nobody can report for so long, and nobody is taken for hung
    assert kept <= three_checkpoints(host)
    assert len(host.status()["incidents"]) == before

    os.kill(host.pids()["Pong"], 9)
    host.wait_for(lambda: len(host.status()["incidents"]) == before + 1, "the incident", WAIT_S)
    assert re.match(named("disk-full-exit").incident, host.status()["incidents"][-1]["what"])

    heal(target(host))
    host.wait_for(lambda: not host.status()["alerts"], "the end of the alert", WAIT_S)
    checkpoint_step(host)
    more_steps(host, step)
    state, refolded, _ = host.refold()
    assert state == refolded
