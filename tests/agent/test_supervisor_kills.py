"""SIGKILL of a supervisor's process at random instants: exactly one trainer afterwards, whatever was half done."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import psutil
import pytest

import soak
from rlagent.supervisor import Running
from supervisor_runs import SH, Trainers, wait_for

PROGRAM = """
import sys, time
from pathlib import Path
from supervisor_runs import SH, Trainers
trainers = Trainers(Path(sys.argv[1]), sys.argv[2])
launch = trainers.launch(*SH, sys.argv[4], attempt=int(sys.argv[3]))
print("ready", flush=True)
while True:
    trainers.supervisor.ensure(launch, spawn=True)
    time.sleep(0.002)
"""
EXCLUSIVE = "exec 9>alone; flock -n 9 || touch DOUBLE; exec sleep 600"
"""Leaves a file when another trainer of its game is alive."""


@pytest.fixture
def trainers(tmp_path):
    host = Trainers(tmp_path)
    yield host
    host.close()


def children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


@pytest.mark.parametrize("fresh", [True, False], ids=["each a new attempt", "always the same attempt"])
@soak.parts("kills", sample=20, whole=500, each=50)
def test_kills_leave_one_trainer(trainers, kills, fresh):
    instants = random.Random(kills.start)
    started = set()
    for number in range(1, len(kills) + 1):
        attempt = number if fresh else 1
        agent = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, trainers.folder, trainers.uuid, str(attempt), EXCLUSIVE],
            stdout=-1,
            text=True,
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )
        assert agent.stdout.readline() == "ready\n"
        time.sleep(instants.random() * 0.06)
        agent.kill()
        agent.communicate()
        trainers.restart_agent()
        launch, before = trainers.launch(*SH, EXCLUSIVE, attempt=attempt), children()
        pid = trainers.start(launch)
        started.add((pid, psutil.Process(pid).create_time()))
        assert wait_for(lambda: len(trainers.marked("RLFLEET_SHIM_OF")) == 1)
        if number % 10 == 0:
            pid = trainers.start(launch)
            expected = {pid: f"{trainers.uuid}:Pong:{attempt}"}
            wait_for(lambda expected=expected: trainers.marked() == expected)  # its flock may still be there
            # Who was killed before it had started one left that to its successor.
            adopted = trainers.supervisor.processes()["Pong"].shim_pid not in set(children()) - set(before)
            assert trainers.supervisor.ensure(launch, spawn=True) == Running(trainer_pid=pid, adopted=adopted)
    assert len(started) == (len(kills) if fresh else 1)
    assert list(trainers.folder.rglob("DOUBLE")) == []
