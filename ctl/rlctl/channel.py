"""The way to run the agent's command on a host: the interface of every kind, and what an answer says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from rlctl.errors import AgentError
from rlctl.fanout import Deadline
from rlctl.hosts import Host

EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127
"""What a POSIX shell says of a command that isn't there."""


@dataclasses.dataclass(frozen=True)
class Completed:
    """How a command ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Channel(Protocol):
    """Runs commands on one host; used by one thread at a time."""

    def call(self, request: bytes, deadline: Deadline) -> Completed:
        """Send one request line to the agent; its reply is the last line of stdout. Raises `HostError`."""

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run a command to its end; raises `HostError`."""

    def stream(self, argv: Sequence[str], sink: Callable[[str], None], *, follow: bool) -> Completed:
        """Hand each line of stdout to the sink until the command ends; leaving early ends the command too.

        follow: the command does not end by itself.
        """

    def abandon(self) -> None:
        """Let go of a connection that another thread still uses, without waiting for it."""

    def close(self) -> None:
        """Give the connection back."""


def unusable(host: Host, done: Completed) -> AgentError | None:
    """Return why the agent's command itself could not be run, if so."""
    if done.exit_code == EXIT_NOT_FOUND:
        return AgentError("no-agent", f"no agent is installed ({host.agent} not found)", host.deploy_hint)
    if done.exit_code == EXIT_NOT_EXECUTABLE:
        detail = last_line(done.stderr) or "not executable"
        return AgentError(
            "no-permission", f"{host.agent} can't be run: {detail}", "set ansible_user to the user it was deployed as"
        )
    return None


def last_line(output: bytes) -> str:
    """Return the last line of an output that says something."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
