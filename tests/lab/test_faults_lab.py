"""Faults on real hosts, with systemd and without: the same incidents and the same end as on this machine."""

import contextlib
import re

import pytest

from agent_host import TRAINERS
from faults.catalogue import named
from lab import faulty
from lab.each_host import on_each_host
from lab.faulty import inject, more_steps, start, trains, until
from rlagent.config.schema import SupervisorSection
from stubs.nvml.nvml_stub import NvmlStub, build

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]

CRASHES = ("trainer-sigkill", "trainer-sigsegv", "trainer-sigabrt", "exception", "exit-0", "orphans")
HANGS = ("trainer-sigstop", "gil-hang", "env-hang")
CLOCKS = ("clock-plus-1h", "clock-minus-1h", "clock-plus-1y", "clock-minus-1y")
AGENTS = ("agent-sigkill", "journal-damaged", "journal-lost")
STRANGER = "sleep 3600.7"


@pytest.fixture(scope="module")
def drivers(tmp_path_factory):
    """Stand-ins for the driver's library, by host; none is installed yet."""
    return build(tmp_path_factory.mktemp("nvml")), {}


@pytest.fixture(scope="module")
def lab(make_lab, controller_python, drivers):
    lab = make_lab(*faulty.specs(controller_python))
    library, found = drivers
    for host in lab.hosts.values():
        folder = host.root / faulty.DRIVER[1:]
        folder.mkdir()
        found[host.name] = NvmlStub(folder, library)
        found[host.name].say(count=1, name_0="NVIDIA A100", utilization_0=57)
    faulty.prepare(lab, controller_python, [str(TRAINERS / "foreign_trainer.py")], hang_timeout_s=8.0)
    return lab


@on_each_host
def test_strangers_with_the_pids_of_before_a_power_cut_are_left_alone(host):
    before = until(host, trains, "a trainer")
    old = before["trainers"][0]["pid"]
    host.power_cut()
    host.power_on()
    if host.kind == "vm":  # else a process of the boot that is over soon may have taken the number
        host.inside("systemctl", "is-system-running", "--wait", check=False)
    script = f"while [ ${{last:-0}} -le {old} ]; do {STRANGER} >/dev/null 2>&1 & last=$!; n=$((n + 1)); done; echo $n"
    count = host.as_user(script).stdout
    # Some may still be the shell that has just forked them.
    until(host, lambda _: strangers(host) == count, "all strangers", seen_by=lambda _: {"any": "status"})
    stranger = host.read(f"/proc/{old}/cmdline")
    start(host)
    after = until(host, lambda seen: seen["agent"]["pid"] != before["agent"]["pid"] and trains(seen), "a trainer")
    assert [incident["what"] for incident in after["incidents"]] == ["reboot"]
    assert after["trainers"][0]["global_step"] > 0
    assert (host.read(f"/proc/{old}/cmdline"), strangers(host)) == (stranger, count)
    host.inside("pkill", "-fx", STRANGER)


def strangers(host) -> str:
    """Their number, as a line."""
    return host.inside("pgrep", "-fxc", STRANGER, check=False).stdout


@pytest.mark.parametrize("name", CRASHES + HANGS)
@on_each_host
def test_a_broken_trainer_is_one_incident_and_trains_on(host, controller_python, name):
    before = until(host, trains, "a trainer")
    inject(host, controller_python, name)
    count = len(before["incidents"]) + 1
    after = until(host, lambda seen: len(seen["incidents"]) == count and trains(seen), "the end of the incident")
    assert re.match(named(name).incident, after["incidents"][-1]["what"])
    assert after["trainers"][0]["attempt"] == before["trainers"][0]["attempt"] + 1


@pytest.mark.parametrize("name", AGENTS)
@on_each_host
def test_a_killed_agent_comes_back_and_adopts_its_trainer(host, controller_python, name):
    before = until(host, trains, "a trainer")
    inject(host, controller_python, name)
    if host.kind == "container":
        start(host)
    after = until(host, lambda seen: seen["agent"]["pid"] != before["agent"]["pid"] and trains(seen), "another agent")
    assert after["trainers"][0]["pid"] == before["trainers"][0]["pid"]
    assert len(after["incidents"]) == len(before["incidents"])


@pytest.mark.parametrize("name", [*CLOCKS, "agent-sigstop"])
@on_each_host
def test_what_breaks_nothing_is_no_incident(host, controller_python, name):
    """A clock that jumps, an agent that is frozen for longer than a hang lasts."""
    before = until(host, trains, "a trainer")
    try:
        inject(host, controller_python, name)
        after = more_steps(host, before["trainers"][0]["global_step"] + 2000)
    finally:
        faulty.heal(host, controller_python)
    assert after["trainers"][0]["pid"] == before["trainers"][0]["pid"]
    assert len(after["incidents"]) == len(before["incidents"])


@on_each_host
def test_a_gigabyte_of_output_costs_no_step_and_no_disk(host, controller_python):
    limits = SupervisorSection()
    before = until(host, trains, "a trainer")
    inject(host, controller_python, "log-flood")
    until(host, lambda _: "flood-is-over" in host.names(f"{faulty.VAR}/runs/Pong"), "the end of the flood")
    until(host, lambda _: len(log_sizes(host)) == limits.log_keep + 1, "full logs")
    after = more_steps(host, before["trainers"][0]["global_step"] + 2000)
    assert after["trainers"][0]["pid"] == before["trainers"][0]["pid"]
    assert len(after["incidents"]) == len(before["incidents"])
    assert len(log_sizes(host)) == limits.log_keep + 1
    assert max(log_sizes(host)) <= limits.log_max_mib * 2**20 + 65536


def log_sizes(host) -> list[int]:
    """The sizes of the trainer's logs, bytes."""
    sizes = []
    for name in host.names(f"{faulty.VAR}/logs"):
        with contextlib.suppress(FileNotFoundError):  # it was renamed since
            sizes += [host.place(f"{faulty.VAR}/logs/{name}").stat().st_size] if name.startswith("Pong.log") else []
    return sizes


@on_each_host
def test_a_trainer_that_is_deaf_to_sigterm_is_killed_when_it_is_to_stop(host, controller_python):
    before = until(host, trains, "a trainer")
    inject(host, controller_python, "ignore-term")
    until(host, lambda _: not faulty.read(host, "runs/Pong/fault"), "the word to be taken")
    faulty.call(host, "stop", who="lab")
    until(host, lambda seen: not seen["trainers"], "the end of the trainer")
    faulty.call(host, "start", who="lab")
    after = until(host, trains, "a trainer")
    assert len(after["incidents"]) == len(before["incidents"])
    assert re.search(named("ignore-term").message, faulty.call(host, "history"))


@pytest.mark.parametrize("name", ["nvml-missing", "nvml-hang", "nvml-raises", "gpu-lost"])
@on_each_host
def test_a_driver_that_breaks_is_said_and_stops_no_trainer(host, controller_python, drivers, name):
    driver, fault = drivers[1][host.name], named(name)
    before = until(host, trains, "a trainer")
    if name != "nvml-missing":
        driver.say(count=1)
        driver.install()
        until(host, lambda seen: [gpu["utilization_percent"] for gpu in seen["gpu"]] == [57], "a reading")
        inject(host, controller_python, name)
    count = len(before["incidents"]) + (fault.incident is not None)
    if fault.incident is None:
        until(host, lambda seen: re.search(fault.message, seen["gpu_error"] or ""), "the message")
    after = until(host, lambda seen: trains(seen) and len(seen["incidents"]) == count, "the end of it")
    assert after["trainers"][0]["pid"] == before["trainers"][0]["pid"]
    if fault.incident is not None:
        assert after["incidents"][-1]["what"] == fault.incident
