"""What a host of the lab is like, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["vm", "container"]


@dataclass(frozen=True)
class Spec:
    """A host to be made.

    Attributes:
        kind: "vm" has systemd as PID 1; "container" has none, only sshd.
        binds: Folders of this machine that the host sees read-only, with their places there.
        disks: Sizes in MiB of small disks, by their places there; they keep their files while the host is off.
        cron: Whether a container runs cron (on both kinds it is installed).
        own_clock: Whether its wall clock can be shifted.
    """

    kind: Kind = "vm"
    binds: Mapping[Path, str] = field(default_factory=dict)
    disks: Mapping[str, int] = field(default_factory=dict)
    cron: bool = False
    own_clock: bool = False


def mixed(count: int) -> list[Spec]:
    """Return hosts of both kinds: every third is a container."""
    return [Spec("container" if index % 3 == 2 else "vm") for index in range(count)]
