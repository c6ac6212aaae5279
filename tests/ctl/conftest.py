"""What the tests of the remote control share."""

from __future__ import annotations

import pytest

from ctl_runs import Sshd


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Run a real sshd on loopback."""
    with Sshd(tmp_path_factory.mktemp("sshd")).running() as running:
        yield running
