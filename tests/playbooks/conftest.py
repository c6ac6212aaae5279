"""Gives each test a deployment of its own, or all tests of a file one that is installed already."""

import shutil

import pytest

from playbook_runs import CHECKOUT, Deployment


@pytest.fixture
def deployment(tmp_path):
    """Give a deployment in a folder that does not exist yet, and end its processes afterwards."""
    deployed = Deployment(tmp_path / "rlfleet")
    yield deployed
    deployed.end_processes()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Give a deployment whose agent runs with two trainers, shared by the tests of a file."""
    deployed = Deployment(tmp_path_factory.mktemp("installed") / "rlfleet")
    play = deployed.deploy()
    assert play.rc == 0, play.output
    yield deployed
    deployed.end_processes()


@pytest.fixture
def project(tmp_path):
    """Give a copy of what the wheel is made of, to be changed."""
    copy = tmp_path / "project"
    for name in ("agent", "ctl"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    return copy
