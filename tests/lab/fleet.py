"""A lab whose hosts rlfleet is deployed to: runs the real playbooks and rlctl there, and looks at hosts unseen."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.commands import LabError, completed
from lab.host import Host
from lab.lab import Lab
from playbook_runs import CHECKOUT, PLAYBOOKS, Play

ROOT = "/opt/rlfleet"
_STATUS = f"{ROOT[1:]}/var/status.json"
EXAMPLES = CHECKOUT / "tests" / "examples"
PLAY_TIMEOUT_S = 900
_TRIALS, _TRIAL_PAUSE_S = 3, 10.0


def fill_wheelhouse(wheel: dict[str, Any], python: str, *further: str) -> None:
    """Download what hosts of the lab's image need, once for all tests: from the lab no registry can be reached."""
    script = PLAYBOOKS / "roles/wheelhouse/files/wheelhouse.py"
    kind = [f"--python={python}", "--machine=x86_64", "--glibc=2.36", f"--cache={CHECKOUT}/.cache/wheelhouse"]
    for requirements in (["pip", *wheel["agent_requirements"]], list(further)):
        if requirements:
            _download([sys.executable, script, *kind, *requirements])


def _download(command: list[object]) -> None:
    """Run a command that downloads; once more where a registry could not be reached."""
    words = [str(word) for word in command]
    for _ in range(_TRIALS - 1):
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(words, check=True, capture_output=True, timeout=280)
            return
        time.sleep(_TRIAL_PAUSE_S)
    completed(words, check=True, timeout=280)


class Fleet:
    """The hosts of a lab, as their operator meets them."""

    def __init__(self, lab: Lab, **variables: object) -> None:
        """`variables` hold for every play."""
        self.lab = lab
        self.hosts = lab.hosts
        self.variables = variables

    def start(self, playbook: str, *arguments: str, **variables: object) -> subprocess.Popen[str]:
        """Start a playbook at the controller's place; its output comes line by line."""
        merged = json.dumps({**self.variables, **variables})
        program = Path(sys.executable).parent / "ansible-playbook"
        words = [program, "-i", self.lab.inventory, f"{playbook}.yml", "-e", merged, *arguments]
        return subprocess.Popen(
            self.lab.words(*words),
            cwd=PLAYBOOKS,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def play(self, playbook: str, *arguments: str, **variables: object) -> Play:
        """Run a playbook to its end."""
        process = self.start(playbook, *arguments, **variables)
        output, _ = process.communicate(timeout=PLAY_TIMEOUT_S)
        return Play(process.returncode, output)

    def must(self, playbook: str, *arguments: str, **variables: object) -> Play:
        """Run a playbook that must succeed."""
        play = self.play(playbook, *arguments, **variables)
        assert play.rc == 0, play.output[-6000:]
        return play

    def rlctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run rlctl at the controller's place; patient, as all hosts of a lab share one machine."""
        program = Path(sys.executable).parent / "rlctl"
        words = [program, "-i", self.lab.inventory, "--timeout", "60", *arguments]
        return self.lab.run(*words, check=check, timeout=240)

    def wait(self, condition, what: str, timeout_s: float = 400):
        """Wait until a condition holds and return its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                seen = {name: trainers(status(host)) for name, host in self.hosts.items()}
                raise AssertionError(f"waited {timeout_s:g} s for {what}: {json.dumps(seen)}")
            time.sleep(0.2)
        return value

    def wait_learning(self, *hosts: Host, mode: str | None = None, count: int = 1) -> dict[str, dict[str, int]]:
        """Wait until every trainer of these hosts takes steps; returns process numbers by host and game."""

        def all_learn() -> dict[str, dict[str, int]]:
            seen = {host.name: learning(host, mode, count) for host in hosts or self.hosts.values()}
            return seen if all(seen.values()) else {}

        return self.wait(all_learn, f"{count} trainers that learn in mode {mode or 'any'}")

    def wait_committed(self) -> None:
        """Wait until every trainer of every host has written a checkpoint since its host was started."""
        self.wait(lambda: all(map(committed, self.hosts.values())), "checkpoints since the last start")


def status(host: Host) -> dict[str, Any]:
    """Return the status that a host's agent wrote last; read from outside, so that it counts as no contact."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((host.root / _STATUS).read_text())
    return {}


def fresh(host: Host) -> dict[str, Any]:
    """Return a host's status if its agent, which lives, wrote it, else nothing.

    A process of this number is not enough: after a restart the new agent may well have the old one's.
    """
    written_at = _written_at(host)
    seen = status(host)
    with contextlib.suppress(LabError, OSError):  # it has no power, or just got it
        if seen and written_at > host.booted_at() and alive(host, seen["agent"]["pid"]):
            return seen
    return {}


def alive(host: Host, pid: int) -> bool:
    """Whether a process of a host's numbering is an agent that runs now."""
    return "rlagent" in host.read(f"/proc/{pid}/cmdline")


def committed(host: Host) -> bool:
    """Whether each of a host's trainers has written a checkpoint since the host was started."""
    written_at = _written_at(host)
    seen = fresh(host)
    ages = [trainer["checkpoint_age_s"] for trainer in seen.get("trainers", [])]
    return bool(ages) and all(age is not None and written_at - age > host.booted_at() for age in ages)


def _written_at(host: Host) -> float:
    """Return when a host's status was written at the earliest, by the wall clock."""
    with contextlib.suppress(OSError):
        return (host.root / _STATUS).stat().st_mtime
    return 0.0


def trainers(seen: dict[str, Any]) -> dict[str, tuple[str, int | None, int | None]]:
    """Return state, process and step of each trainer that has a slot."""
    return {t["game"]: (t["state"], t["pid"], t["global_step"]) for t in seen.get("trainers", [])}


def learning(host: Host, mode: str | None, count: int) -> dict[str, int]:
    """Return the processes of a host's trainers by game, if all take steps in the mode."""
    seen = fresh(host)
    slots = seen.get("trainers", [])
    good = [t for t in slots if t["state"] == "RUNNING" and t["sps"] is not None and t["pid"]]
    if len(good) != count or len(slots) != count or seen["changing_to"] is not None or mode not in (None, seen["mode"]):
        return {}
    return {t["game"]: t["pid"] for t in good}


def steps(host: Host) -> dict[str, int]:
    """Return the step of each trainer of a host."""
    return {game: step or 0 for game, (_, _, step) in trainers(status(host)).items()}


def release(host: Host) -> str:
    """Return the release that is current on a host."""
    return (host.root / ROOT[1:] / "current").readlink().name
