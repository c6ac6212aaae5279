"""The command line itself: help, version, usage errors, where global options may stand."""

import os
import subprocess
import sys

import pytest

from ctl_runs import Agent, command, environment, inventory, rlctl

HEAVY = ("ansible", "fabric", "paramiko", "rich", "msgspec", "invoke", "cryptography")


def test_help_names_every_verb_and_the_exit_codes():
    done = rlctl("--help", COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    verbs = ["status", "watch", "logs", "history", "explain", "replay", "simulate", "rollback", "hold", "release"]
    verbs += ["scale", "stop", "start", "reboot", "doctor", "accept"]
    assert [line.split()[0] for line in done.stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()] == verbs
    assert "0 healthy or done; 1 error; 2 wrong usage or inventory; 3 degraded" in " ".join(done.stdout.split())
    assert rlctl(COLUMNS="100").stdout == done.stdout


def test_help_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "rlctl", "--help"], capture_output=True, text=True, check=True
    )
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert loaded.intersection(HEAVY) == set()


def test_status_of_a_local_host_does_not_load_fabric(tmp_path):
    agent = Agent(tmp_path / "root")
    _python, *words = command("-i", inventory(tmp_path, {"a": agent.local()}), "status")
    timed = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(timed, env=environment(), capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert loaded.intersection({"fabric", "paramiko"}) == set()


def test_the_version():
    done = rlctl("--version")
    assert (done.returncode, done.stdout) == (0, "rlctl 0.1.0\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["statsu"], "No such command 'statsu'. Did you mean 'status', 'start'?; see: rlctl --help"),
        (["status", "--inventroy", "x"], "No such option: --inventroy"),
        (["hold"], "Missing argument 'MODE'; see: rlctl hold --help"),
        (["status", "-o", "yaml"], "Invalid value for '--output' / '-o': 'yaml' is not one of 'table', 'json'"),
        (["--timeout", "soon", "status"], "Invalid value for '--timeout': 'soon' is not a valid float"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words, message):
    done = rlctl(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"rlctl: {message}")


def test_global_options_stand_before_or_after_the_verb(tmp_path):
    source = inventory(tmp_path, {"a": Agent(tmp_path / "root").local()})
    before = rlctl("-i", source, "--timeout", "80", "explain")
    after = rlctl("explain", "-i", source, "--timeout", "80")
    assert (before.returncode, before.stdout) == (after.returncode, after.stdout) == (0, "next    nothing\n")


def test_the_inventory_of_the_environment_and_what_it_looks_up_there(tmp_path):
    agent = Agent(tmp_path / "root")
    source = inventory(tmp_path, {"a": agent.local(rlfleet_root="{{ lookup('ansible.builtin.env', 'AGENT_ROOT') }}")})
    asked = {"RLFLEET_INVENTORY": str(source), "AGENT_ROOT": str(agent.root)}
    assert rlctl("--timeout", "60", "explain", cwd=tmp_path, **asked).returncode == 0


def test_no_inventory_is_one_clear_error(tmp_path):
    done = rlctl("status", cwd=tmp_path, HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rlctl: inventory inventory/fleet: not found here or above")


def test_an_unknown_host_is_one_clear_error(tmp_path):
    source = inventory(tmp_path, {"tnr-0": {}})
    done = rlctl("-i", source, "status", "trn-0")
    assert (done.returncode, done.stdout) == (2, "")
    message = f"rlctl: no host or group matches 'trn-0' in inventory {source}; did you mean tnr-0?\n"
    assert done.stderr == message


@pytest.mark.parametrize("timeout", ["0", "-1", "1e9", "nan"])
def test_an_impossible_timeout_is_told(tmp_path, timeout):
    done = rlctl("-i", tmp_path, "status", "--timeout", timeout)
    assert done.returncode == 2
    assert "out of range; give seconds, more than 0 and at most 3600" in done.stderr


def test_a_reader_that_leaves_is_no_reason_to_complain(tmp_path):
    agent = Agent(tmp_path / "root")
    agent.log("Pong", "x" * 100 + "\n")
    agent.log("Pong", "line\n" * 100_000)
    words = command("-i", inventory(tmp_path, {"a": agent.local()}), "logs", "a", "Pong", "-n", "100001")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 10)
        process.stdout.close()
        assert process.wait(120) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""
