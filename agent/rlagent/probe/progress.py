"""A trainer's heartbeat: when its progress file changed, when its step count grew, whether it stalls or hangs.

Owns reading and judging; time is passed in (monotonic seconds). A file that is no report is no heartbeat. Must not
write.
"""

from __future__ import annotations

import os
import stat
import statistics
from collections import deque
from pathlib import Path

import msgspec

from rlagent.protocol.progress import Progress, decode

BYTES_MAX = 65536
"""A larger file is no report."""
STEP_MAX = 2**53
"""Larger counts are no counts, and JSON readers would round them."""
FRAMESKIP_MAX = 1000
INTERVALS_KEPT = 20
STALL_S_MIN = 5.0
"""Shorter silences are nothing."""
STALL_FACTOR = 3.0
HANG_FACTOR = 5.0
BLIND_FACTOR = 5.0
"""A pause between two looks this much longer than the one before was not the trainer's: the agent itself, or the
whole host, stood still."""
BLIND_S_MIN = 5.0
STOPPING = "stopping"
"""The phase in a report of a trainer that was told to end."""


class Heartbeat:
    """The reports of one game, over all its attempts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: tuple[int, int, int] | None = None
        self._intervals: deque[float] = deque(maxlen=INTERVALS_KEPT)
        self.last: Progress | None = None
        """The newest report, of whichever attempt."""
        self.warning: str | None = None
        """What is wrong with the file, for people."""
        self._fresh: Progress | None = None
        self._own: Progress | None = None
        """The newest report that can be of this attempt; also one that an agent found when it took over."""
        self._began = 0.0
        self._grew: float | None = None
        self._looked: float | None = None
        self._pause_s = 0.0
        self._muted_s = 0.0
        """Of the silence, seconds in which no report could be written."""

    def begin(self, now: float) -> None:
        """A new attempt starts, or an agent takes over: reports count from here."""
        takes_over = self._looked is None
        self.look(now)
        self._own = self._own if takes_over else None
        self._fresh, self._grew, self._began, self._muted_s = None, None, now, 0.0
        self._intervals.clear()

    def look(self, now: float, *, disk_full: bool = False) -> bool:
        """Read the file if it changed; True when it shows new steps of this attempt.

        disk_full: since the last look no report could be written. That silence is a stall, but never makes a hang.
        """
        counted_s = self._excuse(now)
        self._muted_s += counted_s if disk_full else 0.0
        signature = self._stat()
        if signature is None or signature == self._signature:
            return False
        self._signature = signature
        report = self._read()
        if report is None:
            return False
        before, self.last, self._fresh, self._own = self._fresh, report, report, report
        if before is None or report.global_step <= before.global_step:
            # The first report of an attempt may repeat what its checkpoint had: only more than that is progress.
            return False
        self._intervals.append(now - (self._began if self._grew is None else self._grew))
        self._grew, self._muted_s = now, 0.0
        return True

    @property
    def said_stopping(self) -> bool:
        """Whether this attempt's last word is that it was told to end."""
        return self._own is not None and self._own.phase == STOPPING

    def silent_s(self, now: float) -> float:
        """Return the seconds since the last new step, or since the attempt began."""
        return now - (self._began if self._grew is None else self._grew)

    def is_stalled(self, now: float) -> bool:
        """Whether steps have not come for clearly longer than usual."""
        return self._grew is not None and self.silent_s(now) > max(STALL_FACTOR * self._usual_s(), STALL_S_MIN)

    def is_hung(self, now: float, hang_timeout_s: float, start_timeout_s: float) -> bool:
        """Whether steps have not come for so long that the trainer must be given up."""
        return self.hangs_in_s(now, hang_timeout_s, start_timeout_s) < 0

    def hangs_in_s(self, now: float, hang_timeout_s: float, start_timeout_s: float) -> float:
        """Return the seconds until the trainer must be given up if no step comes."""
        limit_s = start_timeout_s if self._grew is None else max(HANG_FACTOR * self._usual_s(), hang_timeout_s)
        return limit_s - self.silent_s(now) + self._muted_s

    def _excuse(self, now: float) -> float:
        """Don't count time in which nobody looked: a frozen host comes back with all its trainers silent.

        Returns:
            How much of the time since the last look counts.
        """
        counted_s = pause_s = 0.0 if self._looked is None else now - self._looked
        if pause_s > max(BLIND_FACTOR * self._pause_s, BLIND_S_MIN):
            counted_s = self._pause_s
            self._began += pause_s - self._pause_s
            self._grew = None if self._grew is None else self._grew + pause_s - self._pause_s
            # Should this be the usual pause from now on, a few of them teach it; one that is not teaches little.
            pause_s = min(pause_s, max(2 * self._pause_s, BLIND_S_MIN))
        # A turn out of turn, because some other trainer ended, doesn't make the next usual pause a long one.
        self._looked, self._pause_s = now, max(pause_s, self._pause_s / 2)
        return counted_s

    def _usual_s(self) -> float:
        # The first interval is the start-up, not a report interval.
        intervals = list(self._intervals)[1:] if len(self._intervals) < INTERVALS_KEPT else list(self._intervals)
        return statistics.median(intervals) if intervals else 0.0

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  # Path.stat follows the same way, this one is looked at each tick
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            self.warning = f"{self._path}: not a progress report: not a file"
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> Progress | None:
        self.warning = None
        try:
            report = decode(_content(self._path))
            fault = _impossible(report)
        except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            fault = str(error)
        if fault is None:
            return report
        self.warning = f"{self._path}: not a progress report: {fault}"
        return None


def _content(path: Path) -> bytes:
    """Return a small file's content. Raises OSError, ValueError."""
    # Not blocking: what was a file a moment ago may be a pipe by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(BYTES_MAX + 1) or b""
    if len(content) > BYTES_MAX:
        raise ValueError(f"larger than {BYTES_MAX} bytes")
    return content


def _impossible(report: Progress) -> str | None:
    """Return what can't be true of a report that is well-formed."""
    if not 0 <= report.global_step <= STEP_MAX:
        return "global_step must be between 0 and 2**53"
    if not 1 <= report.frameskip <= FRAMESKIP_MAX:
        return f"frameskip must be between 1 and {FRAMESKIP_MAX}"
    if report.checkpoint is not None and not 0 <= report.checkpoint.global_step <= STEP_MAX:
        return "checkpoint.global_step must be between 0 and 2**53"
    return None
