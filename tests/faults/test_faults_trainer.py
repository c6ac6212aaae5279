"""What breaks in a trainer: the right incident, once, and training goes on. One real agent for all of them."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

import pytest

from faults.catalogue import named
from faults.conftest import breakable, target
from rlagent.protocol import messages

CRASHES = ["trainer-sigkill", "trainer-sigsegv", "trainer-sigabrt", "exception", "exit-0", "orphans"]
HANGS = ["trainer-sigstop", "gil-hang", "env-hang"]
SLOW = {"hang_timeout_s": 8.0, "stop_timeout_s": 2.0, "log_max_mib": 1.0, "log_keep": 2}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    one = breakable(tmp_path_factory.mktemp("faults") / "host", supervisor=SLOW, policy={"max_crashes": 100})
    yield one.start()
    one.close()


def inject(host, name: str) -> None:
    fault = named(name)
    host.wait_running(2)
    host.wait_for(lambda: host.game("Pong")["checkpoint_age_s"] is not None, "a checkpoint")
    fault.inject(target(host))


def healthy_after(host, before: int, count: int) -> list[str]:
    """Wait until there are so many new incidents and everything runs again; returns what they were."""
    host.wait_for(lambda: len(host.status()["incidents"]) >= before + count, "the incident")
    host.wait_running(2)
    host.wait_for(lambda: not any(i["open"] for i in host.status()["incidents"]), "the end of the incident")
    return [incident["what"] for incident in host.status()["incidents"][before:]]


@pytest.mark.parametrize("name", CRASHES + HANGS)
def test_a_broken_trainer_is_one_incident_and_goes_on_from_its_checkpoint(host, name):
    host.wait_running(2)
    before = len(host.status()["incidents"])
    attempt = host.game("Pong")["attempt"]
    inject(host, name)
    whats = healthy_after(host, before, 1)
    assert len(whats) == 1
    assert re.match(named(name).incident, whats[0]), whats
    assert host.game("Pong")["attempt"] == attempt + 1
    assert host.trainer_processes() == ["MsPacman", "Pong"]


@pytest.mark.skipif(os.geteuid() != 0, reason="memory control groups need root")
def test_a_leak_is_killed_by_the_kernel_and_counted_as_out_of_memory(host):
    host.wait_running(2)
    before = len(host.status()["incidents"])
    pid = host.pids()["Pong"]
    try:
        inject(host, "oom")
        whats = healthy_after(host, before, 1)
    finally:
        for group in Path("/sys/fs/cgroup").glob(f"**/rlfleet-fault-{pid}"):
            group.rmdir()
    assert len(whats) == 1
    assert re.match(named("oom").incident, whats[0]), whats


def is_quiet(host) -> bool:
    """Whether nothing more comes to the log."""
    before = logs(host)
    time.sleep(1)
    return before == logs(host)


def logs(host) -> dict[str, int]:
    """Return the sizes of the game's log files; one that is just being renamed is left out."""
    found = {}
    for path in host.paths.logs.glob("Pong.log*"):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_size
    return found


def test_a_flood_of_output_costs_no_step_and_no_disk(host):
    """256 MiB here, to spare the machine; the command makes it 1 GiB."""
    pids = host.wait_running(2)
    before = len(host.status()["incidents"])
    target(host).tell("log-flood 256")
    host.wait_for(target(host).run_dir.joinpath("flood-is-over").exists, "the end of the flood", 200)
    steps = host.steps()["Pong"]
    host.wait_for(lambda: host.steps()["Pong"] > steps + 1000, "more steps")
    host.wait_for(lambda: is_quiet(host), "the log to be written")
    sizes = logs(host).values()
    assert len(sizes) == 3
    assert sum(sizes) <= 3 * (2**20 + 65536)
    assert (host.pids(), len(host.status()["incidents"])) == (pids, before)


def test_a_trainer_that_is_deaf_to_sigterm_is_killed_at_the_next_stop_without_an_incident(host):
    before = len(host.status()["incidents"])
    inject(host, "ignore-term")
    host.wait_for(lambda: not (target(host).run_dir / "fault").exists(), "the word to be taken")
    host.call(messages.Stop(who="test"))
    host.wait_stopped()
    assert any(re.search(named("ignore-term").message, entry["summary"]) for entry in host.history())
    host.call(messages.Start(who="test"))
    host.wait_running(2)
    assert len(host.status()["incidents"]) == before


def test_afterwards_the_journal_is_the_fold_of_its_events(host):
    host.end_agent()
    state, refolded, _ = host.refold()
    assert state == refolded
