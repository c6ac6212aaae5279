"""Gives each test a deployment of its own, and leaves no process behind."""

import psutil
import pytest

from playbook_runs import Deployment


@pytest.fixture
def deployment(tmp_path):
    """Give a deployment in a folder that does not exist yet, and end its processes afterwards."""
    deployed = Deployment(tmp_path / "rlfleet")
    yield deployed
    left = deployed.processes()
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=10)
