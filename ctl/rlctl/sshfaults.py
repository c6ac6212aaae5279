"""From what paramiko and the sockets raise to an error that names the fault and the next step."""

from __future__ import annotations

import base64
import hashlib
import socket

import paramiko

from rlctl.dial import NoGreetingError
from rlctl.errors import ConnectError
from rlctl.fanout import Deadline
from rlctl.hosts import Host
from rlctl.sshconfig import SshSettings


def explain(error: Exception, host: Host, deadline: Deadline) -> ConnectError:  # noqa: C901, PLR0911  # a table of faults
    """Return a host's error for an exception of the connection."""
    by_hand = f"try by hand: {host.ssh_command}"
    match error:
        case NoGreetingError():
            return ConnectError("ssh", f"{host.address} answers, but not with SSH", "is ansible_port right?")
        case TimeoutError():
            return deadline.missed()
        case socket.gaierror():
            return ConnectError(
                "name", f"the name {host.address} can't be resolved", "set ansible_host, or add it to ~/.ssh/config"
            )
        case ConnectionRefusedError():
            return ConnectError(
                "refused", f"{_place(error, host)} refused the connection", "is the server up, and ansible_port right?"
            )
        case paramiko.PasswordRequiredException():
            return ConnectError("auth", f"a key for {_who(host)} needs its passphrase", "load it with: ssh-add")
        case paramiko.AuthenticationException():
            return ConnectError("auth", f"{_who(host)}: no key was accepted", by_hand)
        case paramiko.SSHException() if deadline.left_s() == 0:  # paramiko gave up at the same instant
            return deadline.missed()
        case paramiko.SSHException() if "banner" in str(error) or "protocol version" in str(error):
            return ConnectError("ssh", f"{host.address} answers, but not with SSH", "is ansible_port right?")
        case paramiko.SSHException() | EOFError():
            return ConnectError("ssh", f"SSH failed: {str(error) or 'the connection was closed'}", by_hand)
        case OSError():
            return ConnectError("network", f"{_place(error, host)}: {error.strerror or error}", "is the network up?")
        case _:
            return ConnectError("ssh", f"{type(error).__name__}: {error}", by_hand)


def proxy_failed(host: Host, said: str) -> ConnectError:
    """Return the error of a jump host or proxy command that complained."""
    return ConnectError("proxy", f"the way through its jump host failed: {said}", f"try by hand: {host.ssh_command}")


def unknown_host_key(host: Host, key: paramiko.PKey) -> ConnectError:
    """Return the error of a host whose key is in no known_hosts file."""
    return ConnectError(
        "host-key-unknown",
        f"its host key is not known ({key.get_name()} {fingerprint(key)})",
        f"compare it and accept it once: {host.ssh_command}",
    )


def changed_host_key(host: Host, settings: SshSettings, key: paramiko.PKey) -> ConnectError:
    """Return the error of a host that shows another key than the known one."""
    name = settings.host_key_alias or settings.hostname
    if settings.host_key_alias is None and settings.port != 22:
        name = f"[{name}]:{settings.port}"
    file = "" if settings.new_known_hosts in {None, "~/.ssh/known_hosts"} else f"-f {settings.new_known_hosts} "
    return ConnectError(
        "host-key-changed",
        f"its host key has CHANGED to {key.get_name()} {fingerprint(key)}: another machine, or an attack",
        f"if you know that it was replaced: ssh-keygen {file}-R '{name}', then {host.ssh_command}",
    )


def revoked_host_key(host: Host, key: paramiko.PKey) -> ConnectError:
    """Return the error of a host whose key was declared stolen."""
    return ConnectError(
        "host-key-revoked",
        f"its host key {key.get_name()} {fingerprint(key)} is marked as @revoked in known_hosts: do not trust it",
        f"give {host.name} a new host key",
    )


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _who(host: Host) -> str:
    return host.address if host.user is None else f"{host.user}@{host.address}"


def _place(error: Exception, host: Host) -> str:
    place = getattr(error, "filename", None)  # where `dial` came to
    return place if isinstance(place, str) else host.address
