"""What breaks around the trainers: agent, journal, clock, driver, PIDs. No trainer pays for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from faults.catalogue import named
from faults.conftest import target
from faults.inject import FREEZE_S
from stubs.nvml.nvml_stub import NvmlStub

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
needs_unshare = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")


def said(host, name: str) -> bool:
    pattern = re.compile(named(name).message)
    return any(pattern.search(text) for text in [*host.decisions(), *host.status()["alerts"]])


def test_sigkill_of_the_agent_costs_nothing(make_host):
    host = make_host().start()
    pids = host.wait_running(2)
    named("agent-sigkill").inject(target(host))
    host.process.wait(60)
    host.start()
    assert host.wait_running(2) == pids
    assert host.status()["incidents"] == []


def test_a_frozen_agent_does_not_take_its_own_silence_for_that_of_its_trainers(make_host):
    host = make_host(supervisor={"hang_timeout_s": FREEZE_S - 2}).start()
    pids = host.wait_running(2)
    named("agent-sigstop").inject(target(host))
    host.wait_for(lambda: host.steps()["Pong"] > 0, "an answer")
    steps = host.steps()["Pong"]
    host.wait_for(lambda: host.steps()["Pong"] > steps + 1500, "more steps")
    assert (host.pids(), host.status()["incidents"]) == (pids, [])


@pytest.mark.parametrize("name", ["journal-damaged", "journal-lost"])
def test_a_broken_journal_is_kept_rebuilt_and_said(make_host, name):
    host = make_host(agent={"journal_tick_s": 0.2}).start()
    host.wait_running(2)
    os.kill(host.pids()["Pong"], 9)
    host.wait_for(lambda: len(host.status()["incidents"]) == 1, "an incident to remember")
    pids = host.wait_running(2)
    host.wait_for(lambda: "SIGKILL" in host.paths.state_toml.read_text(), "state.toml")
    size = host.history()[-1]["seq"]
    named(name).inject(target(host))
    host.process.wait(60)
    kept = [p.read_bytes() for p in host.paths.state_dir.glob("journal.sqlite3*") if not p.name.endswith("-shm")]
    host.start()
    assert host.wait_running(2) == pids
    status = host.status()
    assert status["mode"] == "light"
    assert [incident["what"] for incident in status["incidents"]] == ["trainer Pong SIGKILL"]
    assert host.game("Pong")["attempt"] == 2
    assert said(host, name), host.decisions()
    assert host.history()[-1]["seq"] > size
    assert "saving what can be read" in host.paths.agent_log.read_text()
    if name == "journal-damaged":
        beside = [p.read_bytes() for p in host.paths.state_dir.glob("*.damaged-1*") if not p.name.endswith("-shm")]
        assert sorted(beside) == sorted(kept)
        assert any("journal.sqlite3.damaged-1 is kept; move it away" in alert for alert in status["alerts"])
        for path in host.paths.state_dir.glob("*.damaged-1*"):
            path.unlink()
    assert not any("damaged once" in alert for alert in host.status()["alerts"])


def test_the_guard_steps_down_from_what_it_reads_of_the_real_disk(make_host):
    host = make_host(guard={"mode": "off"}, policy={"stable_minutes": 0.02, "cooldown_minutes": 60}).start()
    host.wait_for(lambda: host.status()["mode"] == "medium", "the promotion")
    host.wait_running(4)
    host.end_agent()
    # Only now: in the lowest mode it would speak first, and again only ten minutes later.
    host.settings["guard"] = {"mode": "act", "disk_free_mib": 1e12}
    host.write_config(host.settings)
    host.start()
    host.wait_for(lambda: any(text.startswith("demote medium") for text in host.decisions()), "the step down")
    host.wait_for(lambda: host.status()["mode"] == "light", "the lower mode")
    host.wait_running(2)
    reasons = [text for text in host.decisions() if text.startswith("demote medium")]
    assert len(reasons) == 1
    assert re.match(r"demote medium -> light: guard: \d+ MiB free on the disk \(limit 1e\+12 MiB\); retry", reasons[0])
    assert host.status()["incidents"] == []
    assert any("MiB free on the disk" in alert for alert in host.status()["alerts"])


@pytest.mark.parametrize("name", ["clock-plus-1h", "clock-minus-1h", "clock-plus-1y", "clock-minus-1y"])
def test_a_wall_clock_that_jumps_changes_nothing(make_host, clock_library, name):
    library, shift = clock_library
    shift.write_bytes(bytes(8))
    environment = {**os.environ, "LD_PRELOAD": str(library), "RLFLEET_CLOCK_SHIFT": str(shift)}
    host = make_host(policy={"stable_minutes": 30, "window_minutes": 30})
    host.start(environment=environment)
    pids = host.wait_running(2)
    before = host.status()
    named(name).inject(target(host))
    host.wait_for(lambda: host.status()["written_at"][:13] != before["written_at"][:13], "the new time")
    steps = host.steps()["Pong"]
    host.wait_for(lambda: host.steps()["Pong"] > steps + 1000, "more steps")
    after = host.status()
    assert (host.pids(), after["incidents"], after["mode"]) == (pids, [], "light")
    assert 0 <= after["in_mode_s"] - before["in_mode_s"] < 600
    host.kill_agent()
    host.start(environment=environment)
    assert host.wait_running(2) == pids
    assert (host.status()["incidents"], host.status()["mode"]) == ([], "light")
    assert 0 <= host.status()["in_mode_s"] - after["in_mode_s"] < 600


@pytest.mark.parametrize("name", ["nvml-missing", "nvml-hang", "nvml-raises", "gpu-lost"])
def test_a_driver_that_breaks_is_said_and_stops_no_trainer(make_host, tmp_path, library, name):
    (tmp_path / "driver").mkdir()
    driver = NvmlStub(tmp_path / "driver", library)
    driver.say(count=1, name_0="NVIDIA A100", utilization_0=57)
    host = make_host()
    if name != "nvml-missing":
        driver.install()
    host.start(environment=driver.environment)
    pids = host.wait_running(2)
    fault = named(name)
    if fault.inject is not None:
        host.wait_for(lambda: [gpu["utilization_percent"] for gpu in host.status()["gpu"]] == [57], "a reading")
        fault.inject(target(host))
    if fault.incident is None:
        host.wait_for(lambda: re.search(fault.message, host.status()["gpu_error"] or ""), "the message")
        assert (host.status()["gpu"], host.status()["incidents"]) == ([], [])
    else:
        host.wait_for(lambda: host.status()["incidents"], "the incident")
        host.wait_for(lambda: not host.status()["incidents"][0]["open"], "its end")
        assert [i["what"] for i in host.status()["incidents"]] == [fault.incident]
    host.wait_running(2)
    assert host.pids() == pids


@needs_unshare
def test_strangers_with_the_pids_of_before_the_reboot_are_left_alone(make_host):
    """A new PID namespace is a reboot of a container; its first processes take every PID that the trainers had."""
    host = make_host().start(prefix=UNSHARE)
    host.wait_running(2)
    record = (host.paths.run_dir("Pong") / "attempt.json").read_text()
    old = [int(n) for n in re.findall(r'"(?:shim|trainer)_pid": (\d+)', record)]
    assert len(old) == 2
    assert max(old) < 400
    host.kill_agent()
    host.wait_for(lambda: host.trainer_processes() == [], "the end of the container", status=False)
    mark = f"3600.{os.getpid()}"
    strangers = f'for i in $(seq {max(old) + 5}); do sleep {mark} & done; exec "$@"'
    host.start(prefix=(*UNSHARE, "sh", "-c", strangers, "sh"))
    host.wait_running(2)
    status = host.status()
    assert [(i["what"], i["open"]) for i in status["incidents"]] == [("reboot", False)]

    def sleeping() -> int:
        return int(subprocess.run(["pgrep", "-fxc", f"sleep {mark}"], stdout=-1, text=True, check=False).stdout)

    host.wait_for(lambda: sleeping() == max(old) + 5, "every stranger to sleep")
