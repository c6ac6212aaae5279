"""A host's disk: an overlay over the image, with what makes this host itself, and small disks of its own."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from lab import clock
from lab.commands import run
from lab.image import USER, USER_ID
from lab.spec import Spec

_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


def create(folder: Path, image: Path, name: str, authorized_key: str, spec: Spec) -> str:
    """Make and mount a host's disk in its folder; return the public key of its SSH server."""
    root = folder / "root"
    for part in ("root", "upper", "work"):
        (folder / part).mkdir(parents=True)
    layers = f"lowerdir={image},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    run("mount", "-t", "overlay", "overlay", "-o", layers, root)
    _identify(root, name, authorized_key)
    for target in spec.binds.values():
        _make_reachable(root, target)
    for place, mebibytes in spec.disks.items():
        outside = small_disk(folder, place)
        outside.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", small_disk_options(mebibytes), "lab-disk", outside)
        _make_reachable(root, place)
    if spec.own_clock:
        clock.install(root)
    return (root / f"{_HOST_KEY}.pub").read_text().strip()


def small_disk(folder: Path, place: str) -> Path:
    """Return where a host's small disk is on this machine."""
    return folder / "disks" / place.strip("/").replace("/", "-")


def small_disk_options(mebibytes: int) -> str:
    """Return how a small disk is mounted: the host's user owns it."""
    return f"size={mebibytes}M,mode=0755,uid={USER_ID},gid={USER_ID}"


def _identify(root: Path, name: str, authorized_key: str) -> None:
    """Give a disk what no other host has: its name, its ids, its keys."""
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    keys = root / "home" / USER / ".ssh" / "authorized_keys"
    keys.write_text(authorized_key)
    shutil.chown(keys, USER_ID, USER_ID)
    keys.chmod(0o600)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", root / _HOST_KEY)


def _make_reachable(root: Path, target: str) -> None:
    """Make a mount point, and let the user pass all folders above it: /root is closed, and Pythons lie below it."""
    place = root / target.strip("/")
    place.mkdir(parents=True, exist_ok=True)
    for above in place.parents:
        if above == root:
            break
        above.chmod(above.stat().st_mode | 0o011)
