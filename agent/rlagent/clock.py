"""Policy time: seconds that only grow, go on across agent restarts and reboots, and can't be moved by the wall clock.

Pure but for the clocks that are passed in.
"""

from __future__ import annotations

from collections.abc import Callable

from rlagent.journal import Stamp


class PolicyClock:
    """Maps the kernel's monotonic clock to policy time."""

    def __init__(
        self,
        last: Stamp | None,
        boot: str,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
        window_s: float,
    ) -> None:
        """Go on from the last journaled stamp; `window_s` limits what a reboot can add."""
        self.boot = boot
        self._monotonic, self._wall = monotonic, wall
        now = monotonic()
        start = 0.0 if last is None else last.t + gap_s(last, boot, now, wall(), window_s)
        self._offset = start - now

    def stamp(self) -> Stamp:
        """Read the clocks."""
        monotonic = self._monotonic()
        return Stamp(t=monotonic + self._offset, wall=self._wall(), monotonic=monotonic, boot=self.boot)


def gap_s(last: Stamp, boot: str, monotonic: float, wall: float, window_s: float) -> float:
    """Return the seconds between the last stamp and now.

    Within one boot the monotonic clock tells. Across a reboot only the wall clock can, and it may have jumped: ages
    grow by the downtime it shows, but never by less than 0 or more than one window. So a jump can't promote, and can
    forgive at most one window's incidents. A restarted container keeps the kernel's clock but is bounded the same way.
    """
    same_kernel = boot.partition("/")[0] == last.boot.partition("/")[0] and monotonic >= last.monotonic
    if boot == last.boot and same_kernel:
        return monotonic - last.monotonic
    gap = monotonic - last.monotonic if same_kernel else wall - last.wall
    return min(max(0.0, gap), window_s)
