"""What holds for the whole test run."""

from __future__ import annotations

import contextlib


def pytest_configure() -> None:
    """Load torch's compiler before any test loads Ansible.

    Ansible replaces `sys.intern` in its process, and torch refuses to load its compiler after that. In production the
    two never share a process; here they do.
    """
    with contextlib.suppress(ModuleNotFoundError):
        import torch._dynamo  # noqa: F401, PLC0415  # light installations test the agent without torch
