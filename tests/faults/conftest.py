"""Fixtures of the fault tests: real agents whose trainers can be made to break."""

from __future__ import annotations

import pytest

from agent_host import AgentHost
from faults.target import HOOK, Target


def breakable(folder, **settings) -> AgentHost:
    """Make a host on small real trainers that have the hook."""
    folder.mkdir()
    trainer = {"env": {"PYTHONPATH": str(HOOK)}, **settings.pop("trainer", {})}
    return AgentHost(folder, trainer=trainer, **settings)


def target(host, game: str | None = "Pong") -> Target:
    """The host as a fault finds it."""
    return Target(host.paths.state_dir, game)


@pytest.fixture
def make_host(tmp_path):
    """Make hosts; whatever they leave is killed at the end."""
    hosts = []

    def make(name: str = "host", **settings) -> AgentHost:
        hosts.append(breakable(tmp_path / name, **settings))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()
