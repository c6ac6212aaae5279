"""Signals to exactly the process that is meant, never to a later one with its pid."""

from __future__ import annotations

import contextlib
import os
import signal

from rlagent.supervisor import procfs


def send(pid: int, ticks: int, *numbers: int) -> bool:
    """Send signals to a process named by its pid and start; False when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        descriptor = None  # gone, or a kernel before 5.3: then the look at its start must do
    try:
        if procfs.start_ticks(pid) != ticks:
            return False
        for number in numbers:
            if descriptor is None:
                os.kill(pid, number)
            else:
                signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return True


def kill(pid: int) -> None:
    """Kill a process that was just seen."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
