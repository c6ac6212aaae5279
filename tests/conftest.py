"""What holds for the whole test run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("soak",)
TESTS = Path(__file__).parent
LONGEST_FIRST = (
    *("lab/test_fleet_power", "e2e/test_demo", "lab/test_fleet_deploy", "playbooks/test_deploy_local", "lab"),
    *("e2e", "faults", "playbooks", "trainer", "sim"),
)
"""Beginnings of the paths of files that take minutes: begun last they would keep one core waiting for the other."""
WITH_TORCH = ("trainer", "faults", "e2e")
WITH_ANSIBLE = ("ctl", "playbooks", "lab", "e2e")


def pytest_configure(config: pytest.Config) -> None:
    """Let tests hear Ctrl-C, load torch's compiler before any test loads Ansible, take no time for a fault.

    A shell's background job ignores SIGINT, and so would every program that a test starts.
    Ansible replaces `sys.intern` in its process, and torch refuses to load its compiler after that. In production the
    two never share a process; here they do, unless the tests that were asked for need only one of them. Then nobody
    waits the seconds that the compiler takes to load.
    On a busy machine a process may stand still for seconds; Hypothesis must not take that for a slow strategy.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _asks_for(config, WITH_TORCH) and _asks_for(config, WITH_ANSIBLE):
        with contextlib.suppress(ModuleNotFoundError):
            import torch._dynamo  # noqa: F401, PLC0415  # light installations test the agent without torch
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def _asks_for(config: pytest.Config, folders: Iterable[str]) -> bool:
    """Whether tests of one of these folders may be collected."""
    asked = [config.invocation_params.dir / argument.split("::")[0] for argument in config.args]
    wanted = [TESTS / folder for folder in folders]
    return any(path.is_relative_to(folder) or folder.is_relative_to(path) for path in asked for folder in wanted)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; within a file the order stays."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    path = item.path.relative_to(TESTS).as_posix()
    return next((rank for rank, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))
