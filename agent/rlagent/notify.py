"""What the agent tells systemd: that it is ready, that it is alive, that it ends (sd_notify's protocol).

Where systemd did not start it, nothing is said. Never raises: an agent must not end because nobody listens.
Protocol: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

WATCHDOG_SHARE = 1 / 3
"""Signs of life come so much more often than systemd needs them."""


class Notifier:
    """The line to systemd, as the environment names it."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        """Find out whether somebody listens to this process."""
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the NUL of an abstract address.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watched = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        usec = environ.get("WATCHDOG_USEC", "")
        self._pause_s = int(usec) / 1e6 * WATCHDOG_SHARE if usec.isdecimal() and int(usec) > 0 and watched else None
        self._last_s = 0.0

    @property
    def pause_s(self) -> float | None:
        """Seconds between two signs of life; None: nobody waits for them."""
        return self._pause_s if self._address else None

    def ready(self, status: str) -> None:
        """Say that requests are answered from now on."""
        self._send(f"READY=1\nSTATUS={status}\n")

    def alive(self, status: str) -> None:
        """Say that the loop goes round, and what `systemctl status` shows; at most as often as needed."""
        now = time.monotonic()
        if self.pause_s is not None and now >= self._last_s + self.pause_s:
            self._last_s = now
            self._send(f"WATCHDOG=1\nSTATUS={status}\n")

    def ending(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1\n")

    def _send(self, text: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(errors="replace"), self._address)


def of_process() -> Notifier:
    """Return this process's own line."""
    return Notifier(os.environ, os.getpid())
