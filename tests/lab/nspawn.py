"""The words that boot a host with systemd-nspawn. Pure: builds commands and runs none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

SYSTEMD = ("--boot",)
"""A VM: systemd as PID 1."""


def container(*, cron: bool) -> tuple[str, ...]:
    """Return how a container starts: no systemd; sshd is PID 2, below a minimal init, as with `docker run --init`."""
    # nspawn makes up a boot id at each start; a container of a rented server shows its machine's, always the same.
    script = "umount /proc/sys/kernel/random/boot_id; mkdir -p /run/sshd; "
    return ("--as-pid2", "sh", "-c", f"{script}{'cron; ' if cron else ''}exec /usr/sbin/sshd -D")


def words(
    root: Path, machine: str, name: str, network: Path, borrowed: Mapping[Path, str], disks: Iterable[tuple[Path, str]]
) -> list[str]:
    """Return the command up to how the host starts; folders are pairs of a place here and one in the host."""
    return [
        "systemd-nspawn",
        "--quiet",
        f"--directory={root}",
        f"--machine={machine}",
        f"--hostname={name}",
        f"--network-namespace-path={network}",
        # Neither systemd nor machined need run here: the lab is the host's unit.
        "--register=no",
        "--keep-unit",
        "--settings=no",
        # The host's files are its own.
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
        *(f"--bind-ro={here}:{there}" for here, there in borrowed.items()),
        *(f"--bind={here}:{there}" for here, there in disks),
    ]
