"""Brings a dead agent back at any contact: on a host without a boot hook nothing else does after a restart.

Only where a deployment says how its agent is kept: $RLFLEET_SERVICE, set by its wrapper, is the systemd unit's name, or
`detached`. A variable and not an option, so that an older release behind a newer wrapper just ignores it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rlagent import client
from rlagent.paths import Paths
from rlagent.protocol import messages

VARIABLE = "RLFLEET_SERVICE"
DETACHED = "detached"
START_S = 20.0
_BOOTED = Path("/run/systemd/system")
"""There exactly where systemd is PID 1."""
_POLL_S = 0.05


def revive(paths: Paths, environ: Mapping[str, str], detach: Callable[[], bool]) -> str | None:
    """Start the agent of a deployment; return how, or None when that failed or is not for us to do.

    `detach` starts it in the background and tells whether it answers.
    """
    unit = environ.get(VARIABLE, "")
    if not unit:
        return None
    if unit != DETACHED and _BOOTED.exists() and _start_unit(unit) and _answers(paths, START_S):
        return f"the agent was dead: started by systemctl start {unit}"
    # Without the right to start the unit an agent outside of it is better than none; the next deployment moves it in.
    return "the agent was dead: started in the background" if detach() else None


def _start_unit(unit: str) -> bool:
    words = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        done = subprocess.run(
            [*words, "systemctl", "start", unit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _answers(paths: Paths, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if client.call(paths.socket, messages.encode(messages.Ping()), timeout_s=2.0).ok:
            return True
        time.sleep(_POLL_S)
    return False
