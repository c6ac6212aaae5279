"""The GPUs, read through pynvml by a thread of its own: a driver that hangs never stalls the agent.

Each field is optional; a reading that has grown old is no reading. Must not decide anything.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from rlagent.protocol.status import GpuStatus

POLL_S = 2.0
STALE_S = 10.0
"""A driver that takes longer than this to answer hangs, and what it said before is not shown."""
RETRY_S = 30.0
"""Without a driver it is looked for again after so long."""
MIB = 1024 * 1024
NOT_READ_YET = "not read yet"
"""Instead of readings, until the driver has said its first word."""
SLOWED = 0x08 | 0x20 | 0x40 | 0x80
"""NVML's reasons for held-down clocks that mean trouble: hardware, heat (software, hardware), power brake."""


class _Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    asked_at: float | None
    """Monotonic seconds since when the driver has owed an answer; None: it owes none."""
    gpus: tuple[GpuStatus, ...]
    error: str | None


class GpuProbe:
    """Reads every GPU every few seconds in the background."""

    def __init__(self, *, poll_s: float = POLL_S, stale_s: float = STALE_S, retry_s: float = RETRY_S) -> None:
        self._poll_s, self._stale_s, self._retry_s = poll_s, stale_s, retry_s
        self._snapshot = _Snapshot(asked_at=time.monotonic(), gpus=(), error=NOT_READ_YET)
        self._lost: frozenset[int] = frozenset()
        self._ending = threading.Event()
        # A daemon thread: one that hangs in the driver must not keep the agent from ending.
        threading.Thread(target=self._work, name="gpu-probe", daemon=True).start()

    def readings(self) -> tuple[list[GpuStatus], str | None]:
        """Return the GPUs, and why there are none."""
        snapshot = self._snapshot
        silent_s = 0.0 if snapshot.asked_at is None else time.monotonic() - snapshot.asked_at
        if silent_s > self._stale_s:
            return [], f"NVML has not answered for {silent_s:.0f} s"
        return list(snapshot.gpus), snapshot.error

    def lost(self) -> frozenset[int]:
        """Return the GPUs that the driver says are lost, as of its last answer."""
        return self._lost

    @property
    def has_answered(self) -> bool:
        """Whether the driver's last answer is fresh and tells of its GPUs: only then one that is not lost is back."""
        return self._snapshot.asked_at is None and bool(self._snapshot.gpus)

    def stop(self) -> None:
        """End the thread, unless it hangs."""
        self._ending.set()

    def _work(self) -> None:
        while not self._ending.is_set():
            self._ask()
            try:
                import pynvml  # noqa: PLC0415  # loads the driver's library: not in the main thread

                pynvml.nvmlInit()
            except Exception as error:  # noqa: BLE001  # whatever the driver does, the agent goes on
                self._answer((), _why(error))
            else:
                self._poll(pynvml)
            self._ending.wait(self._retry_s)

    def _poll(self, nvml: Any) -> None:  # noqa: ANN401  # the pynvml module
        """Read until the driver goes away as a whole."""
        while not self._ending.is_set():
            self._ask()
            try:
                gpus = tuple(self._read(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
            except Exception as error:  # noqa: BLE001  # as above
                # A session that survived a driver's restart would be broken for ever: the next one begins anew.
                with contextlib.suppress(Exception):
                    nvml.nvmlShutdown()
                self._answer((), _why(error))
                return
            self._answer(gpus, None if gpus else "the driver shows no GPU")
            self._ending.wait(self._poll_s)

    def _read(self, nvml: Any, index: int) -> GpuStatus:  # noqa: ANN401
        """Read one GPU; a field that the driver refuses is None."""
        refused: list[Exception] = []

        def field(read: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever the field holds
            try:
                return read()
            except Exception as error:  # noqa: BLE001  # one bad field must not cost the others
                refused.append(error)
                return None

        handle = field(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        if handle is None:
            self._note_loss(nvml, index, refused)
            return GpuStatus(index=index, error=str(refused[0]))
        rates = field(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        memory = field(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        name = field(lambda: nvml.nvmlDeviceGetName(handle))
        milliwatts = field(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        celsius = field(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        reasons = field(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        return GpuStatus(
            index=index,
            name=name.decode(errors="replace") if isinstance(name, bytes) else name,
            utilization_percent=rates,
            memory_used_mib=None if memory is None else memory.used / MIB,
            memory_total_mib=None if memory is None else memory.total / MIB,
            temperature_c=celsius,
            power_w=None if milliwatts is None else milliwatts / 1000,
            throttled=None if reasons is None else bool(reasons & SLOWED),
            error=self._note_loss(nvml, index, refused),
        )

    def _note_loss(self, nvml: Any, index: int, refused: list[Exception]) -> str | None:  # noqa: ANN401
        """Remember whether a GPU is lost; returns the driver's words for it."""
        lost = [error for error in refused if getattr(error, "value", None) == nvml.NVML_ERROR_GPU_IS_LOST]
        self._lost = self._lost | {index} if lost else self._lost - {index}
        return str(lost[0]) if lost else None

    def _ask(self) -> None:
        """Note that the driver owes an answer from now on."""
        self._snapshot = msgspec.structs.replace(self._snapshot, asked_at=time.monotonic())

    def _answer(self, gpus: tuple[GpuStatus, ...], error: str | None) -> None:
        self._snapshot = _Snapshot(asked_at=None, gpus=gpus, error=error)


def _why(error: Exception) -> str:
    if type(error).__name__ == "NVMLError_LibraryNotFound":
        return "no NVIDIA driver (NVML library not found)"
    return f"NVML: {error}"
