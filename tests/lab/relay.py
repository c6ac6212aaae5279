"""A long cable: carries Ethernet frames between two taps, each with a delay. A program of its own, killed to stop it.

Not `tc netem`: many kernels are built without it, and a tap hands out plain frames (no offloads to take care of).
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import select
import struct
import sys
import time

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
FRAME_MAX = 65536


def open_tap(name: str) -> int:
    """Attach to a tap that exists; frames are read from and written to the handle."""
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return handle


def carry(one: int, other: int, delay_s: float) -> None:
    """Carry frames both ways for ever."""
    waiting: collections.deque[tuple[float, int, bytes]] = collections.deque()  # in order: the delay is constant
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([one, other], [], [], patience)
        for handle in ready:
            with contextlib.suppress(BlockingIOError):
                waiting.append(
                    (time.monotonic() + delay_s, other if handle == one else one, os.read(handle, FRAME_MAX))
                )
        while waiting and waiting[0][0] <= time.monotonic():
            _, target, frame = waiting.popleft()
            with contextlib.suppress(OSError):  # a cable whose end is unplugged loses frames
                os.write(target, frame)


if __name__ == "__main__":
    taps = open_tap(sys.argv[1]), open_tap(sys.argv[2])
    print("ready", flush=True)
    carry(*taps, delay_s=float(sys.argv[3]) / 1000)
