"""A trainer's end that the disk refuses to record is known at once all the same."""

from __future__ import annotations

import os
import select
import shutil
import signal

import pytest

from supervisor_runs import SH, Trainers, wait_for


@pytest.fixture
def trainers(tmp_path):
    host = Trainers(tmp_path)
    yield host
    host.close()


def start_with_refusing_disk(trainers, *command):
    """Start a trainer, then let a folder in the record's place refuse its exit, as a full disk does."""
    launch = trainers.launch(*command)
    pid = trainers.start(launch)
    (launch.run_dir / "exit.json" / "x").mkdir(parents=True)
    return launch, pid


def test_the_exit_is_told_from_memory(trainers):
    launch, pid = start_with_refusing_disk(trainers)
    watched = trainers.supervisor.filenos()
    os.kill(pid, signal.SIGSEGV)
    assert select.select(watched, [], [], 60)[0] != []
    assert trainers.end(launch).record.signal == signal.SIGSEGV


def test_a_new_agent_reads_it_too(trainers):
    launch, pid = start_with_refusing_disk(trainers)
    os.kill(pid, signal.SIGABRT)
    assert trainers.end(launch).record.signal == signal.SIGABRT
    trainers.restart_agent()
    assert trainers.end(launch).record.signal == signal.SIGABRT


def test_the_lock_stays_until_the_next_attempt_which_then_starts(trainers):
    launch, pid = start_with_refusing_disk(trainers)
    os.kill(pid, signal.SIGKILL)
    assert trainers.end(launch).record.signal == signal.SIGKILL
    assert len(trainers.marked("RLFLEET_SHIM_OF")) == 1
    second = trainers.launch(attempt=2)
    trainers.start(second)
    assert [of.rpartition(":")[2] for of in trainers.marked().values()] == ["2"]
    assert [of.rpartition(":")[2] for of in trainers.marked("RLFLEET_SHIM_OF").values()] == ["2"]


def test_it_reaches_the_disk_once_the_disk_takes_it(trainers):
    launch, pid = start_with_refusing_disk(trainers)
    os.kill(pid, signal.SIGKILL)
    trainers.end(launch)
    shutil.rmtree(launch.run_dir / "exit.json")
    wait_for((launch.run_dir / "exit.json").is_file)
    wait_for(lambda: not trainers.marked("RLFLEET_SHIM_OF"))
    trainers.restart_agent()
    assert trainers.end(launch).record.signal == signal.SIGKILL


def test_a_stopped_shim_wakes_up_when_its_trainer_has_ended(trainers):
    launch = trainers.launch()
    pid = trainers.start(launch)
    os.kill(trainers.supervisor.processes()["Pong"].shim_pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    assert trainers.end(launch).record.signal == signal.SIGKILL


def test_a_trainer_that_never_ran_is_told_from_memory(trainers):
    launch = trainers.launch(*SH, "exit 3")
    (launch.run_dir / "exit.json" / "x").mkdir(parents=True)
    assert trainers.end(launch, spawn=True).record.code == 3
