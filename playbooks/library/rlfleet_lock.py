"""The deploy lock of one host: who deploys there now. Its action plugin on the controller says who asks.

Owns the file; must not judge whether the holder is alive: only its controller can know. Runs on the host.
"""  # noqa: INP001  # Ansible loads it by its path, it is no package

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rlfleet_lock
short_description: Take or give back the deploy lock of a host
description:
  - Two runs of the playbooks on one host at once would remove each other's files; the second is refused.
  - A lock of a run that is dead is taken over. Whether it is dead the controller sees by its process if it is the same
    controller, and else by the lock's age.
options:
  root:
    description: The root folder of the deployment.
    type: path
    required: true
  state:
    description: Take it, or give it back.
    type: str
    choices: [held, free]
    required: true
  holder:
    description: Who asks; filled in by the action plugin.
    type: dict
  replace:
    description: The run whose lock is known to be dead; filled in by the action plugin.
    type: str
    default: ""
  stale_minutes:
    description: After so long without a sign of life the lock of another controller is taken over.
    type: int
    default: 120
  force:
    description: Take the lock over, whoever holds it.
    type: bool
    default: false
author:
  - The rlfleet authors
"""

EXAMPLES = r"""
- name: Take the deploy lock
  rlfleet_lock:
    root: /opt/rlfleet
    state: held
"""

RETURN = r"""
held_by:
  description: The other run that holds the lock, and the age of its last sign of life in seconds (age_s).
  returned: when the lock was not given
  type: dict
"""

NAME = ".deploy-lock"


def main() -> None:
    """Answer Ansible."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["held", "free"], "required": True},
            "holder": {"type": "dict"},
            "replace": {"type": "str", "default": ""},
            "stale_minutes": {"type": "int", "default": 120},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    root, holder = Path(module.params["root"]), module.params["holder"]
    if not root.is_dir():
        module.exit_json(changed=False)  # nothing is there that could be locked: a dry run, or after uninstall
    # The lock comes and goes with each run: it is no change of the host.
    if module.params["state"] == "free":
        give_back(root, holder["run"])
        module.exit_json(changed=False)
    other = take(root, holder, module.params["replace"], dry=module.check_mode)
    module.exit_json(changed=False, **({"held_by": other} if other else {}))


def take(root: Path, holder: dict[str, Any], replace: str, *, dry: bool = False) -> dict[str, Any] | None:
    """Take the lock, again too; returns the other holder if there is one that is not to be replaced. Raises OSError."""
    with alone(root):
        held = look(root)
        if held is not None and held["run"] not in (holder["run"], replace):
            return held
        if not dry:
            temporary = root / f"{NAME}.tmp"
            temporary.write_text(json.dumps(holder), encoding="utf-8")
            temporary.replace(root / NAME)
    return None


def give_back(root: Path, run: str) -> bool:
    """Remove the lock if this run holds it; tells whether it did. Raises OSError."""
    with alone(root):
        held = look(root)
        if held is None or held["run"] != run:
            return False
        (root / NAME).unlink()
        return True


def look(root: Path) -> dict[str, Any] | None:
    """Return who holds the lock; a file that a power cut left empty is none."""
    path = root / NAME
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {**held, "run": str(held["run"]), "age_s": max(0.0, time.time() - path.stat().st_mtime)}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let one process at a time look and act. Raises OSError."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
