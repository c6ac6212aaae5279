"""The shim's moments, in this process: what it judges at a limit, what it lets go of, how often it tries again."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import types

import pytest

from rlagent import shim


@pytest.fixture
def log(tmp_path):
    return shim.Log(str(tmp_path / "log"), 100_000_000, 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), 127),
        *[
            (OSError(number, "x"), 126)
            for number in (
                errno.EACCES,
                errno.EPERM,
                errno.ENOEXEC,
                errno.EISDIR,
                errno.ENOTDIR,
                errno.ELOOP,
                errno.E2BIG,
            )
        ],
        (ValueError("embedded null byte"), 126),
        (OSError("without a number"), 126),
        *[(OSError(number, "x"), 125) for number in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.EIO)],
    ],
    ids=str,
)
def test_a_wrong_command_is_told_from_a_moment_s_shortage(log, error, code):
    ended = shim.not_run("rltrain", error, log)
    reason = f"can't run rltrain: {getattr(error, 'strerror', None) or error}"
    assert ended == {"code": code, "signal": None, "error": reason}
    assert log.fd is not None
    assert os.pread(log.fd, 200, 0).decode() == f"{reason}\n"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Return a function that lets a shim live and returns its exit record."""

    def live(terminated: list[float], now: float, keep) -> dict:
        def catch(into: list[float]) -> int:
            into.extend(terminated)
            return 0

        lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
        os.set_inheritable(lock, True)
        spec = {"attempt_id": "h:Pong:1", "log_path": str(tmp_path / "log"), "log_bytes_max": 1000, "log_files_kept": 1}
        (tmp_path / "spec").write_text(json.dumps({**spec, "run_dir": str(tmp_path)}))
        monkeypatch.setattr(shim, "catch_signals", catch)
        monkeypatch.setattr(shim, "give_up_protection", lambda: None)
        monkeypatch.setattr(shim, "kill_session", lambda: None)
        monkeypatch.setattr(shim, "keep", keep)
        monkeypatch.setattr(shim, "time", types.SimpleNamespace(monotonic=lambda: now, time=lambda: 5000.0))
        try:
            shim.main(str(tmp_path / "spec"), lock)
            assert os.get_inheritable(lock) is False
        finally:
            os.close(lock)
        return json.loads((tmp_path / "exit.json").read_text())

    return live


@pytest.mark.parametrize(
    ("terminated", "now", "seen"),
    [([], 1000.0, False), ([700.1], 1000.0, True), ([700.0], 1000.0, False), ([1.0, 999.0], 1000.0, True)],
)
def test_a_sigterm_less_than_five_minutes_ago_is_told(kept, terminated, now, seen):
    ended = kept(terminated, now, lambda *_: {"code": 0, "signal": None})
    assert ended == {
        "attempt_id": "h:Pong:1",
        "sigterm_seen": seen,
        "error": None,
        "code": 0,
        "signal": None,
        "ended_at": 5000.0,
    }


def test_a_fault_of_the_keeper_is_told_and_its_session_killed(kept, monkeypatch):
    def fail(*_):
        raise RuntimeError("oops")

    ended = kept([], 0.0, fail)
    assert (ended["code"], ended["error"]) == (125, "the keeper failed: RuntimeError('oops')")


def test_half_a_line_is_ended_at_the_end(kept, tmp_path):
    def keep(_spec, log, _wakeup):
        log.write(b"half a line")
        return {"code": 0, "signal": None}

    kept([], 0.0, keep)
    assert (tmp_path / "log").read_bytes() == b"half a line\n"


def test_an_end_is_recorded_as_soon_as_the_disk_takes_it_and_told_in_memory_once(tmp_path, monkeypatch):
    refusals, slept, told = [1, 1, 1], [], []

    def replace(path, record, *, durable):
        if refusals:
            raise OSError(errno.ENOSPC, f"full{refusals.pop()}")
        told.append((path, record["code"], durable))

    monkeypatch.setattr(shim, "replace", replace)
    monkeypatch.setattr(shim, "tell_in_memory", lambda record: told.append(record["code"]) or True)
    monkeypatch.setattr(shim.time, "sleep", slept.append)
    shim.finish(str(tmp_path), {"code": 3})
    assert told == [3, (f"{tmp_path}/exit.json", 3, True)]
    assert slept == [1.0] * 3


def test_a_memory_that_refuses_is_asked_again(tmp_path, monkeypatch):
    asked, refusals = [], [1, 1, 1]

    def replace(*_, **__):
        if refusals:
            raise OSError(refusals.pop())

    monkeypatch.setattr(shim, "replace", replace)
    monkeypatch.setattr(shim, "tell_in_memory", lambda _record: bool(asked.append(1)) or len(asked) > 1)
    monkeypatch.setattr(shim.time, "sleep", lambda _s: None)
    shim.finish(str(tmp_path), {})
    assert len(asked) == 2


def test_a_kernel_without_files_in_memory_is_no_fault(monkeypatch):
    def refuse(_name):
        raise OSError(errno.ENOSYS, "x")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert shim.tell_in_memory({"code": 1}) is False


def test_what_is_left_in_the_pipe_is_read_but_not_for_ever(monkeypatch):
    written = []
    log = types.SimpleNamespace(write=written.append)
    reader, writer = os.pipe()
    try:
        os.write(writer, b"last words")
        shim.drain(reader, log)
        assert written == [b"last words"]
        assert os.get_blocking(reader) is False
        with monkeypatch.context() as patch:
            patch.setattr(os, "read", lambda *_: b"flood")
            shim.drain(reader, log)
        assert len(written) == 1 + 32
        os.close(os.dup(writer))
    finally:
        os.close(writer)
    try:
        shim.drain(reader, log)
        assert len(written) == 33
    finally:
        os.close(reader)


def test_a_session_is_killed_until_nobody_is_left_but_not_for_ever(monkeypatch):
    rounds, killed, slept = [[5, 6], [7], []], [], []
    monkeypatch.setattr(shim, "session_members", lambda: rounds.pop(0))
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    monkeypatch.setattr(shim.time, "sleep", slept.append)
    shim.kill_session()
    assert killed == [(5, signal.SIGKILL), (6, signal.SIGKILL), (7, signal.SIGKILL)]
    assert slept == [0.01] * 2
    monkeypatch.setattr(shim, "session_members", lambda: [8])
    shim.kill_session()
    assert killed.count((8, signal.SIGKILL)) == 20


@pytest.mark.parametrize("refusal", [ProcessLookupError, PermissionError])
def test_who_can_not_be_killed_does_not_keep_the_others_alive(monkeypatch, refusal):
    rounds, killed = [[5, 6], []], []

    def kill(pid, _number):
        if pid == 5:
            raise refusal
        killed.append(pid)

    monkeypatch.setattr(shim, "session_members", lambda: rounds.pop(0))
    monkeypatch.setattr(os, "kill", kill)
    shim.kill_session()
    assert killed == [6]


def test_members_of_a_session_are_the_living_ones_without_its_leader(monkeypatch):
    fields = {3: (b"S", 3), 4: (b"R", 3), 5: (b"Z", 3), 6: (b"X", 3), 7: (b"S", 9), 8: None}

    def stat_fields(pid: int) -> list[bytes]:
        if fields[pid] is None:
            raise FileNotFoundError
        state, session = fields[pid]
        return [state, b"1", b"2", str(session).encode()]

    monkeypatch.setattr(shim, "stat_fields", stat_fields)
    monkeypatch.setattr(os, "listdir", lambda _folder: ["self", *map(str, fields)])
    monkeypatch.setattr(os, "getpid", lambda: 3)
    assert shim.session_members() == [4]


def test_signals_that_end_a_session_are_outlived_and_a_child_s_wakes(tmp_path):
    """In a process of its own: signal handlers belong to all of it."""
    code = """
import os, select, signal, sys
sys.path.insert(0, sys.argv[1])
import shim
terminated = []
reader = shim.catch_signals(terminated)
print([signal.getsignal(n) is signal.SIG_IGN for n in
       (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)])
print(os.get_inheritable(reader), os.get_blocking(reader), bool(select.select([reader], [], [], 0)[0]))
os.kill(os.getpid(), signal.SIGCHLD)
print(bool(select.select([reader], [], [], 60)[0]), os.read(reader, 10), len(terminated))
os.kill(os.getpid(), signal.SIGTERM)
print(len(terminated), terminated[0] <= shim.time.monotonic())
for _ in range(66_000):
    signal.raise_signal(signal.SIGCHLD)
print("not blocked by a full pipe")
"""
    folder = os.path.dirname(shim.__file__)  # noqa: PTH120
    done = subprocess.run(
        ["python3", "-I", "-S", "-c", code, folder], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[True, True, True, True, True]",
        "False False False",
        "True b'\\x11' 0",
        "1 True",
        "not blocked by a full pipe",
    ]


def test_a_file_is_replaced_though_half_of_one_was_left(tmp_path):
    (tmp_path / "x.tmp").write_text("half of a longer one than the next")
    shim.replace(str(tmp_path / "x"), {"a": 1}, durable=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"x": '{"a": 1}'}
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # the kernel's view
    shim.replace(str(tmp_path / "x"), {"a": 2}, durable=True)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


@pytest.mark.parametrize("score", ["-1", "-1000"])
def test_protection_from_the_memory_killer_is_given_up_from_the_first_point_on(tmp_path, monkeypatch, score):
    (tmp_path / "oom").write_text(score)
    monkeypatch.setattr(shim, "OOM_SCORE_ADJ", str(tmp_path / "oom"))
    shim.give_up_protection()
    assert (tmp_path / "oom").read_text() == "0"


def test_without_the_kernel_s_word_nothing_is_given_up(tmp_path, monkeypatch):
    for place in (tmp_path / "missing", tmp_path):
        monkeypatch.setattr(shim, "OOM_SCORE_ADJ", str(place))
        shim.give_up_protection()
