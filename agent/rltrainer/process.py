"""What the libraries below Python read from the environment when a process begins.

Memory: a gradient step allocates and frees the same tens of megabytes each time. By default glibc gives large blocks
back to the kernel when they are freed, and each step pays thousands of page faults to get them again; in huge pages
they also cost fewer address translations (glibc manual, "Memory Allocation Tunables").

Threads: those that wait for the next layer look out for it for some microseconds, then leave the CPU to the games.
Asleep at once they would have to be woken for each layer, looking on they would take the games' time (libgomp manual).
"""

from __future__ import annotations

import os
import sys
from typing import Final

_TUNABLES: Final = {"mmap_threshold": 1 << 30, "trim_threshold": 1 << 30, "hugetlb": 1}
_ENVIRONMENT: Final = {
    "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in _TUNABLES.items()),
    "GOMP_SPINCOUNT": "10000",
}


def begin_again() -> None:
    """Begin this process again, with its PID and arguments, in such an environment; nothing is done if it is in one.

    What somebody has set otherwise is left so. Another C library, or an older one, passes over what it doesn't know.
    """
    missing = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    if missing:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)  # noqa: S606 - itself
