"""Reboots this host where it can do that by itself, and says why not where it can't.

Owns the way; that a reboot is announced, and trainers have stopped, is the caller's business. Runs as the user of an
SSH session and not in the agent, whose unit may gain no rights.
"""

from __future__ import annotations

import os
import subprocess

from rlagent.answers import said

CHECK_S = 15.0


class CannotRebootError(Exception):
    """This host can't reboot itself: why, in a sentence with the next step."""


def check() -> None:
    """Find out whether `reboot` would work; raises CannotRebootError."""
    state = said(["systemctl", "is-system-running"])
    if state in ("", "offline", "unknown"):
        raise CannotRebootError(
            "no systemd runs here, as in many containers, and what would restart it is not known; restart it in its "
            "provider's console, announced by: rlctl reboot --by-hand"
        )
    if os.geteuid() != 0 and not _works(["sudo", "-n", "true"]):
        raise CannotRebootError("sudo asks for a password here; allow it without, or: rlctl reboot --by-hand")


def reboot() -> None:
    """Reboot, returning before it happens; raises CannotRebootError."""
    check()
    words = [*([] if os.geteuid() == 0 else ["sudo", "-n"]), "systemctl", "reboot"]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=CHECK_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRebootError(f"{' '.join(words)}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CannotRebootError(f"{' '.join(words)}: {said}")


def _works(words: list[str]) -> bool:
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=CHECK_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
