"""`rlctl reboot` against a real agent with real trainers in a PID namespace: restarting it is a container's restart."""

import contextlib
import os
import shutil
import sys
import threading
import time

import pytest

from agent_host import AgentHost
from ctl_runs import Terminal, inventory, rlctl

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a PID namespace"
)
CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
PATIENT = {"stop_timeout_s": 60.0, "hang_timeout_s": 60.0, "start_timeout_s": 120.0}
"""Here no trainer is meant to be killed or found hung, however slow this machine is."""
SYSTEMCTL = """#!/bin/sh
case "$1" in
  is-system-running) echo {state};;
  reboot) {reboot};;
esac
"""


class Machine:
    """A host that can be restarted, and what its `systemctl` does."""

    def __init__(self, folder) -> None:
        self.agent = AgentHost(folder, supervisor=PATIENT)
        self.asked = folder / "asked"
        self.bin = folder / "root" / "bin"
        self.bin.mkdir(parents=True)
        program = self.bin / "rlagent"
        program.write_text(
            f'#!/bin/sh\nPATH={self.bin}:$PATH exec {sys.executable} -m rlagent --config {self.agent.config} "$@"\n'
        )
        program.chmod(0o755)
        (folder / "inventory").mkdir()
        variables = {"ansible_connection": "local", "rlfleet_root": str(folder / "root")}
        self.inventory = inventory(folder / "inventory", {"tnr-0": variables})
        self.systemctl()
        self.agent.start(prefix=CONTAINER)
        self.agent.wait_running(2, timeout_s=120)

    def systemctl(self, state="running", reboot=None):
        command = f"touch {self.asked}" if reboot is None else reboot
        (self.bin / "systemctl").write_text(SYSTEMCTL.format(state=state, reboot=command))
        (self.bin / "systemctl").chmod(0o755)

    def restart(self):
        self.agent.kill_agent()
        self.agent.wait_for(lambda: self.agent.trainer_processes() == [], "the host to go down", 120, status=False)
        time.sleep(1)
        self.agent.start(prefix=CONTAINER)

    @contextlib.contextmanager
    def restarting_when_asked(self):
        over = threading.Event()

        def work():
            while not self.asked.exists():
                if over.wait(0.05):
                    return
            self.restart()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join(120)
        assert not thread.is_alive()

    def exits(self):
        return [entry["summary"] for entry in self.agent.history() if entry["kind"] == "trainer_exited"]

    def kinds(self):
        return [entry["kind"] for entry in self.agent.history()]


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.agent.close()


@pytest.mark.parametrize("session", ["ends", "is killed"])
def test_a_reboot_is_announced_drained_and_not_counted(machine, session):
    if session == "is killed":  # the host goes down before its answer is out
        machine.systemctl(reboot=f"touch {machine.asked}; kill -9 $PPID")
    with machine.restarting_when_asked():
        done = rlctl("-i", machine.inventory, "reboot", "tnr-0", "--yes", "--why", "kernel", "--wait", "3m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tnr-0: rebooted, not counted as an incident: mode light, MsPacman RUNNING")
    told = [line.removeprefix("tnr-0: ") for line in done.stderr.splitlines()]
    assert told[0].startswith("reboot announced by ")
    assert told[0].endswith("(kernel), not counted within 30 min")
    assert "no trainer runs any more: each has written its checkpoint" in told
    assert "rebooting" in told
    assert all("stopped" in said for said in machine.exits()[:2])
    status = machine.agent.status()
    assert (status["incidents"], status["reboots_last_hour"], status["stopped"]) == ([], 1, False)


def test_a_reboot_by_hand_waits_for_the_person(machine):
    machine.systemctl(state="offline")
    terminal = Terminal("-i", machine.inventory, "reboot", "tnr-0", "--by-hand", "--wait", "3m")
    terminal.read_until("Reboot on 1 host? [y/N] ")
    assert "tnr-0: reboot announced by" in terminal.output
    terminal.type("y\n")
    terminal.read_until("restart it now, in its provider's console")
    machine.restart()
    assert terminal.finish() == 0
    assert "tnr-0: rebooted, not counted as an incident" in terminal.output


def test_what_can_not_be_or_is_only_asked_about_changes_nothing(machine):
    before = machine.kinds()
    dry = rlctl("-i", machine.inventory, "reboot", "tnr-0", "--dry-run")
    assert (dry.returncode, dry.stdout.count("tnr-0: would: ")) == (0, 4)
    unasked = rlctl("-i", machine.inventory, "reboot", "tnr-0")
    assert (unasked.returncode, "add --yes" in unasked.stderr) == (2, True)
    machine.systemctl(state="offline")
    done = rlctl("-i", machine.inventory, "reboot", "tnr-0", "--yes")
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith("tnr-0: no systemd runs here, as in many containers")
    assert done.stderr.endswith("announced by: rlctl reboot --by-hand\n")
    assert machine.kinds() == before


def test_a_reboot_that_does_not_happen_is_withdrawn_and_trainers_start_again(machine):
    """The host refuses, nothing happens, and a person thinks better of it: on one machine, one after the other."""

    def is_as_before(times):
        machine.agent.wait_running(2, timeout_s=120)
        assert machine.kinds().count("reboot_withdrawn") == times
        assert machine.agent.status()["reboot_announced_until"] is None

    ends = {
        "echo 'Access denied' >&2; exit 1": (6, "systemctl reboot: Access denied"),
        "true": (5, ", but was not rebooted"),
    }
    for times, (reboot, (code, said)) in enumerate(ends.items(), start=1):
        machine.systemctl(reboot=reboot)
        done = rlctl("-i", machine.inventory, "reboot", "tnr-0", "--yes", "--wait", "3s")
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        is_as_before(times)
    terminal = Terminal("-i", machine.inventory, "reboot", "tnr-0", "--by-hand", "--yes")
    terminal.read_until("restart it now")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "the announced reboot is withdrawn by" in terminal.output
    is_as_before(3)
