"""A host's own wall clock, which can be shifted while it runs.

The kernel's wall clock is one for all (time namespaces only have monotonic ones), and shifting the machine's would hit
everybody on it. So the host's programs are told another time by `clock.c`, which /etc/ld.so.preload puts into each.
"""

from __future__ import annotations

import os
from pathlib import Path

from lab.commands import run

_SOURCE = Path(__file__).with_name("clock.c")
_LIBRARY = "usr/lib/lab-clock.so"
_SHIFT = "var/lib/lab-clock"
_NS = 1_000_000_000


def install(root: Path) -> None:
    """Give a host's disk a clock of its own; it needs a C compiler here, not there."""
    (root / _SHIFT).write_bytes(bytes(8))
    run("cc", "-O2", "-shared", "-fPIC", f'-DSHIFT_FILE="/{_SHIFT}"', "-o", root / _LIBRARY, _SOURCE)
    (root / "etc/ld.so.preload").write_text(f"/{_LIBRARY}\n")


def shift(root: Path, seconds: float) -> None:
    """Set how far a host's wall clock is from the real one, from this instant on, in all its processes."""
    handle = os.open(root / _SHIFT, os.O_WRONLY)  # written in place: running processes have this very file mapped
    try:
        os.pwrite(handle, round(seconds * _NS).to_bytes(8, "little", signed=True), 0)
    finally:
        os.close(handle)
