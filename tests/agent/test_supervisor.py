"""The supervisor with real processes: start, watch, adopt, and never two trainers of one game."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess

import psutil
import pytest

from rlagent.supervisor import Exited, Pending, Running, procfs
from supervisor_runs import SH, Trainers, gone, session, wait_for


@pytest.fixture
def trainers(tmp_path):
    host = Trainers(tmp_path)
    yield host
    host.close()


@pytest.fixture
def innocent():
    """A process that has nothing to do with any trainer, in a session of its own."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def attempt_record(launch) -> dict:
    return json.loads((launch.run_dir / "attempt.json").read_text())


def test_starts_one_trainer_and_asking_again_changes_nothing(trainers):
    launch = trainers.launch(RLFLEET_GAME="Pong")
    pid = trainers.start(launch)
    assert psutil.Process(pid).cmdline() == ["sleep", "600"]
    assert psutil.Process(pid).environ()["RLFLEET_ATTEMPT_ID"] == f"{trainers.uuid}:Pong:1"
    assert trainers.supervisor.ensure(launch, spawn=True) == Running(trainer_pid=pid, adopted=False)
    assert list(trainers.marked()) == [pid]
    process = trainers.supervisor.processes()["Pong"]
    assert (process.attempt, process.trainer_pid) == (1, pid)
    assert psutil.Process(pid).ppid() == process.shim_pid


def test_reports_an_exit_with_its_record_as_often_as_asked(trainers):
    launch = trainers.launch(*SH, "exit 3")
    trainers.supervisor.ensure(launch, spawn=True)
    first = trainers.end(launch, spawn=True)
    assert (first.record.code, first.record.signal) == (3, None)
    assert trainers.supervisor.ensure(launch, spawn=True) == first
    assert trainers.restart_agent().ensure(launch, spawn=True) == first
    assert (trainers.supervisor.processes(), trainers.supervisor.filenos()) == ({}, [])


def test_the_end_of_a_trainer_wakes_who_watches(trainers):
    launch = trainers.launch()
    pid = trainers.start(launch)
    watched = trainers.supervisor.filenos()
    assert len(watched) == 2
    assert select.select(watched, [], [], 0)[0] == []
    os.kill(pid, signal.SIGKILL)
    assert select.select(watched, [], [], 60)[0] != []
    assert trainers.end(launch).record.signal == signal.SIGKILL


def test_without_spawn_nothing_is_started(trainers):
    assert trainers.supervisor.ensure(trainers.launch(), spawn=False) is None
    assert trainers.marked("RLFLEET_SHIM_OF") == {}


def test_a_new_agent_adopts_a_running_trainer_and_sees_its_end(trainers):
    launch = trainers.launch()
    pid = trainers.start(launch)
    trainers.restart_agent()
    assert trainers.supervisor.ensure(launch, spawn=True) == Running(trainer_pid=pid, adopted=True)
    watched = trainers.supervisor.filenos()
    os.kill(pid, signal.SIGSEGV)
    assert select.select(watched, [], [], 60)[0] != []
    assert trainers.end(launch).record.signal == signal.SIGSEGV


def test_a_new_agent_learns_of_an_exit_that_nobody_saw(trainers):
    launch = trainers.launch(*SH, "read x < go; exit 9")
    launch.run_dir.mkdir(parents=True)
    os.mkfifo(launch.run_dir / "go")
    trainers.start(launch)
    trainers.restart_agent()
    (launch.run_dir / "go").write_text("x\n")
    wait_for((launch.run_dir / "exit.json").exists)
    assert trainers.end(launch).record.code == 9


def test_adopts_by_the_mark_when_the_record_is_missing(trainers):
    """As after a full disk: a folder in the record's place refuses it."""
    launch = trainers.launch()
    (launch.run_dir / "attempt.json" / "x").mkdir(parents=True)
    pid = trainers.start(launch)
    trainers.restart_agent()
    assert trainers.supervisor.ensure(launch, spawn=True) == Running(trainer_pid=pid, adopted=True)
    assert list(trainers.marked()) == [pid]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"attempt_id": 3}', b"\xff"])
def test_records_that_are_garbage_are_no_records(trainers, content):
    launch = trainers.launch()
    launch.run_dir.mkdir(parents=True)
    for name in ("attempt.json", "exit.json", "stop.json"):
        (launch.run_dir / name).write_bytes(content)
    pid = trainers.start(launch)
    (launch.run_dir / "attempt.json").write_bytes(content)
    trainers.restart_agent()
    assert trainers.supervisor.ensure(launch, spawn=True) == Running(trainer_pid=pid, adopted=True)


def test_a_keeper_that_says_nothing_yet_is_waited_for(trainers):
    """A half-born shim holds the lock; nothing else tells of it."""
    launch = trainers.launch()
    launch.run_dir.mkdir(parents=True)
    with (launch.run_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert isinstance(trainers.supervisor.ensure(launch, spawn=True), Pending)
        assert trainers.marked("RLFLEET_SHIM_OF") == {}
    assert trainers.start(launch) > 0


def test_a_newer_attempt_waits_until_everything_of_the_older_one_is_dead(trainers):
    old = trainers.launch(*SH, "setsid sleep 600 & trap '' TERM; sleep 600")
    old_pid = trainers.start(old)
    wait_for(lambda: len(trainers.marked()) == 3)
    old_pids, old_shims = set(trainers.marked()), set(trainers.marked("RLFLEET_SHIM_OF"))
    trainers.restart_agent()
    pid = trainers.start(trainers.launch(attempt=2))
    assert pid != old_pid
    assert all(gone(number) for number in old_pids)
    wait_for(lambda: all(gone(number) for number in old_shims))  # its lock is free a moment before its end
    assert trainers.marked() == {pid: f"{trainers.uuid}:Pong:2"}


def test_orphans_of_an_attempt_die_before_its_end_is_told(trainers):
    """Grandchildren in sessions of their own are beyond the shim; their mark gives them away."""
    orphan = "setsid sh -c 'touch {}; exec sleep 600' &"
    wait = "while [ ! -e one ] || [ ! -e two ]; do sleep 0.01; done"
    launch = trainers.launch(*SH, f"{orphan.format('one')} {orphan.format('two')} {wait}; read x < go; exit 4")
    launch.run_dir.mkdir(parents=True)
    os.mkfifo(launch.run_dir / "go")
    trainer = trainers.start(launch)
    (launch.run_dir / "go").write_text("x\n")
    wait_for(lambda: gone(trainer))
    orphans = [pid for pid in trainers.marked() if pid != trainer]
    assert len(orphans) == 2
    ended = trainers.end(launch)
    assert (ended.record.code, trainers.marked()) == (4, {})
    assert all(gone(pid) for pid in orphans)


@pytest.mark.parametrize("adopted", [False, True])
def test_a_killed_shim_takes_its_trainer_along_and_nobody_knows_how_it_ended(trainers, adopted):
    launch = trainers.launch(*SH, "sleep 600 & sleep 600")
    pid = trainers.start(launch)
    if adopted:
        trainers.restart_agent()
        trainers.start(launch)
    os.kill(trainers.supervisor.processes()["Pong"].shim_pid, signal.SIGKILL)
    assert trainers.end(launch, spawn=True) == Exited(record=None)
    assert (gone(pid), trainers.marked()) == (True, {})


def test_a_trainer_that_hides_its_mark_is_found_when_its_shim_was_killed(trainers):
    """As setproctitle does, which writes over the environment."""
    launch = trainers.launch("env", "-i", "sh", "-c", "sleep 600 & exec sleep 600")
    pid = trainers.start(launch)
    wait_for(lambda: psutil.Process(pid).name() == "sleep" and trainers.marked() == {})
    shim_pid = trainers.supervisor.processes()["Pong"].shim_pid
    group = session(shim_pid)
    assert len(group) == 3
    os.kill(shim_pid, signal.SIGKILL)
    trainers.restart_agent()
    trainers.start(trainers.launch(attempt=2))
    assert all(gone(number) for number in group if number != shim_pid)
    wait_for(lambda: gone(shim_pid))


def test_a_shim_that_dies_without_a_word_is_not_started_again_and_again(trainers):
    launch = trainers.launch()
    (launch.run_dir / "attempt.json" / "x").mkdir(parents=True)
    trainers.supervisor.ensure(launch, spawn=True)
    os.kill(trainers.supervisor.processes()["Pong"].shim_pid, signal.SIGKILL)
    assert trainers.end(launch, spawn=True) == Exited(record=None)
    assert trainers.supervisor.ensure(launch, spawn=True) == Exited(record=None)


def test_a_command_that_does_not_exist(trainers):
    launch = trainers.launch("/no/such/trainer")
    trainers.supervisor.ensure(launch, spawn=True)
    ended = trainers.end(launch)
    assert (ended.record.code, ended.record.error) == (127, "can't run /no/such/trainer: No such file or directory")


@pytest.mark.parametrize("fault", ["another start", "another program", "another boot"])
def test_a_reused_pid_fools_nobody(trainers, innocent, fault):
    """A record whose pids now belong to somebody else: not adopted, not signalled, not killed."""
    launch = trainers.launch()
    launch.run_dir.mkdir(parents=True)
    ticks = procfs.start_ticks(innocent.pid) - (1000 if fault == "another start" else 0)
    boot = "another/1" if fault == "another boot" else procfs.boot_identity()
    record = {
        "attempt_id": f"{trainers.uuid}:Pong:1",
        "boot": boot,
        "shim_pid": innocent.pid,
        "shim_ticks": ticks,
        "trainer_pid": innocent.pid,
        "trainer_ticks": ticks,
        "started_at": 0,
    }
    (launch.run_dir / "attempt.json").write_text(json.dumps(record))
    assert trainers.supervisor.ensure(launch, spawn=True) == Exited(record=None)
    trainers.supervisor.stop(launch, 0)
    trainers.start(trainers.launch(attempt=2))
    trainers.supervisor.kill_strangers([])
    assert innocent.poll() is None


def test_a_record_of_another_boot_never_kills_the_session_that_has_its_number_now(trainers, innocent):
    launch = trainers.launch()
    launch.run_dir.mkdir(parents=True)
    worker = subprocess.Popen(["setsid", "sh", "-c", "sleep 600 >/dev/null & echo $$ $!"], stdout=-1, text=True)
    leader, member = (int(word) for word in worker.communicate()[0].split())
    record = {
        "attempt_id": f"{trainers.uuid}:Pong:1",
        "boot": "another/1",
        "shim_pid": leader,
        "shim_ticks": 0,
        "trainer_pid": member,
        "trainer_ticks": 0,
    }
    (launch.run_dir / "attempt.json").write_text(json.dumps(record))
    try:
        trainers.start(trainers.launch(attempt=2))
        assert gone(member) is False
    finally:
        os.kill(member, signal.SIGKILL)


def test_trainers_of_unknown_games_and_only_those_are_strangers(trainers, tmp_path):
    other = Trainers(tmp_path / "other")
    try:
        kept, stranger = trainers.start(trainers.launch()), trainers.start(trainers.launch(game="Gone"))
        others = other.start(other.launch(game="Gone"))
        trainers.supervisor.kill_strangers(["Pong"])
        wait_for(lambda: gone(stranger))
        assert (gone(kept), gone(others)) == (False, False)
    finally:
        other.close()


def test_two_hosts_in_one_machine_do_not_see_each_other(trainers, tmp_path):
    other = Trainers(tmp_path / "other")
    try:
        first, second = trainers.start(trainers.launch()), other.start(other.launch())
        other.start(other.launch(attempt=2))
        assert (gone(first), gone(second)) == (False, True)
    finally:
        other.close()


def test_an_environment_that_is_no_text_can_be_inherited(trainers):
    launch = trainers.launch(*SH, 'printf "%s" "$ODD" | od -An -tx1', ODD="caf\udce9")
    trainers.supervisor.ensure(launch, spawn=True)
    assert trainers.end(launch).record.code == 0
    assert launch.log_path.read_text().split() == ["63", "61", "66", "e9"]


def test_a_disk_that_refuses_the_launch_is_an_error_and_the_next_try_works(trainers):
    launch = trainers.launch()
    (launch.run_dir / "launch.json" / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        trainers.supervisor.ensure(launch, spawn=True)
    (launch.run_dir / "launch.json" / "x").rmdir()
    (launch.run_dir / "launch.json").rmdir()
    assert trainers.start(launch) > 0
