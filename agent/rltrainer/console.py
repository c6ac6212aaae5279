"""The trainer's log: lines on stdout.

Written straight to the descriptor: a full disk or a reader that is gone must not end a training run, and a signal
handler may write too, both of which Python's buffered stdout gets wrong.
"""

from __future__ import annotations

import os
from contextlib import suppress


def say(line: str) -> None:
    """Write one line to stdout; a line that can't be written is lost."""
    with suppress(OSError):
        os.write(1, f"{line}\n".encode())
