"""From what paramiko and the sockets raise to an error that names the fault and the next step."""

from __future__ import annotations

import base64
import hashlib
import socket

import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from rlctl.errors import ConnectError
from rlctl.fanout import Deadline
from rlctl.hosts import Host


def explain(error: Exception, host: Host, deadline: Deadline) -> ConnectError:  # noqa: PLR0911  # a table of faults
    """Return a host's error for an exception of the connection."""
    by_hand = f"try by hand: {host.ssh_command}"
    match error:
        case TimeoutError():
            return deadline.missed()
        case socket.gaierror():
            return ConnectError(
                "name", f"the name {host.address} can't be resolved", "set ansible_host, or add it to ~/.ssh/config"
            )
        case NoValidConnectionsError() | ConnectionRefusedError():
            return ConnectError(
                "refused", f"{_place(error, host)} refused the connection", "is the server up, and ansible_port right?"
            )
        case paramiko.BadHostKeyException():
            return _changed_host_key(error, host)
        case paramiko.PasswordRequiredException():
            return ConnectError("auth", f"a key for {_who(host)} needs its passphrase", "load it with: ssh-add")
        case paramiko.AuthenticationException():
            return ConnectError("auth", f"{_who(host)}: no key was accepted", by_hand)
        case paramiko.SSHException() if "banner" in str(error) or "protocol version" in str(error):
            return ConnectError("ssh", f"{host.address} answers, but not with SSH", "is ansible_port right?")
        case paramiko.SSHException() | EOFError():
            return ConnectError("ssh", f"SSH failed: {str(error) or 'the connection was closed'}", by_hand)
        case OSError():
            return ConnectError("network", f"{host.address}: {error.strerror or error}", "is the network up?")
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


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as `ssh-keygen -l` prints it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _changed_host_key(error: paramiko.BadHostKeyException, host: Host) -> ConnectError:
    name = error.hostname if host.port in {None, 22} else f"[{error.hostname}]:{host.port}"
    return ConnectError(
        "host-key-changed",
        f"its host key has CHANGED to {error.key.get_name()} {fingerprint(error.key)}: another machine, or an attack",
        f"if you know that it was replaced: ssh-keygen -R '{name}', then {host.ssh_command}",
    )


def _who(host: Host) -> str:
    return host.address if host.user is None else f"{host.user}@{host.address}"


def _place(error: Exception, host: Host) -> str:
    places = [f"{address[0]}:{address[1]}" for address in getattr(error, "errors", {})]
    return places[0] if places else host.address
