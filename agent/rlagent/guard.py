"""Sees trouble before it kills the host: memory, disk, heat, falling speed. Pure: readings and time are passed in.

Judges only whether something has been wrong for too long; what follows is the policy's decision (`policy.guard`), and
the finding is journaled with its evidence as `guard_tripped`.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator

import msgspec

from rlagent.config import GuardSection
from rlagent.policy.events import GuardCause
from rlagent.policy.text import duration
from rlagent.protocol.status import GpuStatus, HostReadings

REPEAT_S = 600.0
"""Trouble that goes on after a step down leads to the next one after so long."""
REPEAT_LOG_S = 3600.0
"""Without acting it is said again after so long."""
BLIND_S = 60.0
"""After so long without a sample nothing is known of the time between."""
SPEED_SAMPLE_S = 10.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What was read at one moment."""

    at: float
    """Monotonic seconds."""
    host: HostReadings
    gpus: tuple[GpuStatus, ...] = ()
    sps: float | None = None
    """Steps per second of all trainers together; None while not all of them make progress."""
    work: object = None
    """What runs: the speeds of other work are not compared."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something has been wrong for too long."""

    cause: GuardCause
    evidence: str


class Guard:
    """Watches samples against the limits of the configuration."""

    def __init__(self, settings: GuardSection) -> None:
        self._settings = settings
        self._speed = Speed(settings.sps_fall_minutes * 60)
        self._since: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._last_at: float | None = None
        self._current: dict[str, str] = {}

    def look(self, sample: Sample) -> list[Finding]:
        """Return what has just become, or is still, wrong for too long."""
        if self._settings.mode == "off":
            return []
        if self._last_at is not None and sample.at - self._last_at > BLIND_S:
            self._since.clear()
        self._last_at = sample.at
        found, wrong = [], {}
        for key, cause, text, patience_s in self._wrongs(sample):
            since = self._since.setdefault(key, sample.at)
            if sample.at - since < patience_s:
                wrong[key] = ""
                continue
            lasted = f" for {duration(sample.at - since)}" if patience_s else ""
            wrong[key] = text.format(lasted=lasted)
            if sample.at - self._said.get(key, float("-inf")) >= self._repeat_s:
                self._said[key] = sample.at
                found.append(Finding(cause=cause, evidence=wrong[key]))
        self._since = {key: at for key, at in self._since.items() if key in wrong}
        self._said = {key: at for key, at in self._said.items() if key in wrong}
        self._current = wrong
        return found

    def warnings(self) -> list[str]:
        """Return what is wrong now."""
        return [f"guard: {text}" for text in self._current.values() if text]

    @property
    def _repeat_s(self) -> float:
        return REPEAT_S if self._settings.mode == "act" else REPEAT_LOG_S

    def _wrongs(self, sample: Sample) -> Iterator[tuple[str, GuardCause, str, float]]:
        """Yield what is over its limit: its key, its cause, its text, and how long it may last."""
        limit, host = self._settings, sample.host
        pressure, available, total = host.memory_pressure_percent, host.memory_available_mib, host.memory_total_mib
        if pressure is not None and pressure >= limit.memory_pressure_percent:
            text = f"memory pressure {pressure:.0f}%{{lasted}} (limit {limit.memory_pressure_percent:g}%)"
            yield "pressure", "memory", text, limit.memory_s
        if available is not None and total and 100 * available / total <= limit.memory_available_percent:
            share = 100 * available / total
            text = (
                f"{available:.0f} of {total:.0f} MiB memory available{{lasted}}: {share:.1f}% "
                f"(limit {limit.memory_available_percent:g}%)"
            )
            yield "available", "memory", text, limit.memory_s
        if host.disk_free_mib is not None and host.disk_free_mib <= limit.disk_free_mib:
            text = f"{host.disk_free_mib:.0f} MiB free on the disk (limit {limit.disk_free_mib:g} MiB)"
            yield "disk", "disk", text, 0.0
        for gpu in sample.gpus:
            if gpu.temperature_c is not None and gpu.temperature_c >= limit.gpu_temperature_c:
                text = f"GPU {gpu.index} at {gpu.temperature_c:.0f} C{{lasted}} (limit {limit.gpu_temperature_c:g} C)"
                yield f"heat {gpu.index}", "gpu_temperature", text, limit.gpu_s
            if gpu.throttled:
                text = f"GPU {gpu.index} slowed down for heat or power{{lasted}}"
                yield f"throttle {gpu.index}", "gpu_throttle", text, limit.gpu_s
        fall = self._speed.fall(sample)
        if fall is not None and fall[0] <= fall[1] * (1 - limit.sps_fall_percent / 100):
            text = (
                f"{fall[0]:.0f} steps/s over {limit.sps_fall_minutes:g} min where it was {fall[1]:.0f} "
                f"(limit: a fall of {limit.sps_fall_percent:g}%)"
            )
            yield "sps", "sps", text, 0.0


class Speed:
    """The speed of the same work: its median over a window, and the best such median so far."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, float]] = deque()
        self._best = 0.0
        self._work: object = None

    def fall(self, sample: Sample) -> tuple[float, float] | None:
        """Take a sample; returns the present speed and the best one, or None while there is no full window."""
        if sample.work != self._work:
            self._work, self._best = sample.work, 0.0
            self._seen.clear()
        if sample.sps is None:
            self._seen.clear()  # a start is slow by nature; the best speed stays
            return None
        if not self._seen or sample.at >= self._seen[-1][0] + SPEED_SAMPLE_S:
            self._seen.append((sample.at, sample.sps))
        if sample.at - self._seen[0][0] < self._window_s:
            return None
        while len(self._seen) > 1 and sample.at - self._seen[1][0] >= self._window_s:
            self._seen.popleft()
        present = statistics.median(sps for _, sps in self._seen)
        self._best = max(self._best, present)
        return present, self._best
