"""A paramiko transport that can also reach a Unix socket on the host, as OpenSSH's `ssh -L` does.

The server connects to the socket itself, as the user who logged in: no program is started on the host, which makes an
answer many times cheaper than one of a command. OpenSSH's PROTOCOL describes the channel, in section 2.4.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Sequence
from typing import Any

import paramiko

_KIND = "direct-streamlocal@openssh.com"


class Transport(paramiko.Transport):
    """A connection to one host; opens one channel at a time."""

    _path: str | None = None

    def open_unix_socket(self, path: str, timeout_s: float) -> paramiko.Channel:
        """Return a channel to a socket on the host; raises `paramiko.ChannelException` if the server can't or won't."""
        self._path = path
        return self.open_channel(_KIND, timeout=timeout_s)

    def _send_user_message(self, data: paramiko.Message) -> None:
        """Complete the one message that paramiko can't build, on its way out."""
        if self._path is not None:
            data.add_string(self._path)
            data.add_string("")  # reserved
            data.add_int(0)  # reserved
            self._path = None
        super()._send_user_message(data)  # type: ignore[misc]  # not in its published types


def factory(key_types: Sequence[str]) -> Callable[..., Transport]:
    """Return what makes transports that ask the server first for a key of the types that are known of it."""
    return functools.partial(_make, tuple(key_types))


def _make(key_types: tuple[str, ...], sock: socket.socket, **options: Any) -> Transport:  # noqa: ANN401  # paramiko's own
    transport = Transport(sock, **options)
    security = transport.get_security_options()
    wanted = [name for key_type in key_types for name in _signatures(key_type) if name in security.key_types]
    security.key_types = [*wanted, *(name for name in security.key_types if name not in wanted)]
    return transport


def _signatures(key_type: str) -> tuple[str, ...]:
    """Return the algorithms that a key signs with: an RSA key has several."""
    return ("rsa-sha2-512", "rsa-sha2-256") if key_type == "ssh-rsa" else (key_type,)
