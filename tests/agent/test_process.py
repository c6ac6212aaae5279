"""The agent as a process: nobody else may read its files, whatever umask it was started with; its lock and its log."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rlagent import process
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
