"""`rlctl reboot` and `rlctl doctor` on real hosts: a VM reboots itself, a container is restarted by its operator."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent_host import TRAINERS
from lab import agents
from lab.spec import Spec

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

VM, CONTAINER = "tnr-0", "tnr-1"
LEARNS_S = 180


@pytest.fixture(scope="module")
def lab(make_lab, controller_python):
    binds = {**controller_python.binds, agents.AGENT: str(agents.AGENT), TRAINERS: str(TRAINERS)}
    lab = make_lab(Spec("vm", binds=binds), Spec("container", binds=binds))
    agents.start(lab.hosts.values(), controller_python)
    for host in lab.hosts.values():
        config = host.root / agents.ROOT.strip("/") / "etc" / "config.toml"
        trainer = f'"{controller_python.python}", "{TRAINERS}/foreign_trainer.py"'
        config.write_text(config.read_text().replace('"sleep", "infinity"', trainer))
        # Nothing starts the agent at boot, but each contact does.
        program = host.root / agents.ROOT.strip("/") / "bin" / "rlagent"
        program.write_text(program.read_text().replace("exec ", "RLFLEET_SERVICE=detached exec "))
        host.ssh(f"{agents.ROOT}/bin/rlagent shutdown && {agents.ROOT}/bin/rlagent run --detach")
    started = rlctl(lab, "start", "--yes")
    assert started.returncode == 0, started.stderr
    return lab


def rlctl(lab, *words, timeout=400):
    return lab.run("rlctl", "-i", lab.inventory, "--timeout", "60", *words, check=False, timeout=timeout)


def status(lab, name):
    (host,) = json.loads(rlctl(lab, "status", name, "-o", "json").stdout)["hosts"]
    return host


def steps(lab, name):
    """Wait until every trainer learns; returns their steps."""
    deadline = time.monotonic() + LEARNS_S
    while True:
        trainers = status(lab, name)["trainers"]
        if trainers and all(trainer["sps"] is not None for trainer in trainers):
            return {trainer["game"]: trainer["global_step"] for trainer in trainers}
        assert time.monotonic() < deadline, trainers
        time.sleep(0.5)


def test_a_vm_is_drained_rebooted_and_found_again_and_nothing_is_counted(lab):
    before, boot = steps(lab, VM), status(lab, VM)["boot"]
    done = rlctl(lab, "reboot", VM, "--yes", "--why", "kernel")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{VM}: rebooted, not counted as an incident: mode light, Pong RUNNING")
    assert "no trainer runs any more: each has written its checkpoint" in done.stderr
    assert f"{VM}: the agent was dead: started in the background" in done.stderr
    after = status(lab, VM)
    assert (after["boot"] != boot, after["incidents"], after["reboots_last_hour"]) == (True, [], 1)
    assert steps(lab, VM)["Pong"] >= before["Pong"]
    said = rlctl(lab, "history", VM).stdout
    assert "reboot announced by " in said
    assert "(kernel), not counted within 30 min" in said


def test_a_container_is_not_rebooted_but_its_operators_restart_is_waited_for(lab):
    before = steps(lab, CONTAINER)
    refused = rlctl(lab, "reboot", CONTAINER, "--yes")
    assert refused.returncode == 6
    assert "no systemd runs here" in refused.stderr
    assert "rlctl reboot --by-hand" in refused.stderr
    program = Path(sys.executable).with_name("rlctl")
    words = lab.words(program, "-i", lab.inventory, "--timeout", "60", "reboot", CONTAINER, "--by-hand", "--yes")
    env = {**os.environ, **lab.own_folders}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as job:
        for line in job.stderr:
            if "restart it now" in line:
                break
        lab.hosts[CONTAINER].reboot()
        out, errors = job.communicate(timeout=400)
    assert (job.returncode, "not counted as an incident" in out) == (0, True), errors
    assert status(lab, CONTAINER)["incidents"] == []
    assert steps(lab, CONTAINER)["Pong"] >= before["Pong"]


def test_doctor_finds_that_nothing_starts_the_agent_and_that_the_rest_is_well(lab):
    done = rlctl(lab, "doctor", "-o", "json")
    assert done.returncode == 3, done.stderr
    for host in json.loads(done.stdout)["hosts"]:
        verdicts = {check["name"]: check["verdict"] for check in host["checks"]}
        assert verdicts["boot hook"] == "warning"
        kept = ("connection", "python", "config", "agent", "files", "clock")
        assert {name: verdicts[name] for name in kept} == dict.fromkeys(kept, "good")
