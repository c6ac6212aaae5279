"""The root file system that all hosts share, read-only below their overlays: Debian 12, made once by mmdebstrap.

Cached on the machine by what is in it, so that another checkout with another list makes its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import places
from lab.commands import LabError, run

SUITE = "bookworm"
PYTHON = (3, 11)
"""The version of the suite's own Python."""

PACKAGES = (
    "ca-certificates", "cron", "dbus", "iproute2", "libgomp1", "libpam-systemd", "openssh-server", "procps", "python3",
    "python3-venv", "sudo", "systemd", "systemd-sysv",
)  # fmt: skip
"""What a rented server has. libgomp1: torch of the controller needs it."""

USER = "ubuntu"
USER_ID = 1000

_MIRROR = os.environ.get("RLFLEET_LAB_MIRROR", "")
"""Where Debian's packages come from, if not from mmdebstrap's default."""

_TRIALS, _TRIAL_PAUSE_S = 3, 10.0

_CUSTOMISE = (
    f"useradd --create-home --uid {USER_ID} --shell /bin/bash {USER}",
    f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}",
    f"install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh",
    # Each host gets keys and an id of its own.
    "rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id",
    # As on the rented servers: cron is there, and nobody runs it. The rest has nothing to do here.
    "systemctl disable cron.service e2scrub_reap.service",
    "systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer dpkg-db-backup.timer fstrim.timer",
    "mkdir -p /run/sshd",
)


def key() -> str:
    """Return the name of the image that this code makes."""
    recipe = "\n".join([SUITE, *PACKAGES, *_CUSTOMISE])
    return f"{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure() -> Path:
    """Return the image, made first if there is none yet (about 30 s); raises `LabError`."""
    image = places.IMAGES / key()
    if image.is_dir():
        return image
    with _only_one(places.IMAGES):
        if not image.is_dir():
            for left in places.IMAGES.glob("*.partial"):
                shutil.rmtree(left)
            print(f"lab: making the hosts' base image {image} (half a minute, once)", file=sys.stderr, flush=True)
            _build(image.with_suffix(".partial")).rename(image)
    return image


def _build(folder: Path) -> Path:
    hooks = [f"--customize-hook=chroot \"$1\" sh -c '{_quoted(line)}'" for line in _CUSTOMISE]
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *hooks, SUITE, folder]
    for trial in range(_TRIALS):
        try:
            run(*words, *([_MIRROR] if _MIRROR else []), timeout=900)
            break
        except LabError as error:  # a mirror that is just not to be reached, most often
            shutil.rmtree(folder, ignore_errors=True)
            if trial == _TRIALS - 1:
                raise
            print(f"lab: once more: {error}", file=sys.stderr, flush=True)
            time.sleep(_TRIAL_PAUSE_S)
    return folder


def _quoted(line: str) -> str:
    """Return a line as it stands within single quotes."""
    return line.replace("'", "'\\''")


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Let one process at a time in."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
