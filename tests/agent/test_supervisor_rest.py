"""What a supervisor leaves behind (nothing), and trainers whose agent lost its identity."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import subprocess

import psutil
import pytest

from rlagent.supervisor import Exited, Running, procfs
from supervisor_runs import SH, Trainers, gone, wait_for

CYCLES = 50


@pytest.fixture
def trainers(tmp_path):
    host = Trainers(tmp_path)
    yield host
    host.close()


def descriptors() -> list[str]:
    gc.collect()  # what an earlier test dropped may not go away within this one
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208  # the kernel's view


def children() -> list[int]:
    """Return the children, zombies too: psutil leaves them out of nothing."""
    return [child.pid for child in psutil.Process().children()]


def test_fifty_trainers_leave_no_descriptor_no_zombie_and_no_process(trainers):
    launch = trainers.launch("true", attempt=1)
    trainers.supervisor.ensure(launch, spawn=True)
    trainers.end(launch)
    before = descriptors(), children()
    for attempt in range(2, CYCLES + 2):
        launch = trainers.launch("true", attempt=attempt)
        trainers.supervisor.ensure(launch, spawn=True)
        assert trainers.end(launch).record.code == 0
    assert (descriptors(), children()) == before
    assert (trainers.marked(), trainers.marked("RLFLEET_SHIM_OF")) == ({}, {})


def test_a_stopped_trainer_leaves_nothing_either(trainers):
    before = descriptors(), children()
    launch = trainers.launch()
    for adopted in (False, True):
        launch = trainers.launch(attempt=1 + adopted)
        trainers.start(launch)
        if adopted:
            shim_pid = trainers.supervisor.processes()["Pong"].shim_pid
            trainers.restart_agent()
            trainers.start(launch)
            assert trainers.supervisor.processes()["Pong"].shim_pid == shim_pid
        trainers.supervisor.stop(launch, 60)
        trainers.end(launch)
    # An agent that was replaced within this process never waited for its child: the next start reaps it.
    subprocess.run(["true"], check=True)
    assert (descriptors(), children()) == before


@pytest.mark.parametrize("place", ["runs", "logs"])
def test_a_folder_that_can_not_be_made_is_an_error_that_leaves_no_descriptor_and_no_lock(trainers, place):
    """A file in the folder's place refuses root as well."""
    (trainers.folder / place).write_text("")
    launch = trainers.launch()
    before = descriptors()
    for _ in range(10):
        with pytest.raises(OSError, match=r"directory|exists"):
            trainers.supervisor.ensure(launch, spawn=True)
    assert (descriptors(), trainers.supervisor.processes(), trainers.marked()) == (before, {}, {})
    (trainers.folder / place).unlink()
    assert trainers.start(launch) > 0


def test_a_shortage_of_processes_is_an_error_and_the_next_try_works(trainers, monkeypatch):
    launch = trainers.launch()
    before = descriptors()

    def refuse(*_args, **_more):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(OSError, match="temporarily"):
            trainers.supervisor.ensure(launch, spawn=True)
    assert descriptors() == before
    assert trainers.start(launch) > 0


def test_the_lock_is_held_exactly_as_long_as_the_shim_lives(trainers):
    launch = trainers.launch()
    pid = trainers.start(launch)
    shim_pid = trainers.supervisor.processes()["Pong"].shim_pid
    stat = (launch.run_dir / "lock").stat()
    lock = stat.st_dev, stat.st_ino
    holders = [
        process.pid
        for process in psutil.process_iter()
        for number in _descriptors_of(process.pid)
        if _inode(process.pid, number) == lock
    ]
    assert holders == [shim_pid]
    assert pid != shim_pid
    trainers.supervisor.stop(launch, 60)
    trainers.end(launch)
    with (launch.run_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _descriptors_of(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208  # as above
    except OSError:
        return []


def _inode(pid: int, number: str) -> tuple[int, int] | None:
    """Return what a descriptor stands for: other disks and the pipes count their inodes themselves."""
    try:
        stat = os.stat(f"/proc/{pid}/fd/{number}")  # noqa: PTH116  # as above
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


@pytest.mark.parametrize("shim", ["alive", "killed"])
def test_an_agent_with_a_new_identity_gets_its_run_directories_back(tmp_path, shim):
    """As after a lost journal: the old trainers hold the locks, and nobody knows their identity any more."""
    old, new = Trainers(tmp_path), Trainers(tmp_path)
    script = "setsid sleep 600 & trap '' TERM; while :; do sleep 0.05; done"
    try:
        launch = old.launch(*SH, script, RLFLEET_RUN_DIR=str(tmp_path / "runs" / "Pong"))
        old_pid = old.start(launch)
        wait_for(lambda: len(old.marked()) >= 2)
        if shim == "killed":
            os.kill(old.supervisor.processes()["Pong"].shim_pid, 9)
        pid = new.start(new.launch())
        assert gone(old_pid)
        assert (old.marked(), old.marked("RLFLEET_SHIM_OF")) == ({}, {})
        assert new.marked() == {pid: f"{new.uuid}:Pong:1"}
    finally:
        old.close()
        new.close()


def test_a_shell_in_which_somebody_exported_the_run_directory_is_not_a_trainer(trainers):
    launch = trainers.launch()
    shell = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], "RLFLEET_RUN_DIR": str(launch.run_dir)})
    try:
        trainers.start(launch)
        trainers.start(trainers.launch(attempt=2))
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_a_newer_attempt_in_the_same_agent_replaces_the_older_one(trainers):
    """The policy never asks for this, but an operator who edits the journal may."""
    first = trainers.start(trainers.launch())
    second = trainers.start(trainers.launch(attempt=2))
    assert (gone(first), list(trainers.marked())) == (True, [second])
    outcome = trainers.supervisor.ensure(trainers.launch(attempt=2), spawn=True)
    assert outcome == Running(trainer_pid=second, adopted=False)


def test_the_mark_of_a_process_that_is_just_being_started_is_seen():
    """Within execve a process shows no environment for a moment: a trainer that is missed then would be doubled."""
    seen = []
    for number in range(300):
        pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {"RLFLEET_ATTEMPT_ID": str(number)})
        seen.append(procfs.mark(pid, "RLFLEET_ATTEMPT_ID"))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert seen == [str(number) for number in range(300)]


def test_a_process_without_environment_is_not_waited_for(monkeypatch):
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    try:
        wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING)
        assert psutil.Process(pid).cmdline() == ["sleep", "600"]
        monkeypatch.setattr(procfs, "_EXEC_PAUSE_S", None)  # a pause would raise
        assert procfs.mark(pid, "RLFLEET_ATTEMPT_ID") is None
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert procfs.mark(pid, "RLFLEET_ATTEMPT_ID") is None


def test_a_trainer_that_was_just_started_when_its_shim_was_killed_is_found_by_its_mark(trainers):
    """No record tells of it, and it may not even have an environment yet."""
    for attempt in range(1, 11):
        launch = trainers.launch(*SH, "exec sleep 600", attempt=attempt)
        (launch.run_dir / "attempt.json" / "x").mkdir(parents=True, exist_ok=True)
        trainers.supervisor.ensure(launch, spawn=True)
        shim_pid = trainers.supervisor.processes()["Pong"].shim_pid
        wait_for(lambda pid=shim_pid: psutil.Process(pid).children())
        os.kill(shim_pid, signal.SIGKILL)
        trainers.restart_agent()
        assert trainers.end(launch, spawn=False) in (None, Exited(record=None))  # it may have been seen dying
        assert trainers.marked() == {}
