"""Files that are replaced as a whole, and which of them survive a power cut: what is synced, in which order.

That what is synced can be read back after a power cut is tested in tests/faults/crash.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent_world import a_world, readings
from policy_driver import Host, rules
from rlagent import files, recovery, shim
from rlagent.config import Config
from rlagent.daemon import Daemon
from rlagent.journal import Stamp
from rlagent.paths import Paths
from rlagent.publish import Publisher
from rlagent.statusview import build
from supervisor_runs import Trainers


@pytest.fixture
def done(monkeypatch):
    """Return a list that fills with what this process syncs and renames, by name."""
    calls: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, Path.replace

    def note_sync(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size > 0, "it is synced before it is written"
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def note_rename(old: str, new: str) -> None:
        calls.append(f"rename {Path(new).name}")
        rename(old, new)

    def note_replace(old: Path, new: Path) -> Path:
        calls.append(f"rename {new.name}")
        return replace(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    monkeypatch.setattr(Path, "replace", note_replace)
    return calls


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "var").mkdir()
    return tmp_path / "var"


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(folder):
    (folder / "x").write_bytes(b"a longer content than the next")
    with (folder / "x").open("rb") as reader:
        files.replace(folder / "x", b"new")
        assert reader.read() == b"a longer content than the next"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"x": b"new"}


def test_content_is_synced_before_its_name_and_its_folder_after(folder, done):
    files.replace(folder / "x", b"new")
    assert done == ["sync .x.tmp", "rename x", "sync var"]


def test_what_need_not_be_durable_costs_no_sync(folder, done):
    files.replace(folder / "x", b"new", durable=False)
    assert done == ["rename x"]


def test_a_copy_is_synced(folder, done):
    (folder / "x").write_bytes(b"content" * 100_000)
    files.copy(folder / "x", folder / "y")
    assert (folder / "y").read_bytes() == (folder / "x").read_bytes()
    assert done == ["sync y"]


def test_a_folder_is_let_go_of_though_it_can_not_be_synced(folder, monkeypatch):
    def refuse(_descriptor: int) -> None:
        raise OSError("refused")

    monkeypatch.setattr(os, "fsync", refuse)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # the kernel's view
    with pytest.raises(OSError, match="refused"):
        files.sync_directory(folder)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
    with pytest.raises(NotADirectoryError):
        files.sync_directory(Path("/proc/self/status"))


def test_the_state_for_people_is_durable_and_the_status_for_tools_is_not(folder, done):
    """Who lost the journal begins from state.toml; status.json is written anew every few seconds."""
    state = Host(rules()).up().state
    Publisher(Paths(folder)).publish(build(Config(), state, readings(state)), state, 7, 0.0)
    assert done == ["rename status.json", "sync .state.toml.tmp", "rename state.toml", "sync var"]


def test_a_host_s_identity_is_durable(folder, done):
    daemon = Daemon(Config(), Paths(folder), a_world())
    assert done == ["sync .host_uuid.tmp", "rename host_uuid", "sync var"]
    assert (folder / "host_uuid").read_text() == f"{daemon.host_uuid}\n"
    daemon._journal.close()
    done.clear()
    again = Daemon(Config(), Paths(folder), a_world())
    assert (done, again.host_uuid) == ([], daemon.host_uuid)
    again._journal.close()


def test_a_damaged_journal_is_kept_durably_before_anything_takes_its_place(folder, done):
    (folder / "journal").write_bytes(b"damaged")
    (folder / "journal-wal").write_bytes(b"its log")
    recovery.keep(folder / "journal")
    assert done == [
        "sync journal.damaged-1-wal",
        "sync .journal.damaged-1.tmp",
        "rename journal.damaged-1",
        "sync var",
    ]


def test_a_rebuilt_journal_takes_its_place_durably(folder, done):
    (folder / "journal").write_bytes(b"damaged")
    now = Stamp(t=0.0, wall=0.0, monotonic=0.0, boot="b")
    recovery.open_journal(folder / "journal", recovery.Known(now=now, rules=rules(), told=None, attempts={})).close()
    assert done[-2:] == ["rename journal", "sync var"]


def test_how_a_trainer_ended_is_durable(folder, done):
    shim.finish(str(folder), {"code": 0})
    assert done == ["sync exit.json.tmp", "rename exit.json", "sync var"]
    assert json.loads((folder / "exit.json").read_text())["code"] == 0


def test_who_runs_is_told_without_a_sync_for_which_the_trainer_would_wait(folder, done, monkeypatch):
    """Pids mean nothing after a power cut."""
    monkeypatch.setattr(shim, "kill_session", lambda: None)
    monkeypatch.setattr(shim, "copy_until_exit", lambda *_: None)
    spec = {"attempt_id": "h:Pong:1", "boot": "b", "command": ["true"], "env": {}, "run_dir": str(folder)}
    ended = shim.keep(spec, shim.Log(str(folder / "log"), 1000, 1), 0)
    assert (ended["code"], done) == (0, ["rename attempt.json"])


def test_a_launch_and_a_stop_cost_no_sync(tmp_path, done):
    trainers = Trainers(tmp_path)
    try:
        launch = trainers.launch()
        trainers.start(launch)
        trainers.supervisor.stop(launch, 60)
        assert done == ["rename launch.json", "rename stop.json"]
        assert trainers.end(launch).record.signal == 15
    finally:
        trainers.close()
