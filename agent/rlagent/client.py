"""One request to the running agent over its Unix socket, and its reply; failures become replies with a code."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from rlagent.protocol import messages
from rlagent.server import short_address

START_HINT = "start it with: rlagent run --detach"


def call(path: Path, request: bytes, timeout_s: float = 10.0) -> messages.Reply:
    """Send one request line and return the reply; never raises for what can go wrong on the way."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            with short_address(path) as address:
                sock.connect(address)
            sock.sendall(request.rstrip(b"\n") + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline()
        return messages.decode_reply(line)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return _failure("agent-not-running", f"no agent listens on {path}", START_HINT)
    except PermissionError:
        return _failure("no-permission", f"{path} belongs to another user", "use the user that runs the agent")
    except TimeoutError:
        return _failure("timeout", f"the agent did not answer within {timeout_s:g} s", "see its log: rlagent logs")
    except (OSError, msgspec.MsgspecError) as error:
        return _failure("internal", f"the agent's answer was cut off: {error}", "see its log: rlagent logs")


def _failure(code: messages.ErrorCode, message: str, hint: str) -> messages.Reply:
    return messages.Reply(ok=False, error=messages.Error(code=code, message=message, hint=hint))
