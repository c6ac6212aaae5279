"""Looks for what is wrong between this laptop and its hosts: each finding with its fix. Prints nothing."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from rlagent.protocol.checks import Check, Examination, fault, good, warning
from rlctl import durations, sshaliases
from rlctl.channel import Completed, last_line, unusable
from rlctl.errors import AgentError, ConnectError, HostError, RlctlError
from rlctl.exits import USAGE
from rlctl.fanout import Outcome
from rlctl.fleet import Fleet
from rlctl.hosts import Host

CLOCK_OFF_S: Final = 5.0
REMOTE_PYTHON: Final = (3, 10)


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found on one host."""

    checks: list[Check]
    host_uuid: str | None = None


def laptop(home: Path) -> list[Check]:
    """Look at this machine."""
    return [
        _python(),
        _tool("ssh", "OpenSSH says how hosts are reached", "install openssh-client", "-V"),
        _tool("ansible-playbook", "the playbooks deploy with it", "pip install 'rlfleet[ctl]'", "--version"),
        _keys(home),
        *(warning("ssh config", repeated, "keep one of them: OpenSSH takes the first") for repeated in _repeated(home)),
    ]


def no_inventory(error: RlctlError) -> Check:
    """Return the finding of an inventory that is missing or broken."""
    return fault("inventory", error.reason, error.hint or "mend it")


def aliases(hosts: Sequence[Host], uuids: dict[str, str]) -> list[Check]:
    """Look for names that mean the same machine, by its address and by what its agent says of itself."""
    found = [
        warning(
            "aliases", f"{' and '.join(names)} lead to the same place: {place}", "keep one of them in the inventory"
        )
        for place, names in sshaliases.shared_places(hosts).items()
    ]
    by_uuid: dict[str, list[str]] = {}
    for name, uuid in uuids.items():
        by_uuid.setdefault(uuid, []).append(name)
    found += [
        warning("aliases", f"{' and '.join(names)} are the same machine: host UUID {uuid}", "keep one in the inventory")
        for uuid, names in by_uuid.items()
        if len(names) > 1
    ]
    return found or [
        good("aliases", f"{len(hosts)} host{'' if len(hosts) == 1 else 's'}, each with a place of its own")
    ]


def examine(fleet: Fleet) -> list[Outcome[Found]]:
    """Look at all hosts; an error is a host that can't be reached at all."""
    begun = time.time()
    outcomes = fleet.run(lambda host: [host.agent, "doctor", "--json", "--program", host.agent])
    # The clocks are compared as well as the time it took allows.
    took_s = time.time() - begun
    bare = [outcome.host for outcome in outcomes if _agent_is_missing(outcome)]
    pythons = {o.host.name: o for o in (fleet.run(lambda _: ["python3", "--version"], bare) if bare else [])}
    results = [_found(outcome, begun, took_s, pythons.get(outcome.host.name)) for outcome in outcomes]
    for result in results:
        if result.value is not None and result.value.host_uuid is not None:
            fleet.met(result.host, result.value.host_uuid)
    return results


def _agent_is_missing(outcome: Outcome[Completed]) -> bool:
    return outcome.value is not None and unusable(outcome.host, outcome.value) is not None


def _found(
    outcome: Outcome[Completed], begun: float, took_s: float, python: Outcome[Completed] | None
) -> Outcome[Found]:
    host, done = outcome.host, outcome.value
    if done is None:
        if isinstance(outcome.error, ConnectError):
            return Outcome(host, error=outcome.error)
        return Outcome(host, Found([_of_error("agent", outcome.error)]))
    way = good("connection", "this machine" if host.local else host.ssh_command)
    missing = unusable(host, done)
    if missing is not None:
        return Outcome(host, Found([way, _remote_python(python), _of_error("agent", missing)]))
    try:
        seen = msgspec.json.decode(last_line(done.stdout).encode(), type=Examination)
    except msgspec.MsgspecError:
        return Outcome(host, Found([way, _unreadable(host, done)]))
    return Outcome(host, Found([way, *seen.checks, _clock(seen.at, begun, took_s)], seen.host_uuid))


def _of_error(name: str, error: HostError | None) -> Check:
    reason = "no answer" if error is None else error.reason
    return fault(name, reason, (error.hint if error else None) or "look: rlctl logs")


def _unreadable(host: Host, done: Completed) -> Check:
    said = last_line(done.stderr) or last_line(done.stdout) or "nothing"
    if done.exit_code == USAGE and "invalid choice: 'doctor'" in said:
        return warning("agent", "it is older and does not know doctor", f"upgrade it: {host.deploy_command}")
    broken = AgentError(
        "agent-broken", f"rlagent doctor ended with {done.exit_code} and said: {said}", host.deploy_hint
    )
    return _of_error("agent", broken)


def _remote_python(outcome: Outcome[Completed] | None) -> Check:
    done = None if outcome is None else outcome.value
    said = "" if done is None else last_line(done.stdout) or last_line(done.stderr)
    if done is None or done.exit_code != 0:
        return fault("python", "no python3", "sudo apt-get install python3 python3-venv")
    numbers = tuple(int(word) for word in said.removeprefix("Python ").split(".")[:2] if word.isdecimal())
    if numbers < REMOTE_PYTHON:
        return fault(
            "python", f"{said} is too old", "install 3.10 or newer and name it: rlfleet_python in the inventory"
        )
    return good("python", said)


def _clock(theirs: float, begun: float, took_s: float) -> Check:
    off_s = max(begun - theirs, theirs - (begun + took_s), 0.0)
    if off_s > CLOCK_OFF_S:
        side = "behind" if theirs < begun else "ahead of"
        detail = f"{durations.show(off_s)} {side} this machine's"
        return warning("clock", detail, "synchronise it (chrony or systemd-timesyncd): times in its history are off")
    return good("clock", "agrees with this machine's")


def _python() -> Check:
    found = f"rlctl {version('rlfleet')} on Python {platform.python_version()}"
    if sys.version_info < (3, 11):
        return fault("python", found, "rlctl and Ansible need Python 3.11 or newer")
    return good("python", found)


def _tool(name: str, purpose: str, fix: str, asked: str) -> Check:
    beside = Path(sys.executable).with_name(name)
    program = shutil.which(name) or (str(beside) if os.access(beside, os.X_OK) else None)
    if program is None:
        return fault(name, f"not found: {purpose}", fix)
    done = subprocess.run([program, asked], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    said = (done.stdout or done.stderr).strip().splitlines() or ["?"]
    return good(name, said[0]) if done.returncode == 0 else fault(name, f"it does not start: {said[-1]}", fix)


def _keys(home: Path) -> Check:
    """Look for something to log in with: an SSH agent with keys, or key files at their usual places."""
    files = [path.name for path in sorted((home / ".ssh").glob("id_*")) if path.suffix != ".pub"]
    if os.environ.get("SSH_AUTH_SOCK"):
        return good("keys", f"ssh-agent, {len(files)} key files" if files else "ssh-agent")
    if files:
        return good("keys", f"{', '.join(files)}; no ssh-agent: a key with a passphrase can't be used")
    return warning(
        "keys", "neither ssh-agent nor ~/.ssh/id_*", "ssh-keygen -t ed25519, unless the inventory names keys"
    )


def _repeated(home: Path) -> list[str]:
    return [
        f"{name} stands in {' and '.join(f'{path}:{line}' for path, line in places)}"
        for name, places in sshaliases.repeated(home / ".ssh" / "config").items()
    ]
