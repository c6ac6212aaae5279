"""What other programs on this host say when they are asked; asking changes nothing."""

from __future__ import annotations

import subprocess
from typing import Final

ASK_S: Final = 15.0
"""A program that takes longer has nothing to say."""


def said(words: list[str]) -> str:
    """Return what a command prints; empty where it can't be run. Its exit code is no matter: degraded is one too."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=ASK_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
