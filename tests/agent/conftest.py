"""Fixtures of the agent's tests."""

from __future__ import annotations

import pytest

from agent_host import AgentHost
from agent_world import Agents


@pytest.fixture
def make_host(tmp_path):
    """Make agents on real trainers; whatever they leave is killed at the end."""
    hosts = []

    def make(name: str = "host", **settings) -> AgentHost:
        folder = tmp_path / name
        folder.mkdir()
        hosts.append(AgentHost(folder, **settings))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def agents(tmp_path):
    """Agents of one host in this process, one after another, in a world that the test turns."""
    some = Agents(tmp_path)
    yield some
    some.kill()
