"""The way to run the agent's command on a host: one interface, and the kind that needs no SSH."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
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


def open_channel(host: Host) -> Channel:
    """Return the channel for a host; nothing is connected yet."""
    if host.local:
        return LocalChannel(host)
    from rlctl.remote import SshChannel  # noqa: PLC0415  # loads fabric: only for hosts that need it

    return SshChannel(host)


class LocalChannel:
    """This machine: a child process."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def call(self, request: bytes, deadline: Deadline) -> Completed:
        """Send a request by the agent's command."""
        return self.run([self._host.agent, "call"], request, deadline)

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run a command to its end."""
        try:
            done = subprocess.run(  # noqa: PLW1510  # the exit code is part of the answer
                _expanded(argv), input=stdin, capture_output=True, timeout=deadline.left_s()
            )
        except subprocess.TimeoutExpired:
            raise deadline.missed() from None
        except OSError as error:
            return _unstarted(error)
        return Completed(done.returncode, done.stdout, done.stderr)

    def stream(self, argv: Sequence[str], sink: Callable[[str], None], *, follow: bool) -> Completed:
        """Hand each line to the sink; the child never outlives this call."""
        del follow  # a child is ended the same way whether it would have ended by itself or not
        # A file, not a pipe: nobody reads stderr while lines flow, and a full pipe would stop the child.
        with tempfile.TemporaryFile() as stderr:
            try:
                child = subprocess.Popen(
                    _expanded(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
                )
            except OSError as error:
                return _unstarted(error)
            try:
                for line in child.stdout or ():
                    sink(line.decode("utf-8", "replace"))
                exit_code = child.wait()
            finally:
                _end(child)
            stderr.seek(0)
            return Completed(exit_code, b"", stderr.read())

    def abandon(self) -> None:
        """Do nothing: a child that is late is ended by its own thread."""

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _expanded(argv: Sequence[str]) -> list[str]:
    return [os.path.expanduser(argv[0]), *argv[1:]]  # noqa: PTH111  # a Path would drop nothing but its type


def _unstarted(error: OSError) -> Completed:
    code = EXIT_NOT_FOUND if isinstance(error, FileNotFoundError | NotADirectoryError) else EXIT_NOT_EXECUTABLE
    return Completed(code, b"", (error.strerror or str(error)).encode())


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdout is not None:
        child.stdout.close()
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


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
