"""Stopping real trainers: gracefully, once, across agent restarts, and by force where grace does not help."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest

from rlagent.supervisor import Exited
from supervisor_runs import SH, Trainers, gone, session, wait_for

POLITE = "trap 'echo TERM >> terms; exit 0' TERM; touch ready; while :; do sleep 0.02; done"
DEAF = "trap 'echo TERM >> terms' TERM; touch ready; while :; do sleep 0.02; done"


@pytest.fixture
def trainers(tmp_path):
    host = Trainers(tmp_path)
    yield host
    host.close()


def start(trainers: Trainers, script: str):
    """Start a trainer and wait until it would hear SIGTERM."""
    launch = trainers.launch(*SH, script)
    pid = trainers.start(launch)
    wait_for((launch.run_dir / "ready").exists)
    return launch, pid


def terms(launch) -> int:
    file = launch.run_dir / "terms"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_polite_trainer_ends_by_itself_after_one_sigterm(trainers):
    launch, _ = start(trainers, POLITE)
    for _ in range(3):
        trainers.supervisor.stop(launch, 60)
    ended = trainers.end(launch)
    assert (ended.record.code, ended.record.sigterm_seen, terms(launch)) == (0, False, 1)


def test_asked_again_and_by_a_new_agent_it_is_still_one_sigterm(trainers):
    launch, _ = start(trainers, DEAF)
    trainers.supervisor.stop(launch, 60)
    wait_for(lambda: terms(launch) == 1)
    for _ in range(3):
        trainers.restart_agent()
        trainers.start(launch)
        trainers.supervisor.stop(launch, 60)
    time.sleep(0.3)
    assert terms(launch) == 1


def test_the_grace_goes_on_across_agent_restarts(trainers):
    launch, _ = start(trainers, DEAF)
    began = time.monotonic()
    trainers.supervisor.stop(launch, 1.5)

    def ended_under_a_new_agent() -> Exited | None:
        outcome = trainers.restart_agent().ensure(launch, spawn=True)
        trainers.supervisor.stop(launch, 1000)
        return outcome if isinstance(outcome, Exited) else None

    ended = wait_for(ended_under_a_new_agent)
    assert time.monotonic() - began >= 1.5
    assert ended.record.signal == signal.SIGKILL


def test_an_old_stop_does_not_hurt_the_next_attempt(trainers):
    launch, _ = start(trainers, DEAF)
    trainers.supervisor.stop(launch, 0)
    trainers.end(launch)
    (launch.run_dir / "ready").unlink()
    again = trainers.launch(*SH, POLITE, attempt=2)
    pid = trainers.start(again)
    wait_for((launch.run_dir / "ready").exists)
    trainers.restart_agent()
    trainers.start(again)
    time.sleep(0.2)
    trainers.start(again)
    assert gone(pid) is False
    trainers.supervisor.stop(again, 60)
    assert trainers.end(again).record.code == 0


def test_a_shorter_grace_wins(trainers):
    launch, _ = start(trainers, DEAF)
    trainers.supervisor.stop(launch, 1000)
    trainers.supervisor.stop(launch, 0)
    trainers.supervisor.stop(launch, 1000)
    assert trainers.end(launch).record.signal == signal.SIGKILL


def test_a_frozen_trainer_wakes_up_to_end_gracefully(trainers):
    launch, pid = start(trainers, POLITE)
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    trainers.supervisor.stop(launch, 60)
    assert (trainers.end(launch).record.code, terms(launch)) == (0, 1)


def test_a_frozen_shim_wakes_up_to_record_the_end(trainers):
    launch, _ = start(trainers, POLITE)
    shim_pid = trainers.supervisor.processes()["Pong"].shim_pid
    os.kill(shim_pid, signal.SIGSTOP)
    wait_for(lambda: psutil.Process(shim_pid).status() == psutil.STATUS_STOPPED)
    trainers.supervisor.stop(launch, 60)
    assert trainers.end(launch).record.code == 0


def test_a_stubborn_trainer_is_killed_with_all_its_children_after_the_grace(trainers):
    fork = "trap '' TERM; (trap '' TERM; sleep 600) & setsid sleep 600 & env -i sleep 600 &"
    launch, _ = start(trainers, f"{fork} touch ready; while :; do sleep 0.02; done")
    shim_pid = trainers.supervisor.processes()["Pong"].shim_pid
    assert len(session(shim_pid)) >= 4
    began = time.monotonic()
    trainers.supervisor.stop(launch, 1)
    ended = trainers.end(launch)
    assert ended.record.signal == signal.SIGKILL
    assert time.monotonic() - began >= 1
    assert trainers.marked() == {}
    assert session(shim_pid) == []


def test_a_stop_before_the_trainer_is_even_known_is_not_forgotten(trainers):
    launch = trainers.launch(*SH, POLITE)
    trainers.supervisor.ensure(launch, spawn=True)

    def ended() -> Exited | None:
        trainers.supervisor.stop(launch, 60)
        outcome = trainers.supervisor.ensure(launch, spawn=False)
        return outcome if isinstance(outcome, Exited) else None

    record = wait_for(ended).record
    # It may have been too young to handle SIGTERM.
    assert (record.code, record.signal) in ((0, None), (None, signal.SIGTERM))


def test_a_stop_of_another_attempt_does_nothing(trainers):
    launch, pid = start(trainers, POLITE)
    trainers.supervisor.stop(trainers.launch(attempt=2), 0)
    trainers.supervisor.ensure(launch, spawn=True)
    time.sleep(0.2)
    assert (gone(pid), terms(launch)) == (False, 0)


def test_an_exit_that_can_not_be_recorded_does_not_hold_up_a_stop_for_ever(trainers, monkeypatch):
    """A folder in the record's place refuses it, as a full disk would; so does, here, the kernel in memory."""
    monkeypatch.setattr("rlagent.supervisor.core.SHIM_GRACE_S", 0.5)
    monkeypatch.setattr("rlagent.supervisor.core.read_from_memory", lambda _pid: None)
    launch, _ = start(trainers, POLITE)
    (launch.run_dir / "exit.json" / "x").mkdir(parents=True)
    trainers.supervisor.stop(launch, 0.5)
    assert trainers.end(launch).record is None
    assert trainers.marked("RLFLEET_SHIM_OF") == {}


def test_workers_that_fork_while_they_are_killed_are_killed_too(trainers):
    """Three chains in which each process starts its successor and ends: their pids are always new."""
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.monotonic() + 30
for chain in range(3):
    if os.fork() == 0:
        while time.monotonic() < end:
            time.sleep(0.01)
            if os.fork():
                os._exit(0)
        os._exit(0)
print("all chains run", flush=True)
time.sleep(600)
"""
    launch = trainers.launch(sys.executable, "-c", code)
    trainers.start(launch)
    wait_for(lambda: launch.log_path.exists() and "all chains run" in launch.log_path.read_text())
    trainers.supervisor.stop(launch, 0)
    assert trainers.end(launch).record.signal == signal.SIGKILL
    assert trainers.marked() == {}
