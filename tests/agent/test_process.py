"""The agent as a process: nobody else may read its files, whatever umask it was started with; its lock and its log."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import pytest

from rlagent import process
from rlagent.config import Config
from rlagent.paths import Paths
from rlagent.process import AlreadyRunningError
from rlagent.protocol import messages

MADE = {
    "agent.lock",
    "agent.sock",
    "host_uuid",
    "journal.sqlite3",
    "journal.sqlite3-shm",
    "journal.sqlite3-wal",
    "logs/Pong.log",
    "logs/agent.log",
    "runs/Pong/attempt.json",
    "runs/Pong/exit.json",
    "runs/Pong/launch.json",
    "runs/Pong/lock",
    "runs/Pong/stop.json",
    "state.toml",
    "status.json",
}
"""What an agent with one trainer that was stopped has made, and its keeper."""


def modes(folder: Path) -> dict[str, str]:
    """Return kind and mode of everything in a folder, as ls shows them."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # a file that is just being replaced
            found[str(path.relative_to(folder))] = stat.filemode(path.lstat().st_mode)
    return found


@pytest.fixture
def umask():
    """Set this process's umask for a test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("caller", [0o022, 0o000], ids=["umask 022", "umask 000"])
@pytest.mark.parametrize("way", ["run", "run --detach"])
def test_everything_that_it_makes_is_for_its_user_alone(make_host, umask, caller, way):
    """Also what its trainers make, who inherit its umask."""
    host = make_host(modes=[{"name": "light", "games": 1, "num_envs": 1, "batch_size": 4}])
    host.settings["games"] = [{"name": "Pong", "target_frames": 40_000_000}]
    command = host.settings["trainer"]["command"]
    host.settings["trainer"]["command"] = ["sh", "-c", 'echo begins; exec "$0" "$@"', *command]
    host.write_config(host.settings)
    host.paths.state_dir.mkdir(mode=0o755)
    umask(caller)
    if way == "run":
        host.start()
    else:
        command = [sys.executable, "-m", "rlagent", "--config", str(host.config), "run", "--detach"]
        subprocess.run(command, check=True, capture_output=True)
        (host.folder / "agent.err").touch()
    umask(0o022)
    host.wait_for(lambda: host.paths.progress_file("Pong").exists(), "a report")
    assert host.call(messages.Stop()).ok
    host.wait_stopped()
    host.wait_for(lambda: "STOPPING" not in host.paths.status_json.read_text(), "the status of the end")
    found = modes(host.paths.state_dir)
    wanted = MADE | ({"logs/startup.log"} if way == "run --detach" else set())
    assert wanted <= found.keys()
    assert [found[name] for name in (".", "logs", "runs", "runs/Pong")] == ["drwx------"] * 4
    assert found["agent.sock"] == "srw-------"
    assert [name for name, mode in found.items() if mode not in ("drwx------", "-rw-------", "srw-------")] == []
    assert {path.lstat().st_uid for path in host.paths.state_dir.rglob("*")} == {os.geteuid()}


def test_the_lock_is_for_its_user_alone_and_held_by_one(tmp_path, umask):
    umask(0)
    path = tmp_path / "agent.lock"
    with process._lock(path):
        assert modes(tmp_path)["agent.lock"] == "-rw-------"
        with pytest.raises(AlreadyRunningError), process._lock(path):
            pass
    with process._lock(path):
        pass
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # the kernel's view
    with process._lock(path), pytest.raises(AlreadyRunningError), process._lock(path):
        pass
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


class Caller:
    """Somebody who starts or ends an agent, with an agent, processes and a clock that a test makes up."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.now = 0.0
        self.paths = Paths(folder)
        self.answers_from = float("inf")
        self.spawned: list[float] = []
        self.codes: list[int | None] = []
        """How each agent that was started ended; the last one goes for all later ones."""
        self.says = b""
        self.asked: list[str] = []
        self.replies: dict[str, list[messages.Reply]] = {}
        clock = types.SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(process, "time", clock)
        monkeypatch.setattr(process, "_spawn", self.spawn)
        monkeypatch.setattr(process.client, "call", self.call)

    def sleep(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 6)

    def spawn(self, startup_log: Path, arguments: list[str]):
        startup_log.write_bytes(self.says)
        self.spawned.append(self.now)
        code = self.codes[min(len(self.spawned), len(self.codes)) - 1] if self.codes else None
        return types.SimpleNamespace(poll=lambda: code)

    def call(self, _path, line: bytes, timeout_s: float = 10.0) -> messages.Reply:
        request = messages.decode_request(line)
        self.asked.append(type(request).__name__)
        waiting = self.replies.get(type(request).__name__)
        if waiting:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return OK if self.now >= self.answers_from else failure("agent-not-running")

    def detach(self) -> int:
        return process.detach(self.paths, [])


OK = messages.Reply(ok=True)


def failure(code: str) -> messages.Reply:
    return messages.Reply(ok=False, error=messages.Error(code=code, message=f"the fault is {code}"))


def games(*states: str) -> messages.Reply:
    return messages.Reply(ok=True, result={"games": [{"game": "ABC"[n], "state": s} for n, s in enumerate(states)]})


@pytest.fixture
def caller(tmp_path, monkeypatch, umask):
    return Caller(tmp_path, monkeypatch)


def test_an_agent_that_answers_is_not_started_again(caller, capsys):
    caller.answers_from = 0.0
    assert (caller.detach(), caller.spawned) == (0, [])
    assert capsys.readouterr().out == "rlagent: already running\n"


def test_a_started_agent_is_waited_for(caller, capsys):
    caller.answers_from = 3.0
    assert (caller.detach(), caller.spawned, caller.now) == (0, [0.0], 3.0)
    assert capsys.readouterr().out == "rlagent: running\n"


@pytest.mark.parametrize(("said", "why"), [(b"  rlagent: no disk\n", "rlagent: no disk"), (b"caf\xe9", "caf\ufffd")])
def test_an_agent_that_ends_at_once_is_said_with_its_last_words(caller, capsys, said, why):
    caller.codes, caller.says = [1], said
    assert (caller.detach(), caller.now) == (1, 0.0)
    assert capsys.readouterr().err == f"rlagent: the agent did not come up: {why}\n"


def test_one_that_says_nothing_is_given_up_after_twenty_seconds(caller, capsys):
    assert (caller.detach(), caller.now, caller.spawned) == (1, 20.0, [0.0])
    assert capsys.readouterr().err.endswith(f"did not come up: see {caller.paths.agent_log}\n")


def test_one_that_finds_another_s_lock_is_started_again_each_second(caller):
    caller.codes, caller.answers_from = [75, 75, None], 5.0
    assert caller.detach() == 0
    assert caller.spawned == [0.0, 1.05, 2.1]


def test_an_exit_code_of_0_is_an_end_too(caller):
    caller.codes = [0]
    assert (caller.detach(), caller.now) == (1, 0.0)


def test_an_agent_that_does_not_run_need_not_be_ended(caller, capsys):
    assert process.shut_down(caller.paths, stop_trainers_within_s=None) == 0
    assert (capsys.readouterr().out, caller.asked) == ("rlagent: not running\n", ["Shutdown"])


def test_the_end_of_an_agent_is_the_end_of_its_lock(caller, capsys):
    caller.replies = {"Shutdown": [OK]}
    with process._lock(caller.paths.lock):
        assert (process.shut_down(caller.paths, stop_trainers_within_s=None), caller.now) == (1, 20.0)
    assert "it has not ended within 20 s" in capsys.readouterr().err
    assert process.shut_down(caller.paths, stop_trainers_within_s=None) == 0
    assert (capsys.readouterr().out, caller.now) == ("rlagent: ended\n", 20.0)


def test_trainers_are_stopped_first_and_waited_for_each_named_once(caller, capsys):
    some = games("STARTING", "RUNNING", "STOPPING"), games("FATAL", "STOPPING", "QUEUED"), games("QUEUED", "EXITED")
    caller.replies = {"Stop": [OK], "GetStatus": [some[0], some[0], *some[1:]], "Shutdown": [OK]}
    assert process.shut_down(caller.paths, stop_trainers_within_s=60.0) == 0
    assert capsys.readouterr().out == (
        "rlagent: waiting for A, B, C to checkpoint and stop\n"
        "rlagent: waiting for B to checkpoint and stop\n"
        "rlagent: ended\n"
    )
    assert caller.asked == ["Stop", *["GetStatus"] * 4, "Shutdown"]


def test_trainers_that_do_not_stop_keep_the_agent(caller, capsys):
    caller.replies = {"Stop": [OK], "GetStatus": [games("STOPPING")]}
    assert process.shut_down(caller.paths, stop_trainers_within_s=3.0) == 1
    assert f"A did not stop within 3 s; see {caller.paths.agent_log}" in capsys.readouterr().err
    assert (caller.now, "Shutdown" in caller.asked) == (3.05, False)


@pytest.mark.parametrize(
    ("replies", "code", "said"),
    [
        ({"Stop": [failure("agent-not-running")]}, 0, ""),
        ({"Stop": [failure("refused")]}, 1, "rlagent: the fault is refused\n"),
        ({"Stop": [OK], "GetStatus": [failure("timeout")]}, 1, "rlagent: the agent ended before its trainers did\n"),
    ],
)
def test_what_goes_wrong_with_a_stop_is_said(caller, capsys, replies, code, said):
    caller.replies = replies
    assert process.shut_down(caller.paths, stop_trainers_within_s=3.0) == code
    assert capsys.readouterr().err == said


def test_its_log_is_in_utc_rotated_at_8_mib_and_four_old_ones_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "agent.log"
    with monkeypatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])
        patch.setattr(logging.root, "level", logging.WARNING)
        patch.setattr(logging, "raiseExceptions", True)
        process._set_up_logging(path)
        logging.getLogger("rlagent.x").info("said")
        assert logging.raiseExceptions is False
        (rotating, stream) = logging.root.handlers
    assert (rotating.maxBytes, rotating.backupCount, type(stream)) == (8_388_608, 4, logging.StreamHandler)
    rotating.close()
    at, level, text = path.read_text().split()
    assert (level, text) == ("INFO", "said")
    said = dt.datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.timezone.utc)
    assert abs((dt.datetime.now(dt.timezone.utc) - said).total_seconds()) < 60


def test_an_agent_that_can_not_begin_says_why(tmp_path, umask, capsys, monkeypatch):
    monkeypatch.setattr(process, "_set_up_logging", lambda _path: None)
    monkeypatch.setattr(process.faulthandler, "enable", lambda: None)
    paths = Paths(tmp_path / "var")
    paths.journal.mkdir(parents=True)
    assert process.foreground(Config(), paths) == 1
    assert "journal.sqlite3: can't open" in capsys.readouterr().err
    with process._lock(paths.lock):
        assert process.foreground(Config(), paths) == 75
    assert capsys.readouterr().err == f"rlagent: an agent already runs with {paths.state_dir}; see: rlagent status\n"
    (tmp_path / "file").touch()
    assert process.foreground(Config(), Paths(tmp_path / "file")) == 1
