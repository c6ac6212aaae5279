"""Moments of a stop met exactly, and what /proc may show: the supervisor without processes, in time that stands.

What real processes do is tested in the files beside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import types
from pathlib import Path

import msgspec
import pytest

from rlagent import files
from rlagent.supervisor import Exited, ExitRecord, Launch, Running, Supervisor, core, procfs, signals
from rlagent.supervisor import keeper as keepers
from rlagent.supervisor.keeper import Keeper
from rlagent.supervisor.model import AttemptRecord, StopRecord, read, read_from_memory

SHIM, TRAINER = 400, 500


class Stage:
    """A supervisor whose keeper and trainer exist as far as a test says, at a time that it says."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.now = 1000.0
        self.ticks: dict[int, int] = {SHIM: 44, TRAINER: 55}
        self.sent: list[tuple[int, tuple[int, ...]]] = []
        self.killed: list[int] = []
        self.members: list[int] = [SHIM, TRAINER]
        self.marks: dict[int, str] = {}
        self.memory: ExitRecord | None = None
        clock = types.SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(core, "time", clock)
        monkeypatch.setattr(keepers, "time", clock)
        monkeypatch.setattr(procfs, "start_ticks", self.ticks.get)
        monkeypatch.setattr(procfs, "members", lambda *_: self.members)
        monkeypatch.setattr(procfs, "marked", lambda _marker: self.marks)
        monkeypatch.setattr(procfs, "parent", lambda pid: SHIM if pid == TRAINER else 1)
        monkeypatch.setattr(signals, "send", self.send)
        monkeypatch.setattr(signals, "kill", self.killed.append)
        monkeypatch.setattr(core, "read_from_memory", lambda _pid: self.memory)
        self.supervisor = Supervisor("host", 1.0, 2)
        self.launch = Launch(game="Pong", attempt=1, run_dir=folder, log_path=folder / "log")
        self.keeper = Keeper(1, SHIM, 44)
        self.supervisor._keepers["Pong"] = self.keeper

    def send(self, pid: int, ticks: int, *numbers: int) -> bool:
        alive = self.ticks.get(pid) == ticks
        if alive:
            self.sent.append((pid, numbers))
        return alive

    def knows(self) -> Stage:
        """Let the trainer be known."""
        record = AttemptRecord(
            attempt_id="host:Pong:1", boot="b", shim_pid=SHIM, shim_ticks=44, trainer_pid=TRAINER, trainer_ticks=55
        )
        files.replace(self.launch.run_dir / "attempt.json", msgspec.json.encode(record), durable=False)
        return self

    def ensure(self, at: float):
        self.now = at
        return self.supervisor.ensure(self.launch, spawn=False)

    def stop(self, grace_s: float) -> None:
        self.supervisor.stop(self.launch, grace_s)


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return Stage(tmp_path, monkeypatch)


def test_a_trainer_is_learned_from_its_shim_s_record(stage):
    assert stage.ensure(1000.0) == Running(trainer_pid=None, adopted=True)
    assert stage.knows().ensure(1000.0) == Running(trainer_pid=TRAINER, adopted=True)
    assert stage.supervisor.processes()["Pong"].trainer_pid == TRAINER


@pytest.mark.parametrize(("at", "is_looked_for"), [(1002.0, False), (1002.1, True)])
def test_without_a_record_a_trainer_is_looked_for_after_two_seconds(stage, at, is_looked_for):
    stage.marks = {TRAINER: "host:Pong:1", 600: "host:Pong:1", 700: "host:Qbert:1"}
    stage.keeper.child = types.SimpleNamespace(poll=lambda: None)
    found = stage.ensure(at)
    assert found == Running(trainer_pid=TRAINER if is_looked_for else None, adopted=False)


def test_it_is_looked_for_at_once_when_it_is_to_stop(stage):
    stage.marks = {TRAINER: "host:Pong:1"}
    stage.keeper.child = types.SimpleNamespace(poll=lambda: None)
    stage.stop(60)
    assert stage.ensure(1000.0).trainer_pid == TRAINER


def test_a_stop_is_one_sigterm_to_the_trainer_and_wakes_both(stage):
    stage.knows().ensure(1000.0)
    stage.stop(60)
    stage.stop(60)
    assert stage.sent == [(TRAINER, (signal.SIGTERM, signal.SIGCONT)), (SHIM, (signal.SIGCONT,))]
    record = read(stage.launch.run_dir / "stop.json", StopRecord)
    assert (record.attempt_id, record.kill_at) == ("host:Pong:1", 1060.0)


def test_a_stop_of_one_that_has_just_ended_leaves_no_record(stage):
    stage.knows().ensure(1000.0)
    del stage.ticks[TRAINER]
    stage.stop(60)
    assert not (stage.launch.run_dir / "stop.json").exists()
    assert not stage.keeper.term_sent


def test_patience_ends_at_its_moment_and_everything_but_the_shim_is_killed(stage):
    stage.marks = {TRAINER: "host:Pong:1", 600: "host:Pong:1", 700: "host:Pong:2", 800: "host:Qbert:1"}
    stage.knows().ensure(1000.0)
    stage.stop(60)
    stage.sent.clear()
    stage.ensure(1059.9)
    assert (stage.killed, stage.sent) == ([], [])
    stage.ensure(1060.0)
    assert (sorted(stage.killed), stage.sent) == ([TRAINER, 600], [(SHIM, (signal.SIGCONT,))])


def test_a_shim_that_does_not_record_the_end_is_killed_ten_seconds_later(stage):
    stage.knows().ensure(1000.0)
    stage.stop(60)
    stage.ensure(1060.0)
    stage.killed.clear()
    del stage.ticks[TRAINER]
    stage.members = [SHIM]
    stage.ensure(1069.9)
    assert stage.killed == []
    stage.ensure(1070.0)
    assert stage.killed == [SHIM]


@pytest.mark.parametrize(("first_s", "second_s", "kill_at"), [(60, 30, 1030.0), (30, 60, 1030.0), (0, 60, 1000.0)])
def test_the_shorter_patience_wins(stage, first_s, second_s, kill_at):
    stage.stop(first_s)
    stage.stop(second_s)
    assert stage.keeper.kill_at == kill_at


def test_a_stop_of_another_attempt_is_none(stage):
    stage.knows().ensure(1000.0)
    for attempt in (0, 2):
        stage.supervisor.stop(msgspec.structs.replace(stage.launch, attempt=attempt), 0)
    assert (stage.keeper.kill_at, stage.sent) == (None, [])


def test_an_end_that_the_disk_refuses_is_told_from_memory_for_its_own_attempt_only(stage):
    stage.knows().ensure(1000.0)
    del stage.ticks[TRAINER]
    stage.memory = ExitRecord(attempt_id="host:Pong:2", code=3, signal=None)
    assert isinstance(stage.ensure(1001.0), Running)
    stage.memory = ExitRecord(attempt_id="host:Pong:1", code=3, signal=None)
    assert stage.ensure(1001.0) == Exited(record=stage.memory)
    assert stage.supervisor.processes() == {}


def test_a_trainer_that_ended_is_expected_to_be_told_of_for_two_seconds(stage):
    stage.knows().ensure(1000.0)
    assert stage.supervisor.is_ending is False
    del stage.ticks[TRAINER]
    stage.ensure(1001.0)
    for at, ending in ((1001.0, True), (1002.9, True), (1003.0, False)):
        stage.now = at
        assert stage.supervisor.is_ending is ending
    stage.ensure(1002.0)  # seen again: its end was at 1001 all the same
    stage.now = 1003.0
    assert stage.supervisor.is_ending is False


def test_a_shim_of_another_start_is_not_alive(stage):
    stage.ticks[SHIM] = 45
    assert stage.keeper.alive is False
    assert stage.supervisor.processes() == {}


def test_attempts_are_known_by_their_records_of_this_host_and_game_only(stage, tmp_path):
    def put(game: str, attempt_id: str) -> None:
        (tmp_path / game).mkdir()
        record = {"attempt_id": attempt_id, "boot": "b", "shim_pid": 1, "shim_ticks": 1, "trainer_pid": 1}
        (tmp_path / game / "attempt.json").write_bytes(msgspec.json.encode({**record, "trainer_ticks": 1}))

    for game, attempt_id in (
        ("A", "host:A:7"),
        ("B", "host:A:8"),
        ("C", "other:C:9"),
        ("D", "host:D:x"),
        ("E", "host:E:"),
        ("F", "host:F:0"),
    ):
        put(game, attempt_id)
    (tmp_path / "G").mkdir()
    (tmp_path / "G" / "attempt.json").write_text("{")
    assert stage.supervisor.used_attempts(tmp_path) == {"A": 7, "F": 0}


def test_only_trainers_of_this_host_are_alive_and_only_those_of_unknown_games_are_strangers(stage):
    stage.marks = {1: "other:Pong:1"}
    assert stage.supervisor.any_alive() is False
    stage.marks |= {2: "host:Pong:1", 3: "host:Gone:4", 4: "hostile:Gone:1", 5: "host:Pon:1"}
    assert stage.supervisor.any_alive() is True
    stage.supervisor.kill_strangers(["Pong"])
    assert stage.killed == [3, 5]


def test_sizes_of_logs_are_in_bytes():
    supervisor = Supervisor("host", 1.5, 3)
    assert (supervisor._log_bytes_max, supervisor._log_keep) == (1_572_864, 3)


def test_signals_go_only_to_the_process_that_is_meant():
    child = subprocess.Popen(["sleep", "600"])
    try:
        ticks = procfs.start_ticks(child.pid)
        before = os.listdir("/proc/self/fd")  # noqa: PTH208  # the kernel's view
        assert signals.send(child.pid, ticks + 1, signal.SIGKILL) is False
        assert child.poll() is None
        assert signals.send(child.pid, ticks, signal.SIGTERM) is True
        assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
        assert child.wait(60) == -signal.SIGTERM
        assert signals.send(child.pid, ticks, signal.SIGTERM) is False
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("refusal", [OSError(38, "Function not implemented"), ProcessLookupError()])
def test_a_kernel_without_process_descriptors_is_served_by_pid(monkeypatch, refusal):
    def refuse(_pid: int) -> int:
        raise refusal

    monkeypatch.setattr(os, "pidfd_open", refuse)
    child = subprocess.Popen(["sleep", "600"])
    try:
        assert signals.send(child.pid, procfs.start_ticks(child.pid), signal.SIGTERM, signal.SIGCONT) is True
        assert child.wait(60) == -signal.SIGTERM
        keeper = Keeper(1, child.pid, 1)
        assert keeper.filenos() == []
        keeper.close()
    finally:
        child.kill()
        child.wait()


def test_what_may_not_be_signalled_is_not_there(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    ticks = procfs.start_ticks(os.getpid())
    assert signals.send(os.getpid(), ticks, signal.SIGCONT) is False
    signals.kill(os.getpid())


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """Return a function that shows a process to the supervisor."""
    monkeypatch.setattr(procfs, "PROC", tmp_path)

    def show(pid: int, state: str = "S", *, parent: int = 1, session: int = 9, start: int = 77, environ: bytes = b""):
        fields = [state, str(parent), "0", str(session), *["0"] * 15, str(start), "4096", *["0"] * 27, "140000", "0"]
        (tmp_path / str(pid)).mkdir(exist_ok=True)
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) {' '.join(fields)}\n")
        (tmp_path / str(pid) / "environ").write_bytes(environ)

    return show


def test_a_process_is_known_by_its_start_its_parent_and_its_session(proc):
    proc(5, start=123, parent=3, session=4)
    assert (procfs.start_ticks(5), procfs.parent(5), procfs.session(5)) == (123, 3, 4)
    assert (procfs.start_ticks(6), procfs.parent(6), procfs.session(6)) == (None, None, None)


@pytest.mark.parametrize("state", ["Z", "X"])
def test_what_has_ended_has_no_start_and_is_no_member_but_had_a_parent(proc, state):
    proc(5, state, environ=b"MARK=x\0")
    assert (procfs.start_ticks(5), procfs.parent(5), procfs.members(9, 0)) == (None, 1, [])
    assert procfs.marked("MARK") == {}


def test_members_of_a_session_are_those_since_its_begin(proc):
    for pid, start in ((5, 99), (6, 100), (7, 101)):
        proc(pid, start=start)
    proc(8, start=200, session=10)
    assert sorted(procfs.members(9, 100)) == [6, 7]


def test_marks_are_whole_variables(proc):
    proc(5, environ=b"A=1\0MARK=x=y\0MARKED=z\0")
    proc(6, environ=b"XMARK=x\0")
    proc(7, environ=b"MARK=caf\xe9\0")
    assert (procfs.mark(5, "MARK"), procfs.mark(6, "MARK"), procfs.mark(7, "MARK")) == ("x=y", None, "caf\ufffd")
    assert procfs.marked("MARK") == {5: "x=y", 7: "caf\ufffd"}


@pytest.mark.parametrize(
    ("state", "memory", "environment_end", "waited"),
    [
        ("S", 4096, 0, 100),
        ("S", 4096, 140_000, 0),
        ("S", 0, 0, 0),
        ("S", 0, 140_000, 0),
        ("Z", 4096, 0, 0),
        ("X", 4096, 0, 0),
        ("S", 4096, None, 0),
    ],
)
def test_who_has_memory_but_no_environment_yet_is_waited_for(
    proc, tmp_path, monkeypatch, state, memory, environment_end, waited
):
    slept: list[float] = []
    monkeypatch.setattr(procfs.time, "sleep", slept.append)
    proc(5)
    end = "" if environment_end is None else f" {environment_end}"
    fields = [state, "1", "0", "9", *["0"] * 15, "77", str(memory), *["0"] * 27]
    (tmp_path / "5" / "stat").write_text(f"5 (a) {' '.join(fields)}{end}\n")
    assert procfs.mark(5, "MARK") is None
    assert slept == [0.001] * waited


def test_an_environment_that_comes_while_it_is_waited_for_is_seen(proc, tmp_path, monkeypatch):
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            proc(5, environ=b"MARK=x\0")

    proc(5)
    text = (tmp_path / "5" / "stat").read_text()
    (tmp_path / "5" / "stat").write_text(text.replace("140000", "0"))
    monkeypatch.setattr(procfs.time, "sleep", sleep)
    assert (procfs.mark(5, "MARK"), len(slept)) == ("x", 3)


def test_a_process_that_ends_while_it_is_looked_at_is_gone(proc, monkeypatch):
    def refuse(*_):
        raise ProcessLookupError

    proc(5)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # the kernel's view
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", refuse)
        assert procfs.start_ticks(5) is None
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_an_empty_stat_is_no_process(proc, tmp_path):
    proc(5)
    (tmp_path / "5" / "stat").write_text("")
    assert procfs.start_ticks(5) is None


def test_a_boot_without_an_identity_is_unknown(proc, tmp_path):
    assert procfs.boot_identity() == "unknown/0"
    proc(1, start=42)
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("abc\n")
    assert procfs.boot_identity() == "abc/42"
    (tmp_path / "sys/kernel/random/boot_id").write_bytes(b"\xff")
    assert procfs.boot_identity() == "unknown/42"


def test_a_record_in_memory_is_found_among_a_process_s_descriptors_by_its_name():
    record = ExitRecord(attempt_id="host:Pong:1", code=3, signal=None)
    assert read_from_memory(os.getpid()) is None
    for name in ("rlfleet-exit-not", "rlfleet-exit"):
        descriptor = os.memfd_create(name)
        try:
            os.write(descriptor, msgspec.json.encode(record))
            assert read_from_memory(os.getpid()) == (record if name == "rlfleet-exit" else None)
        finally:
            os.close(descriptor)
    assert read_from_memory(2**22 + 1) is None
