"""The command, and that the documentation tells what the tests go by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from faults.catalogue import FAULTS, table

FOLDER = Path(__file__).parent


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, FOLDER, *arguments], capture_output=True, text=True, check=False)


def test_the_documented_table_is_the_catalogue():
    assert table() in (FOLDER / "README.md").read_text()


def test_list_has_every_fault():
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [fault.name for fault in FAULTS]


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (["inject", "gil-hng", "--home", "/"], 2, "gil-hng: no fault that can be injected (did you mean gil-hang?)"),
        (
            ["inject", "gil-hang", "--home", "/no/such"],
            2,
            "--home /no/such: no such folder; it is the agent's state_dir",
        ),
        (["inject", "agent-sigkill", "--home", "/"], 1, "/: no agent runs; start it with: rlagent run --detach"),
        (["inject", "trainer-sigkill", "--home", "/"], 1, "/: no trainer runs; start the agent first"),
        (["inject", "disk-full", "--home", "/proc"], 1, "/proc"),
        (["inject"], 2, "the following arguments are required: name"),
    ],
)
def test_what_can_not_be_done_is_one_clear_error(arguments, code, fault):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_a_trainer_without_the_hook_is_left_alone_and_the_way_is_said(make_host):
    host = make_host(trainer={"env": {}}).start()
    pids = host.wait_running(2)
    done = run("inject", "exception", "--home", str(host.paths.state_dir), "--game", "Pong")
    assert done.returncode == 1
    assert "Pong: its trainer has no hook for this fault; put PYTHONPATH = " in done.stderr
    assert host.wait_running(2) == pids


def test_the_command_breaks_a_running_host_and_says_what_to_expect(make_host):
    host = make_host().start()
    host.wait_running(2)
    done = run("inject", "trainer-sigsegv", "--home", str(host.paths.state_dir), "--game", "Pong")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "injected trainer-sigsegv: SIGSEGV\nexpect: the trainer restarts from its newest checkpoint\n"
    host.wait_for(lambda: host.status()["incidents_last_hour"] == 1, "the incident")
    assert host.status()["incidents"][0]["what"] == "trainer Pong SIGSEGV"
