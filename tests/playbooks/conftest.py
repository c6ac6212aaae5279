"""Gives each test a deployment of its own, or all tests of a file one that is installed already."""

import pytest

from playbook_runs import Deployment, build_wheel, copy_of_checkout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Give a wheel of the checkout as it is now: whoever edits a source meanwhile makes no other release of it."""
    return build_wheel(copy_of_checkout(tmp_path_factory.mktemp("snapshot")), tmp_path_factory.mktemp("wheels"))["path"]


@pytest.fixture
def deployment(tmp_path, wheel):
    """Give a deployment in a folder that does not exist yet, and end its processes afterwards."""
    deployed = Deployment(tmp_path / "rlfleet", wheel)
    yield deployed
    deployed.end_processes()


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel):
    """Give a deployment whose agent runs with two trainers, shared by the tests of a file."""
    deployed = Deployment(tmp_path_factory.mktemp("installed") / "rlfleet", wheel)
    play = deployed.deploy()
    assert play.rc == 0, play.output
    yield deployed
    deployed.end_processes()


@pytest.fixture
def project(tmp_path):
    """Give a copy of what the wheel is made of, to be changed."""
    return copy_of_checkout(tmp_path)
