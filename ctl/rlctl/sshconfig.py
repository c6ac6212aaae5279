"""What OpenSSH would do for a host, as told by `ssh -G`: its configuration is not read a second way here."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from rlctl import sshanswers
from rlctl.errors import ConnectError
from rlctl.hosts import Host

_STRICTNESS: Mapping[str, Literal["refuse", "add", "take"]] = {
    **dict.fromkeys(("no", "off", "false"), "take"),
    "accept-new": "add",
}
_MULTIPLE = {"identityfile", "certificatefile"}
_NEEDED = {
    *("hostname", "port", "user", "identityfile", "identitiesonly", "identityagent", "userknownhostsfile"),
    *("globalknownhostsfile", "hostkeyalias", "stricthostkeychecking", "proxycommand", "proxyjump"),
}


@dataclasses.dataclass(frozen=True)
class SshSettings:
    """The settings of OpenSSH that matter for connecting."""

    hostname: str
    port: int
    user: str
    identity_files: tuple[str, ...]
    """Those that exist."""
    identities_only: bool
    ask_agent: bool
    """Whether the SSH agent's keys may be used."""
    known_hosts: tuple[str, ...]
    """Those that exist."""
    host_key_alias: str | None
    unknown_host_key: Literal["refuse", "add", "take"]
    """What `StrictHostKeyChecking` says of this host: accept-new adds a key at first contact, no takes any."""
    new_known_hosts: str | None
    """The file that a new key is added to."""
    proxy_command: str | None


def lookup(host: Host) -> SshSettings:
    """Ask OpenSSH for a host's settings; raises `ConnectError` where it is missing or rejects its configuration."""
    return from_output(_effective(_command(host)), host)


def _command(host: Host) -> tuple[str, ...]:
    words = ["ssh", "-T", "-G", *host.ssh_args]
    if host.port is not None:
        words += ["-p", str(host.port)]
    if host.user is not None:
        words += ["-l", host.user]
    return (*words, "--", host.address)


@functools.lru_cache(maxsize=1024)
def _effective(command: tuple[str, ...]) -> str:
    before = sshanswers.get(command)
    if before is not None:
        return before
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10
        )
    except FileNotFoundError:
        raise ConnectError("ssh", "the command ssh is not installed here", "install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise ConnectError("ssh", "ssh -G does not end", "look at `Match exec` in ~/.ssh/config") from None
    if done.returncode != 0:
        fault = (done.stderr.strip().splitlines() or ["unknown error"])[0]
        raise ConnectError("ssh", f"the SSH configuration can't be used: {fault}", "mend ~/.ssh/config")
    said = "".join(line for line in done.stdout.splitlines(keepends=True) if line.partition(" ")[0] in _NEEDED)
    sshanswers.put(command, said)
    return said


def from_output(output: str, host: Host) -> SshSettings:
    """Read the lines of `ssh -G`; a key file of the inventory goes before those of OpenSSH."""
    values: dict[str, list[str]] = {}
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name.lower(), []).append(value.strip())
    one = {name: found[0] for name, found in values.items() if name not in _MULTIPLE}
    keys = ([host.key_file] if host.key_file else []) + values.get("identityfile", [])
    mine, everybodys = (_files(one.get(f"{whose}knownhostsfile", "")) for whose in ("user", "global"))
    return SshSettings(
        hostname=one.get("hostname", host.address),
        port=int(one.get("port", 22)),
        user=one.get("user", host.user or ""),
        identity_files=_existing(keys),
        identities_only=one.get("identitiesonly") == "yes",
        ask_agent=_unless_none(one.get("identityagent", "SSH_AUTH_SOCK")) is not None,
        known_hosts=_existing([*mine, *everybodys]),
        host_key_alias=_unless_none(one.get("hostkeyalias")),
        unknown_host_key=_STRICTNESS.get(one.get("stricthostkeychecking", "ask"), "refuse"),
        new_known_hosts=next(iter(mine), None),
        proxy_command=_proxy(one, host),
    )


def _files(value: str) -> list[str]:
    """Return the files of a setting, in which the word none stands for no file, not for one of that name."""
    return [name for name in shlex.split(value) if name.lower() != "none"]


def _existing(names: list[str]) -> tuple[str, ...]:
    paths = [Path(name).expanduser() for name in dict.fromkeys(names)]
    return tuple(str(path) for path in paths if path.is_file())


def _unless_none(value: str | None) -> str | None:
    return None if value is None or value.lower() == "none" else value


def _proxy(one: dict[str, str], host: Host) -> str | None:
    """Return a command whose pipes lead to the host; a jump is left to OpenSSH itself, with its own host key checks."""
    command = _unless_none(one.get("proxycommand"))
    if command is not None:
        return command
    jump = _unless_none(one.get("proxyjump"))
    if jump is None:
        return None
    *before, last = jump.split(",")
    words = ["ssh", "-o", "BatchMode=yes", *_config_file(host.ssh_args)]
    if before:
        words += ["-J", ",".join(before)]
    return f"{shlex.join(words)} -W [%h]:%p {shlex.quote(_destination(last))}"


def _config_file(args: tuple[str, ...]) -> list[str]:
    for index, word in enumerate(args):
        if word == "-F":
            return list(args[index : index + 2])
        if word.startswith("-F"):
            return [word]
    return []


def _destination(jump: str) -> str:
    return jump if "://" in jump else f"ssh://{jump}"  # so that user@host:port is understood
