"""The lab itself: hosts are what they claim to be, each fault does what it says, and nothing stays behind."""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import cgroup, netns, places, record
from lab.commands import LabError, run
from lab.spec import Spec

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

VM, CONTAINER = "tnr-0", "tnr-2"
OWN_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
IDENTITY = "from rlagent.probe.host import boot_identity; print(boot_identity())"
PID1_START = "cut -d' ' -f22 /proc/1/stat"
DISK = "/srv/small"


@pytest.fixture(scope="module")
def lab(make_lab, controller_python):
    agent = places.CHECKOUT / "agent"
    binds = {**controller_python.binds, agent: str(agent)}
    return make_lab(
        Spec("vm", binds=binds, disks={DISK: 4}, own_clock=True),
        Spec("vm"),
        Spec("container", binds=binds, disks={DISK: 4}, own_clock=True, cron=True),
    )


@pytest.fixture(params=[VM, CONTAINER])
def host(lab, request):
    return lab.hosts[request.param]


def said(host, command):
    return host.ssh(command).stdout.strip()


def wait(condition):
    """Wait until something holds."""
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def agent_sees(host, controller_python):
    """Return the boot identity that the agent would see."""
    return said(host, f"{controller_python.python} -c '{IDENTITY}'")


def leftovers(name):
    """Return whatever the machine still has of a lab."""
    space = record.namespace(name)
    spaces = [file.name for file in netns.NAMED.iterdir()] if netns.NAMED.is_dir() else []
    return {
        "folder": record.folder(name).exists(),
        "namespaces": [found for found in spaces if found == space or found.startswith(f"{space}-")],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if f"/{name}/" in line],
        "groups": [str(root) for root in cgroup.roots() if (root / cgroup.PARENT / name).exists()],
        "processes": [line for line in run("ps", "-eo", "args").splitlines() if space in line],
        "propagated": [path.name for path in Path("/run/systemd/nspawn/propagate").glob(f"{space}-*")],
    }


NOTHING = {"folder": False, "namespaces": [], "mounts": [], "groups": [], "processes": [], "propagated": []}


def test_hosts_are_what_their_kind_says(lab):
    names = [(name, host.kind, said(host, "hostname")) for name, host in lab.hosts.items()]
    assert names == [("tnr-0", "vm", "tnr-0"), ("tnr-1", "vm", "tnr-1"), ("tnr-2", "container", "tnr-2")]
    asked = "systemctl is-system-running --wait"
    states = [host.ssh(asked, check=False, timeout=400).stdout.strip() for host in lab.hosts.values()]
    assert states[0] in ("running", "degraded")
    assert states[1:] == ["running", "offline"]


def test_the_user_may_do_everything_without_a_password(host):
    assert said(host, "id -un; sudo -n id -un") == "ubuntu\nroot"


def test_hosts_differ_in_their_keys_and_ids(lab):
    ids = {said(host, "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub") for host in lab.hosts.values()}
    assert len(ids) == 3


def test_a_wrong_host_key_is_refused(lab):
    command = ["ssh", "-F", lab.ssh_config, "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", VM, "true"]
    refused = lab.run(*command, check=False)
    assert (refused.returncode, "Host key verification failed" in refused.stderr) == (255, True)


def test_cron_runs_only_where_it_was_asked_for(lab):
    running = [host.ssh("pgrep -x cron", check=False).returncode == 0 for host in lab.hosts.values()]
    assert running == [False, False, True]


def test_hosts_have_no_way_out_and_the_machine_none_of_their_addresses(lab, host):
    """The machine's side is looked at, never tried: out there, the same address may be somebody else's."""
    routes = said(host, "ip -4 route").splitlines()
    assert [line.split()[0] for line in routes] == ["10.77.0.0/16"]
    ours = run("ip", "-4", "-oneline", "address") + run("ip", "-4", "route", "show", "table", "all")
    assert "10.77." not in ours


def test_ansible_and_the_inventory_reach_all_hosts(lab):
    answer = lab.run("ansible", "-i", lab.inventory, "gpu_servers", "-m", "ansible.builtin.ping", "-o")
    assert sorted(line.split()[0] for line in answer.stdout.splitlines() if "SUCCESS" in line) == list(lab.hosts)


def test_hosts_use_the_controllers_torch(host, controller_python):
    assert controller_python.fault(host) is None


def test_a_reboot_is_another_boot_to_the_agent(host, controller_python):
    """A container keeps its machine's boot id, as on rented servers: only its PID 1 tells."""
    boot_id, before = said(host, f"cat {OWN_BOOT_ID}"), agent_sees(host, controller_python)
    start = said(host, PID1_START)
    assert agent_sees(host, controller_python) == before
    host.reboot()
    assert (said(host, f"cat {OWN_BOOT_ID}") != boot_id) == (host.kind == "vm")
    assert said(host, PID1_START) != start
    assert agent_sees(host, controller_python) != before
    assert (boot_id == OWN_BOOT_ID.read_text().strip()) == (host.kind == "container")


def test_a_power_cut_kills_all_and_leaves_the_disk(host, controller_python):
    before = agent_sees(host, controller_python)
    host.ssh(f"echo kept > ~/kept; echo kept > {DISK}/kept; nohup setsid sleep 4242 >/dev/null 2>&1 &")
    host.power_cut()
    assert not host.running()
    with pytest.raises(LabError, match=f"{host.name}: is off"):
        host.leader()
    assert host.ssh("true", check=False).returncode == 255
    host.power_on()
    assert said(host, f"cat ~/kept {DISK}/kept; pgrep -fx 'sleep 4242' || echo gone") == "kept\nkept\ngone"
    assert agent_sees(host, controller_python) != before


def test_a_host_that_powers_off_stays_off(lab):
    host = lab.hosts["tnr-1"]
    host.ssh("sudo systemctl poweroff", check=False)
    wait(lambda: not host.running())
    host.power_on()
    assert said(host, "hostname") == "tnr-1"


def test_a_cut_network_makes_ssh_fail_and_heals(lab, host):
    host.network.cut()
    try:
        failed = lab.run("ssh", "-F", lab.ssh_config, "-o", "ConnectTimeout=2", host.name, "true", check=False)
        assert (failed.returncode, "timed out" in failed.stderr) == (255, True)
        assert host.inside("hostname").stdout.strip() == host.name
    finally:
        host.network.restore()
    assert said(host, "hostname") == host.name


def test_a_network_that_is_cut_keeps_its_connections(lab, host):
    """The carrier stays, as between two machines: a connection outlives a short cut."""
    script = "echo begun; until [ -e /tmp/speak ]; do sleep 0.1; done; echo alive"
    with subprocess.Popen(
        lab.words("ssh", "-F", lab.ssh_config, host.name, script), stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout.readline() == "begun\n"
        host.network.cut()
        host.inside("touch", "/tmp/speak")  # noqa: S108  # the host's, which is the test's
        time.sleep(2)
        assert not select.select([session.stdout], [], [], 0)[0]
        host.network.restore()
        assert session.communicate(timeout=120)[0] == "alive\n"


def test_a_delayed_network_is_slow_and_heals(lab, host):
    def first_bytes_s():
        start = time.monotonic()
        with netns.connect(lab.namespace, host.address, 22, 60) as connection:
            connection.recv(4)
        return time.monotonic() - start

    host.network.delay(400)
    try:
        slow = first_bytes_s()
    finally:
        host.network.restore()
    assert slow > 0.8  # the handshake takes one round trip, the first bytes another half at least
    assert said(host, "hostname") == host.name


def test_a_delayed_network_carries_much(lab, host):
    host.network.delay(20)
    copied = lab.run(
        "ssh", "-F", lab.ssh_config, host.name, "head -c 3000000 /dev/urandom | tee >(sha256sum >&2) | sha256sum"
    )
    host.network.restore()
    assert copied.stdout.split() == copied.stderr.split()


@pytest.mark.parametrize("place", [DISK, "/srv/later"])
def test_a_full_disk_is_full_until_it_is_freed(host, place):
    if place != DISK:
        host.mount_small_disk(place, 1)
    host.fill_disk(place)
    full = host.ssh(f"echo more > {place}/more", check=False)
    assert (full.returncode, "No space left on device" in full.stderr) == (1, True)
    host.free_disk(place)
    assert said(host, f"echo more > {place}/more; cat {place}/more") == "more"


def test_the_machines_own_disk_is_never_filled(host):
    with pytest.raises(LabError, match="give the host a small one there"):
        host.fill_disk("/home")


@pytest.mark.parametrize("seconds", [86400, -7200])
def test_a_shifted_clock_is_shifted_in_running_processes_too(host, seconds):
    """And a host's monotonic clock isn't."""
    program = "import time; show = lambda: print(time.time() - time.monotonic(), flush=True); show(); input(); show()"
    words = ["nsenter", f"--target={host.leader()}", "--mount", "--pid", "--", "python3", "-c", program]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        before = float(running.stdout.readline())
        host.shift_clock(seconds)
        try:
            after = float(running.communicate("\n", timeout=120)[0])
            now = int(said(host, "date +%s"))
        finally:
            host.shift_clock(0)
    assert abs(after - before - seconds) < 60
    assert abs(now - time.time() - seconds) < 60


def test_a_host_without_a_clock_of_its_own_says_so(lab):
    with pytest.raises(LabError, match=r"own_clock=True"):
        lab.hosts["tnr-1"].shift_clock(1)


def test_two_labs_side_by_side_do_not_meet(lab, make_lab):
    other = make_lab(Spec("container"))
    theirs, ours = other.hosts["tnr-0"], lab.hosts["tnr-0"]
    assert theirs.address == ours.address
    theirs.ssh("touch ~/other")
    assert said(ours, "ls ~/other 2>/dev/null || echo none") == "none"
    theirs.power_cut()
    assert said(ours, "hostname") == "tnr-0"
    other.stop()
    assert leftovers(other.name) == NOTHING
    assert said(ours, "hostname") == "tnr-0"
    other.stop()  # stopping twice does nothing


def lab_command(name, folder, *words):
    """Run the lab's command line for a lab other than the checkout's own, which may be in use."""
    command = [sys.executable, "-m", "lab", "--name", name, "--inventory", str(folder / "inventory"), *words]
    environment = {**os.environ, "PYTHONPATH": str(places.CHECKOUT / "tests")}
    return subprocess.run(command, env=environment, check=False, timeout=400, capture_output=True, text=True)


def test_the_command_line_boots_enters_and_removes_a_lab(lab_needs, tmp_path):
    name = f"command-{secrets.token_hex(2)}"
    try:
        for _ in range(2):  # a second one replaces the first
            assert lab_command(name, tmp_path, "up", "1").returncode == 0
        assert (tmp_path / "inventory" / "hosts.yml").exists()
        assert not record.dead(name)
        listed = lab_command(name, tmp_path, "shell", "ansible", "gpu_servers", "-m", "ping", "-o")
        assert (listed.returncode, "tnr-0 | SUCCESS" in listed.stdout) == (0, True)
    finally:
        removed = lab_command(name, tmp_path, "down")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert leftovers(name) == NOTHING
    assert not (tmp_path / "inventory").exists()
    assert lab_command(name, tmp_path, "shell").returncode == 2


def test_a_wrong_number_of_hosts_is_a_wrong_use(lab_needs, tmp_path):
    refused = lab_command("none", tmp_path, "up", "many")
    assert refused.returncode == 2
    assert refused.stderr.endswith("'many': give a number of hosts from 1 to 200: make lab N=3\n")


DYING = """
import subprocess, sys
from lab.lab import Lab
from lab.spec import Spec
lab = Lab([Spec("vm", disks={"/srv/small": 1}), Spec("container")])
print(lab.name, flush=True)
lab.start()
lab.hosts["tnr-1"].network.delay(10)
subprocess.Popen(lab.words("sleep", "600"))
print("up", flush=True)
lab.run("ssh", "-F", lab.ssh_config, "tnr-0", "sleep 600", timeout=600)
"""


def dying_lab(lines):
    """Start a lab in a process of its own, kill that with SIGKILL after so many lines; return the lab's name."""
    environment = {**os.environ, "PYTHONPATH": str(places.CHECKOUT / "tests")}
    with subprocess.Popen(
        [sys.executable, "-c", DYING], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as harness:
        said = [harness.stdout.readline().strip() for _ in range(lines)]
        if lines == 1:
            time.sleep(0.4)  # somewhere in the middle of its start
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    # A command that it was just running, such as `ip`, outlives it for a moment, and makes what it was told to make.
    wait(lambda: not strays(harness.pid, record.namespace(said[0])))
    return said[0]


def strays(session, space):
    """Return the processes of a session, and those that name a namespace, which are in no control group of the lab."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = os.getsid(int(folder.name)) == session or space.encode() in (folder / "cmdline").read_bytes()
            alive = record._started(int(folder.name)) is not None
            if ours and alive and f"/{cgroup.PARENT}/" not in (folder / "cgroup").read_text():
                found.append(folder.name)
    return found


@pytest.mark.parametrize("lines", [1, 2], ids=["while-it-starts", "while-it-runs"])
def test_lab_down_removes_what_a_killed_harness_left_and_nothing_else(lab, lines, tmp_path):
    name = dying_lab(lines)
    assert record.dead(name)
    assert lab_command("none", tmp_path, "down").returncode == 0
    assert leftovers(name) == NOTHING
    assert said(lab.hosts[VM], "hostname") == VM


def test_the_next_start_removes_what_a_killed_harness_left(lab, make_lab):
    name = dying_lab(2)
    make_lab().stop()
    assert leftovers(name) == NOTHING


def test_a_live_lab_is_not_swept(lab):
    assert lab.name not in record.sweep()
    assert not record.dead(lab.name)
