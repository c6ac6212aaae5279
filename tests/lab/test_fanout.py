"""64 real hosts at once: 59 with real agents that answer, and five that harm whoever asks them."""

import json
import time

import pytest

from lab import agents

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOSTS = 64
POWERLESS, CUT_OFF, REFUSING, HANGING, GARBAGE = (f"tnr-{index}" for index in (7, 21, 35, 49, 63))
SICK = (POWERLESS, CUT_OFF, REFUSING, HANGING, GARBAGE)
TIMEOUT_S = 10.0
START_UP_S = 5.0
"""For Python to start and read the inventory, on a machine that is busy with all these hosts."""

# Whoever logs in is let in, and then waits for ever: no socket, no command.
HANG = "printf 'DisableForwarding yes\\nForceCommand sleep infinity\\n' >> /etc/ssh/sshd_config && kill -HUP 2"
MOVE_SSHD = "printf 'Port 2222\\n' >> /etc/ssh/sshd_config && kill -HUP 2"
SPEAK_GARBAGE = """
import os, socket, threading, time
for _ in range(100):
    try:
        server = socket.create_server(("0.0.0.0", 22))
        break
    except OSError:
        time.sleep(0.1)
def flood(caller):
    try:
        while True:
            caller.sendall(os.urandom(65536).replace(b"\\n", b"x"))
    except OSError:
        pass
while True:
    threading.Thread(target=flood, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.fixture(scope="module")
def lab(make_lab, controller_python):
    lab = make_lab(*(agents.spec(controller_python) for _ in range(HOSTS)))
    agents.start([host for name, host in lab.hosts.items() if name not in SICK], controller_python)
    lab.hosts[POWERLESS].power_cut()
    lab.hosts[CUT_OFF].network.cut()
    lab.hosts[REFUSING].inside("sh", "-c", MOVE_SSHD)
    lab.hosts[HANGING].inside("sh", "-c", HANG)
    lab.hosts[GARBAGE].inside("sh", "-c", MOVE_SSHD)
    lab.hosts[GARBAGE].inside("sh", "-c", 'setsid python3 -c "$0" >/dev/null 2>&1 </dev/null &', SPEAK_GARBAGE)
    return lab


def rlctl(lab, *words):
    """Return how rlctl ended, and after how many seconds."""
    begin = time.monotonic()
    done = lab.run("rlctl", "-i", lab.inventory, *words, check=False, timeout=120)
    return done, time.monotonic() - begin


def test_the_living_are_shown_within_the_deadline_and_each_other_host_has_its_reason(lab):
    done, took_s = rlctl(lab, "status", "-o", "json")
    hosts = {host["host"]: host for host in json.loads(done.stdout)["hosts"]}
    assert (done.returncode, done.stderr, list(hosts)) == (4, "", list(lab.hosts))
    assert [name for name, host in hosts.items() if not host["ok"]] == list(SICK)
    assert {host["mode"] for host in hosts.values() if host["ok"]} == {"light"}
    assert took_s < TIMEOUT_S + START_UP_S
    kinds = {name: hosts[name]["error_kind"] for name in SICK}
    assert kinds == {POWERLESS: "refused", CUT_OFF: "timeout", REFUSING: "refused", HANGING: "timeout", GARBAGE: "ssh"}
    assert hosts[CUT_OFF]["error"].endswith("does not take the connection")
    assert hosts[HANGING]["error"].endswith("SSH works, /opt/rlfleet/bin/rlagent is silent")
    assert hosts[GARBAGE]["error"].endswith("answers, but not with SSH")


def test_a_person_sees_a_row_for_each_host_and_a_line_that_sums_up(lab):
    done, took_s = rlctl(lab, "--timeout", "5", "status")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (4, "")
    assert lines[0].startswith("64 hosts · 59 up · 5 down · ")
    assert [line.split()[1] for line in lines if line.startswith(("●", "✗"))] == list(lab.hosts)
    assert sum(line.startswith("└") for line in lines) == 5
    assert took_s < 5 + START_UP_S


def test_the_living_are_pinned_and_only_they(lab):
    rlctl(lab, "--timeout", "5", "status")
    pinned = json.loads((lab.folder / "state" / "rlfleet" / "hosts.json").read_text())["inventories"]
    assert set(pinned[str(lab.inventory)]) == set(lab.hosts) - set(SICK)
    assert len({pin["uuid"] for pin in pinned[str(lab.inventory)].values()}) == HOSTS - len(SICK)


def test_living_hosts_alone_are_healthy(lab):
    done, _ = rlctl(lab, "status", "-o", "json", f"all:!{':!'.join(SICK)}")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["hosts"]) == HOSTS - len(SICK)
