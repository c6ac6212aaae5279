"""Lab hosts whose trainer can be made to break, with systemd and without, and what is to be seen of them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import tomli_w

from agent_host import TRAINERS
from faults.target import UNHURRIED
from lab import agents, fleet
from lab.borrow import Borrowed
from lab.commands import LabError
from lab.host import Host
from lab.lab import Lab
from lab.places import CHECKOUT
from lab.spec import Spec

PROGRAM = f"{agents.ROOT}/bin/rlagent"
VAR = f"{agents.ROOT}/var"
WAIT_S = 180.0
DRIVER = "/srv/driver"
"""Where a stand-in for the GPU driver's library is looked for."""
_ENVIRONMENT = {"LD_LIBRARY_PATH": f"{DRIVER}/lib", "NVML_STUB_SCRIPT": f"{DRIVER}/nvml.txt"}

_UNIT = f"""\
[Service]
Type=notify
User=ubuntu
Environment={" ".join(f"{name}={value}" for name, value in _ENVIRONMENT.items())}
ExecStart={PROGRAM} run
Restart=always
RestartSec=1
KillMode=process
"""


def specs(python: Borrowed) -> list[Spec]:
    """Return a host of each kind that sees this checkout's agent and tests."""
    binds = {**python.binds, CHECKOUT / "agent": f"{CHECKOUT}/agent", TRAINERS.parent: f"{TRAINERS.parent}"}
    return [Spec(kind, binds=binds, own_clock=True) for kind in ("vm", "container")]


def prepare(lab: Lab, python: Borrowed, command: Sequence[str], *, hang_timeout_s: float, disk_mib: int = 0) -> None:
    """Start an agent with one game on each host; its state is on a small disk of its own if that has a size."""
    agents.start(lab.hosts.values(), python)
    settings = {
        "agent": {"state_dir": VAR, "tick_s": 0.2},
        "policy": {"max_crashes": 100},
        "guard": {"disk_free_mib": 1.0},
        "supervisor": {
            "hang_timeout_s": hang_timeout_s,
            "start_timeout_s": 120.0,
            "stop_timeout_s": 20.0 if disk_mib else 1.0,
            "restart_backoff_s": [0.2],
        },
        "trainer": {
            "command": [str(python.python), *command],
            "checkpoint_interval_s": 1.0,
            "env": UNHURRIED,
        },
        "modes": [{"name": "light", "games": 1, "num_envs": 8, "batch_size": 64}],
        "games": [{"name": "Pong", "target_frames": 40_000_000_000}],
    }
    for host in lab.hosts.values():
        host.ssh(f"{PROGRAM} shutdown")
        (host.root / agents.ROOT[1:] / "etc/config.toml").write_text(tomli_w.dumps(settings))
        (host.root / "etc/systemd/system/rlagent.service").write_text(_UNIT)
        if disk_mib:
            host.mount_small_disk(VAR, disk_mib)
        start(host)
        call(host, "start", who="lab")


def start(host: Host) -> None:
    """Start the agent as its kind of host does."""
    if host.kind == "vm":
        host.inside("systemctl", "start", "rlagent")
    else:
        words = " ".join(f"{name}={value}" for name, value in _ENVIRONMENT.items())
        host.ssh(f"{words} {PROGRAM} run --detach", timeout=120)


def call(host: Host, verb: str, **fields: str) -> str:
    """Ask the agent for something; returns its reply."""
    return host.ssh(f"{PROGRAM} call '{json.dumps({'verb': verb, **fields})}'").stdout


def inject(host: Host, python: Borrowed, name: str) -> None:
    """Break something, by the command that users have."""
    host.ssh(f"sudo {python.python} {CHECKOUT}/tests/faults inject {name} --home {VAR} --game Pong", timeout=180)


def heal(host: Host, python: Borrowed) -> None:
    """Take away what stays of a fault."""
    host.ssh(f"sudo {python.python} {CHECKOUT}/tests/faults heal --home {VAR}")


def read(host: Host, name: str) -> str:
    """Return a file of the state directory, empty without it."""
    return host.read(f"{VAR}/{name}")


def status(host: Host) -> dict[str, Any]:
    """Return the status that an agent has written which lives; nothing of one that is dead."""
    with contextlib.suppress(OSError, LabError, ValueError):
        file = host.place(f"{VAR}/status.json")
        written_at, seen = file.stat().st_mtime, json.loads(file.read_bytes())
        if written_at > host.booted_at() and fleet.alive(host, seen["agent"]["pid"]):
            return seen
    return {}


def asked(host: Host) -> dict[str, Any]:
    """Return the status as the agent tells it, for a disk on which it can't be written; nothing of a busy one."""
    done = host.ssh(f"{PROGRAM} call '{json.dumps({'verb': 'status'})}'", check=False)
    return json.loads(done.stdout)["result"] if done.returncode == 0 else {}


def until(
    host: Host,
    condition: Callable[[dict[str, Any]], Any],
    what: str,
    *,
    seen_by: Callable[[Host], dict[str, Any]] = status,
) -> dict[str, Any]:
    """Wait until the host's status shows something; returns it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        seen = seen_by(host)
        if seen and condition(seen):
            return seen
        assert time.monotonic() < deadline, f"{host.name}: waited for {what}: {json.dumps(seen)[:3000]}"
        time.sleep(0.1)


def trains(seen: dict[str, Any]) -> bool:
    """Whether the game is trained, has a checkpoint, and every incident has ended."""
    (pong,) = seen["trainers"] or [{"state": "QUEUED"}]
    well = pong["state"] == "RUNNING" and pong["sps"] is not None and pong["checkpoint_age_s"] is not None
    return well and not any(incident["open"] for incident in seen["incidents"])


def more_steps(host: Host, than: int) -> dict[str, Any]:
    """Wait until it trains and has taken more steps; returns the status."""
    return until(host, lambda seen: trains(seen) and seen["trainers"][0]["global_step"] > than, "more steps")
