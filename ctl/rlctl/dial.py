"""Opens the TCP connection to an SSH server and looks whether one is there, before any of it reaches paramiko.

paramiko collects a greeting without a limit: something that speaks without end would eat memory and time of all hosts.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any

from rlctl.fanout import Deadline

GREETING_MAX_BYTES = 8192
"""RFC 4253 lets a server say a few lines before its version."""
_PAUSE_S = 0.02


class NoGreetingError(OSError):
    """Something answers that is no SSH server."""


def dial(hostname: str, port: int, deadline: Deadline) -> socket.socket:
    """Return a connection on which an SSH server has spoken; raises OSError."""
    deadline.waiting_for(f"the name {hostname} is not resolved yet", "is the network up?")
    addresses = socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM)
    deadline.waiting_for(f"{hostname}:{port} does not take the connection", "is it up, and the address right?")
    sock = _connected(addresses, deadline)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deadline.waiting_for(f"{hostname}:{port} takes the connection and says nothing", "is its SSH server stuck?")
        _await_greeting(sock, deadline)
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(addresses: Sequence[tuple[Any, ...]], deadline: Deadline) -> socket.socket:
    """Try each address in its turn, none for longer than its share of the time that is left."""
    fault: OSError = OSError("no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(max(deadline.left_s() / (len(addresses) - index), 0.01))
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            # The place stands with the fault, as with one of a file.
            fault = OSError(error.errno, error.strerror, f"{address[0]}:{address[1]}") if error.errno else error
        else:
            return sock
    raise fault


def _await_greeting(sock: socket.socket, deadline: Deadline) -> None:
    """Wait until SSH's version line has come; it stays unread."""
    pause_s = 0.0
    while True:
        sock.settimeout(max(deadline.left_s(), 0.01))
        seen = sock.recv(GREETING_MAX_BYTES, socket.MSG_PEEK)
        if not seen:
            raise EOFError("the connection was closed before its greeting")
        if any(line.startswith(b"SSH-") for line in seen.split(b"\n")[:-1]):
            return
        if len(seen) >= GREETING_MAX_BYTES or not _may_become_ssh(seen):
            raise NoGreetingError
        if deadline.left_s() <= 0:
            raise TimeoutError
        time.sleep(pause_s)  # a peek returns at once with the same bytes
        pause_s = _PAUSE_S


def _may_become_ssh(seen: bytes) -> bool:
    """Say whether the last line, still coming, or one after it may be the version; lines before it are text."""
    return b"\0" not in seen and not seen.startswith((b"HTTP/", b"\x16\x03"))
