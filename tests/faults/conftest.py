"""Fixtures of the fault tests: real agents whose trainers can be made to break."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent_host import AgentHost
from faults.target import HOOK, Target
from lab import clock
from stubs.nvml.nvml_stub import build

CLOCK_SOURCE = Path(clock.__file__).with_name("clock.c")


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


@pytest.fixture(scope="module")
def clock_library(tmp_path_factory):
    """Build the lab's shiftable clock for one host; returns the library and its file."""
    folder = tmp_path_factory.mktemp("clock")
    shift = folder / "shift"
    shift.write_bytes(bytes(8))
    library = folder / "clock.so"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", f'-DSHIFT_FILE="{shift}"', "-o", library, CLOCK_SOURCE], check=True
    )
    return library, shift


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Build the stand-in for NVIDIA's driver library."""
    return build(tmp_path_factory.mktemp("nvml"))
