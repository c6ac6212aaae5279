"""The channel to this machine, and the choice between it and SSH."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence

from rlctl.channel import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Channel, Completed
from rlctl.fanout import Deadline
from rlctl.hosts import Host


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
