"""Many real hosts at once: most with real agents that answer, and five that harm whoever asks them."""

import contextlib
import json
import time
from typing import NamedTuple

import pytest

import soak
from lab import agents, netns

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

HOSTS = [24, pytest.param(64, marks=soak.tenth(10))]
TIMEOUT_S = 30.0
"""For all the living to answer: they share one machine."""
START_UP_S = 30.0
"""For Python to start and read the inventory, on a machine that is busy with all these hosts."""

# Whoever logs in is let in, and then waits for ever: no socket, no command.
HANG = ("Port 22", "DisableForwarding yes", "ForceCommand sleep infinity")
SPEAK_GARBAGE = """
import os, socket, threading
server = socket.create_server(("0.0.0.0", 22))
def flood(caller):
    try:
        while True:
            caller.sendall(os.urandom(65536).replace(b"\\n", b"x"))
    except OSError:
        pass
while True:
    threading.Thread(target=flood, args=(server.accept()[0],), daemon=True).start()
"""


class Sick(NamedTuple):
    """The names of the hosts that do not answer as they should."""

    powerless: str
    cut_off: str
    refusing: str
    hanging: str
    garbage: str


@pytest.fixture(scope="module", params=HOSTS)
def lab(request, make_lab, controller_python):
    lab = make_lab(*(agents.spec(controller_python) for _ in range(request.param)))
    sick = among(lab)
    agents.start([host for name, host in lab.hosts.items() if name not in sick], controller_python)
    lab.hosts[sick.powerless].power_cut()
    lab.hosts[sick.cut_off].network.cut()
    configure_sshd(lab.hosts[sick.refusing])
    configure_sshd(lab.hosts[sick.hanging], *HANG)
    garbage = lab.hosts[sick.garbage]
    configure_sshd(garbage)
    garbage.inside("sh", "-c", 'setsid python3 -c "$0" >/dev/null 2>&1 </dev/null &', SPEAK_GARBAGE)
    wait(lambda: speaks_garbage(lab, garbage))
    return lab


def among(lab) -> Sick:
    """The sick of a lab stand among the others, and the last one last."""
    names = list(lab.hosts)
    return Sick(*(names[len(names) * n // 5 - 1] for n in range(1, 6)))


def configure_sshd(host, *lines):
    """Let a container's sshd listen on port 2222 with further settings; returns when it goes by them."""
    host.inside("sh", "-c", 'printf "%s\\n" "$@" >> /etc/ssh/sshd_config && kill -HUP 2', "sh", "Port 2222", *lines)
    wait(lambda: host.greets(2222))


def speaks_garbage(lab, host):
    with contextlib.suppress(OSError), netns.connect(lab.namespace, host.address, 22, 5) as connection:
        return connection.recv(4) not in (b"", b"SSH-")
    return False


def wait(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def rlctl(lab, *words):
    """Return how rlctl ended, and after how many seconds."""
    begin = time.monotonic()
    done = lab.run("rlctl", "-i", lab.inventory, "--timeout", f"{TIMEOUT_S:g}", *words, check=False, timeout=240)
    return done, time.monotonic() - begin


def unhealthy(done):
    """Return what rlctl printed of the hosts that did not answer, or all that it printed: what a failed test shows."""
    with contextlib.suppress(ValueError):
        sick = [host for host in json.loads(done.stdout)["hosts"] if not host["ok"]]
        return "\n".join(f"{host['host']}: {host['error_kind']}: {host['error']}" for host in sick)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def asked(lab):
    """All hosts were asked once; a host that is silent takes the whole deadline."""
    return rlctl(lab, "status", "-o", "json")


def test_the_living_are_shown_within_the_deadline_and_each_other_host_has_its_reason(lab, asked):
    done, took_s = asked
    sick = among(lab)
    assert (done.returncode, done.stderr) == (4, ""), unhealthy(done)
    hosts = {host["host"]: host for host in json.loads(done.stdout)["hosts"]}
    assert list(hosts) == list(lab.hosts)
    assert [name for name, host in hosts.items() if not host["ok"]] == list(sick), unhealthy(done)
    assert {host["mode"] for host in hosts.values() if host["ok"]} == {"light"}
    assert took_s < TIMEOUT_S + START_UP_S
    kinds = Sick(*(hosts[name]["error_kind"] for name in sick))
    assert kinds == Sick("refused", "timeout", "refused", "timeout", "ssh")
    assert hosts[sick.cut_off]["error"].endswith("does not take the connection")
    assert hosts[sick.hanging]["error"].endswith("SSH works, /opt/rlfleet/bin/rlagent is silent")
    assert hosts[sick.garbage]["error"].endswith("answers, but not with SSH")


def test_a_person_sees_a_row_for_each_host_and_a_line_that_sums_up(lab):
    done, took_s = rlctl(lab, "status")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (4, "")
    assert lines[0].startswith(f"{len(lab.hosts)} hosts · {len(lab.hosts) - 5} up · 5 down · "), unhealthy(done)
    assert [line.split()[1] for line in lines if line.startswith(("●", "✗"))] == list(lab.hosts)
    assert sum(line.startswith("└") for line in lines) == 5
    assert took_s < TIMEOUT_S + START_UP_S


@pytest.mark.usefixtures("asked")
def test_the_living_are_pinned_and_only_they(lab):
    pinned = json.loads((lab.folder / "state" / "rlfleet" / "hosts.json").read_text())["inventories"]
    assert set(pinned[str(lab.inventory)]) == set(lab.hosts) - set(among(lab))
    assert len({pin["uuid"] for pin in pinned[str(lab.inventory)].values()}) == len(lab.hosts) - 5


def test_living_hosts_alone_are_healthy(lab):
    done, _ = rlctl(lab, "status", "-o", "json", f"all:!{':!'.join(among(lab))}")
    assert (done.returncode, done.stderr) == (0, ""), unhealthy(done)
    assert len(json.loads(done.stdout)["hosts"]) == len(lab.hosts) - 5
