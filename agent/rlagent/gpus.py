"""Which GPU a trainer uses on a host with several: dealt out by slot, so that a restart comes back to the same one.

Decides nothing on a host with one GPU or none, nor where somebody has set CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from rlagent.probe.gpu import NOT_READ_YET
from rlagent.world import Gpus

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
ORDER: Final = "CUDA_DEVICE_ORDER"


class GpuSpread:
    """Deals out the GPUs that the driver shows, or last showed: a driver that hangs now does not take them away."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._known: tuple[int, ...] = ()

    def is_known(self) -> bool:
        """Whether the driver has said its first word, or stayed silent for too long: until then a start waits."""
        shown, error = self._gpus.readings()
        if shown:
            self._known = tuple(gpu.index for gpu in shown)
        return bool(self._known) or error != NOT_READ_YET

    def variables(self, slot: int | None, lost: Collection[int], environ: Mapping[str, str]) -> dict[str, str]:
        """Return what a trainer's environment needs so that it sees only its GPU.

        Args:
            slot: of its game.
            lost: GPUs that the driver lost; others take over their trainers, as long as there are any.
            environ: the trainer's environment so far.
        """
        if len(self._known) < 2 or slot is None or VISIBLE in environ:
            return {}
        mine = self._known[slot % len(self._known)]
        healthy = [gpu for gpu in self._known if gpu not in lost]
        if mine in lost and healthy:
            mine = healthy[slot % len(healthy)]
        # NVML counts by bus address; CUDA's own order begins with the fastest.
        return {VISIBLE: str(mine), ORDER: "PCI_BUS_ID"}
