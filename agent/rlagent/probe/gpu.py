"""The GPUs, read through pynvml by a thread of its own: a driver that hangs never stalls the agent.

Each field is optional; a reading that has grown old is no reading. Must not decide anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from rlagent.protocol.status import GpuStatus

POLL_S = 2.0
STALE_S = 10.0
"""Older readings are not shown."""
RETRY_S = 30.0
"""Without a driver it is looked for again after so long."""
MIB = 1024 * 1024


class _Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    taken_at: float
    gpus: tuple[GpuStatus, ...]
    error: str | None


class GpuProbe:
    """Reads every GPU every few seconds in the background."""

    def __init__(self, *, poll_s: float = POLL_S, stale_s: float = STALE_S, retry_s: float = RETRY_S) -> None:
        self._poll_s, self._stale_s, self._retry_s = poll_s, stale_s, retry_s
        self._snapshot = _Snapshot(taken_at=time.monotonic(), gpus=(), error="not read yet")
        self._faults: list[str] = []
        self._lost: set[int] = set()
        self._ending = threading.Event()
        # A daemon thread: one that hangs in the driver must not keep the agent from ending.
        threading.Thread(target=self._work, name="gpu-probe", daemon=True).start()

    def readings(self) -> tuple[list[GpuStatus], str | None]:
        """Return the GPUs, and why there are none."""
        snapshot = self._snapshot
        age = time.monotonic() - snapshot.taken_at
        if age > self._stale_s and snapshot.error is None:
            return [], f"NVML has not answered for {age:.0f} s"
        return list(snapshot.gpus), snapshot.error

    def faults(self) -> list[str]:
        """Return the faults seen since the last call."""
        found, self._faults = self._faults, []
        return found

    def stop(self) -> None:
        """End the thread, unless it hangs."""
        self._ending.set()

    def _work(self) -> None:
        while not self._ending.is_set():
            try:
                import pynvml  # noqa: PLC0415  # loads the driver's library: not in the main thread

                pynvml.nvmlInit()
            except Exception as error:  # noqa: BLE001  # whatever the driver does, the agent goes on
                self._publish((), _why(error))
                self._ending.wait(self._retry_s)
                continue
            self._poll(pynvml)

    def _poll(self, nvml: Any) -> None:  # noqa: ANN401  # the pynvml module
        """Read until the driver goes away as a whole."""
        while not self._ending.is_set():
            try:
                count = nvml.nvmlDeviceGetCount()
                gpus = tuple(self._read(nvml, index) for index in range(count))
            except Exception as error:  # noqa: BLE001  # as above
                self._publish((), _why(error))
                self._ending.wait(self._retry_s)
                return
            self._publish(gpus, None if gpus else "the driver shows no GPU")
            self._ending.wait(self._poll_s)

    def _read(self, nvml: Any, index: int) -> GpuStatus:  # noqa: ANN401
        """Read one GPU; a field that the driver refuses is None."""
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            self._note_loss(nvml, index, error)
            return GpuStatus(index=index, error=str(error))
        lost: list[Exception] = []

        def field(read: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever the field holds
            try:
                return read()
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_GPU_IS_LOST:
                    lost.append(error)
                return None

        rates = field(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        memory = field(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        name = field(lambda: nvml.nvmlDeviceGetName(handle))
        milliwatts = field(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        celsius = field(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        if lost:
            self._note_loss(nvml, index, lost[0])
        else:
            self._lost.discard(index)
        return GpuStatus(
            index=index,
            name=name.decode() if isinstance(name, bytes) else name,
            utilization_percent=rates,
            memory_used_mib=None if memory is None else memory.used / MIB,
            memory_total_mib=None if memory is None else memory.total / MIB,
            temperature_c=celsius,
            power_w=None if milliwatts is None else milliwatts / 1000,
            error=str(lost[0]) if lost else None,
        )

    def _note_loss(self, nvml: Any, index: int, error: Exception) -> None:  # noqa: ANN401
        """Report a lost GPU once."""
        if getattr(error, "value", None) == nvml.NVML_ERROR_GPU_IS_LOST and index not in self._lost:
            self._lost.add(index)
            self._faults.append(f"GPU {index} is lost")

    def _publish(self, gpus: tuple[GpuStatus, ...], error: str | None) -> None:
        self._snapshot = _Snapshot(taken_at=time.monotonic(), gpus=gpus, error=error)


def _why(error: Exception) -> str:
    if type(error).__name__ == "NVMLError_LibraryNotFound":
        return "no NVIDIA driver (NVML library not found)"
    return f"NVML: {error}"
