"""What the tests of the remote control share."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest

from ctl_inside import forget
from ctl_sshd import Sshd
from rlctl.channel import Completed
from rlctl.errors import HostError
from rlctl.fanout import Deadline
from rlctl.hosts import Host
from rlctl.local import open_channel


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Run a real sshd on loopback, one for all tests: no test changes its folder."""
    with Sshd(tmp_path_factory.mktemp("sshd")).running() as running:
        yield running


class Reach:
    """A way to the server under an SSH configuration of a test's own, and in the test's own process."""

    def __init__(self, server: Sshd, folder: Path) -> None:
        self.server = server
        self.config = folder / "reach_config"
        self.known = folder / "reach_known"
        self.key = str(server.key)

    def host(self, *lines: str, **changes: Any) -> Host:
        """Return the host; these lines go before others, which know no host and have the server's key."""
        usual = (
            *("Host *", f"UserKnownHostsFile {self.known}", "GlobalKnownHostsFile none"),
            *("StrictHostKeyChecking yes", f"IdentityFile {self.key}", "IdentitiesOnly yes"),
        )
        self.config.write_text("".join(f"{line}\n" for line in (*lines, *usual)))
        plain: dict[str, Any] = {"address": "127.0.0.1", "port": self.server.port, "user": getpass.getuser()}
        return Host("tnr-0", ssh_args=("-F", str(self.config)), **(plain | changes))

    def run(self, host: Host, *words: str, stdin: bytes = b"", timeout_s: float = 60.0) -> Completed:
        """Connect as a new run of rlctl would, run a command there and leave; raises `HostError`."""
        forget()
        channel = open_channel(host)
        try:
            return channel.run(words or ["true"], stdin, Deadline(timeout_s))
        finally:
            channel.close()

    def error(self, *lines: str, **changes: Any) -> HostError | None:
        """Connect under these lines; return why not."""
        try:
            self.run(self.host(*lines, **changes))
        except HostError as error:
            return error
        return None

    def kind(self, *lines: str, **changes: Any) -> str | None:
        """Connect under these lines; return the kind of the error, None if there is none."""
        error = self.error(*lines, **changes)
        return None if error is None else error.kind


@pytest.fixture
def reach(server, tmp_path, monkeypatch):
    """Give a way to the server that no other test and nobody's configuration decides about."""
    for kind in ("CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Reach(server, tmp_path)
