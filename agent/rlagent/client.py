"""One request to the running agent over its Unix socket, and its reply; failures become replies with a code."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import msgspec

from rlagent.protocol import messages
from rlagent.server import short_address

CHUNK = 65536
QUEUE_PAUSE_S = 0.05
START_HINT = "start it with: rlagent run --detach"


def call(path: Path, request: bytes, timeout_s: float = 10.0) -> messages.Reply:
    """Send one request line and return the reply; never raises for what can go wrong on the way."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            with short_address(path) as address:
                _connect(sock, address, deadline)
            # A line's end is only white space within JSON, but ends a request.
            sock.sendall(request.strip().replace(b"\n", b" ") + b"\n")
            return messages.decode_reply(_receive_line(sock, deadline))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return _failure("agent-not-running", f"no agent listens on {path}", START_HINT)
    except PermissionError:
        return _failure("no-permission", f"{path} belongs to another user", "use the user that runs the agent")
    except TimeoutError:
        return _failure("timeout", f"the agent did not answer within {timeout_s:g} s", "see its log: rlagent logs")
    except (OSError, msgspec.MsgspecError) as error:
        return _failure("internal", f"the agent's answer was cut off: {error}", "see its log: rlagent logs")


def _connect(sock: socket.socket, address: str, deadline: float) -> None:
    """Connect, however long the queue of an agent is that is not looking. Raises OSError."""
    while True:
        try:
            sock.connect(address)
        except BlockingIOError:
            # The queue is full; unlike over TCP the kernel doesn't wait for a place in it.
            if time.monotonic() >= deadline:
                raise TimeoutError from None
            time.sleep(QUEUE_PAUSE_S)
        else:
            return


def _receive_line(sock: socket.socket, deadline: float) -> bytes:
    """Return what comes up to a line's end or the end of all. Raises OSError."""
    chunks: list[bytes] = []
    while not chunks or (chunks[-1] and not chunks[-1].endswith(b"\n")):
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        chunks.append(sock.recv(CHUNK))
    return b"".join(chunks)


def _failure(code: messages.ErrorCode, message: str, hint: str) -> messages.Reply:
    return messages.Reply(ok=False, error=messages.Error(code=code, message=message, hint=hint))
