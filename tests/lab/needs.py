"""Tells whether this machine can hold a lab, and if not, why: the reason that skipped tests show."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

from lab import cgroup, places

PACKAGES = ("systemd-container", "mmdebstrap", "iproute2", "openssh-client")
"""Debian's packages that a lab needs."""

_COMMANDS = (
    "systemd-nspawn",
    "mmdebstrap",
    "ip",
    "bridge",
    "ssh",
    "ssh-keygen",
    "nsenter",
    "unshare",
    "mount",
    "umount",
)


@functools.cache
def missing() -> str | None:
    """Return why no lab can run here, with what to do about it, or None if one can."""
    if sys.platform != "linux":
        return "the lab needs Linux: it boots hosts with systemd-nspawn"
    if os.geteuid() != 0:
        return "the lab needs root: it boots hosts in network namespaces (run it with sudo)"
    absent = [command for command in _COMMANDS if shutil.which(command) is None]
    if absent:
        return f"the lab needs {', '.join(absent)}: apt-get install {' '.join(PACKAGES)}"
    if cgroup.unified() is None:
        return "the lab needs control groups of version 2: none are mounted here"
    return _namespaces() or _kill() or _overlay()


def _kill() -> str | None:
    """Make a control group and look for the switch that kills all in it."""
    group = cgroup.Group("probe")
    try:
        group.create()
        return None if group.can_kill() else "the lab needs Linux 5.14 or later: control groups without cgroup.kill"
    except OSError as error:
        return f"the lab needs to make control groups, and may not: {error}"
    finally:
        group.remove()


def _namespaces() -> str | None:
    said = _try("unshare", "--net", "--mount", "--pid", "--fork", "true")
    return None if said is None else f"the lab needs namespaces, and may not make them here: {said}"


def _overlay() -> str | None:
    """Mount an overlay where nobody else sees it."""
    places.STATE.mkdir(parents=True, exist_ok=True)
    script = (
        'd=$(mktemp -d -p "$0") && mkdir "$d/l" "$d/u" "$d/w" "$d/m" && '
        'mount -t overlay overlay -o "lowerdir=$d/l,upperdir=$d/u,workdir=$d/w" "$d/m"; '
        'code=$?; umount "$d/m" 2>/dev/null; rm -rf "$d"; exit $code'
    )
    said = _try("unshare", "--mount", "sh", "-c", script, places.STATE)
    return None if said is None else f"the lab needs overlay mounts below {places.STATE}: {said}"


def _try(*words: object) -> str | None:
    """Run a command; return its last words if it failed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, check=False)
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else None
