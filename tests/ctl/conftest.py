"""What the tests of the remote control share."""

from __future__ import annotations

import pytest

from ctl_sshd import Sshd


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Run a real sshd on loopback, one for all tests: no test changes its folder."""
    with Sshd(tmp_path_factory.mktemp("sshd")).running() as running:
        yield running
