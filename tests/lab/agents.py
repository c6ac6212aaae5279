"""Real agents on a lab's hosts, run from this checkout instead of being deployed: quick to have on many hosts.

Each has the layout of a deployment below `ROOT` and is stopped at once, so that it answers and trains nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from lab.borrow import Borrowed
from lab.host import Host
from lab.image import USER_ID
from lab.places import CHECKOUT
from lab.spec import Kind, Spec

ROOT = "/opt/rlfleet"
AGENT = CHECKOUT / "agent"
_AT_ONCE = 4

_CONFIG = """\
[agent]
state_dir = "{root}/var"
tick_s = 5.0

[trainer]
command = ["sleep", "infinity"]

[[games]]
name = "Pong"
"""

_START = '{root}/bin/rlagent run --detach && {root}/bin/rlagent call \'{{"verb": "stop", "who": "lab"}}\''


def spec(python: Borrowed, kind: Kind = "container") -> Spec:
    """Return a host that can run an agent of this checkout."""
    return Spec(kind, binds={**python.binds, AGENT: str(AGENT)})


def start(hosts: Iterable[Host], python: Borrowed) -> None:
    """Install and start an agent on each of these running hosts; raises `LabError`."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda host: _start(host, python), hosts))


def _start(host: Host, python: Borrowed) -> None:
    root = host.root / ROOT.strip("/")
    for folder in ("bin", "etc", "var"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc" / "config.toml").write_text(_CONFIG.format(root=ROOT))
    program = root / "bin" / "rlagent"
    program.write_text(f'#!/bin/sh\nexec {python.python} -m rlagent --config {ROOT}/etc/config.toml "$@"\n')
    program.chmod(0o755)
    for path in (root, *root.rglob("*")):
        shutil.chown(path, USER_ID, USER_ID)
    # Without a contact: what looks like the first one is a test's own.
    host.as_user(_START.format(root=ROOT), timeout=240)
