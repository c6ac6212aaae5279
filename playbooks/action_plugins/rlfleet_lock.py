"""The controller's half of the deploy lock: says who asks, and judges whether another holder is still alive."""  # noqa: INP001

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible publishes no types
    """Asks the module on the host for the lock, once more where the present holder turns out to be dead."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's answer; a lock that somebody living holds is a failure that names the holder."""
        super().run(tmp, task_vars)
        arguments = {**self._task.args, "holder": holder()}
        result = self._ask(arguments, task_vars)
        held = result.get("held_by")
        if not held:
            return result
        why = dead(held, int(arguments.get("stale_minutes", 120)) * 60, here())
        if why is None and self._truth(arguments.get("force")):
            why = "told to by rlfleet_break_lock"
        host = (task_vars or {}).get("inventory_hostname", "")
        if why is None:
            return {"failed": True, "changed": False, "msg": refusal(host, held)}
        result = self._ask({**arguments, "replace": held["run"]}, task_vars)
        if result.get("held_by"):
            return {"failed": True, "changed": False, "msg": refusal(host, result["held_by"])}
        result.setdefault("warnings", []).append(f"{host}: took over the deploy lock of {name(held)}: {why}")
        return result

    def _ask(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="rlfleet_lock", module_args=arguments, task_vars=task_vars
        )
        return answer

    @staticmethod
    def _truth(value: object) -> bool:
        return str(value).lower() in ("true", "yes", "1")


def here() -> dict[str, str]:
    """Return what names this controller and its boot."""
    return {
        "machine": _read("/etc/machine-id") or socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
    }


def holder() -> dict[str, Any]:
    """Return who asks: the ansible-playbook that this process was forked from."""
    pid = os.getppid()
    born = started(pid)
    where = here()
    return {
        "run": f"{where['machine']}/{where['boot']}/{pid}/{born}",
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
        "pid": pid,
        "started": born,
        **where,
    }


def dead(held: dict[str, Any], stale_s: float, where: dict[str, str]) -> str | None:
    """Return why the holder must be dead, or None when it may be alive."""
    if held.get("machine") != where["machine"]:
        silent_s = float(held["age_s"])
        return f"no sign of life for {silent_s / 60:.0f} min" if silent_s > stale_s else None
    if held.get("boot") != where["boot"]:
        return "that controller has rebooted since"
    return None if started(int(held["pid"])) == held.get("started") else "that run has ended without giving it back"


def refusal(host: str, held: dict[str, Any]) -> str:
    """Return why a lock is not given, and the next step."""
    return (
        f"{host}: {name(held)} is deploying here (its last sign of life is {float(held['age_s']) / 60:.0f} min old). "
        "Nothing was changed. Wait until it has ended; if you know that it is dead: -e rlfleet_break_lock=true"
    )


def name(held: dict[str, Any]) -> str:
    """Return a holder's name for people."""
    return f"{held.get('who', 'somebody')} (process {held.get('pid', '?')})"


def started(pid: int) -> str:
    """Return when a process started, in ticks; empty when there is none (or no /proc: then only `kill -0` tells)."""
    content = _read(f"/proc/{pid}/stat")
    if content:
        fields = content.rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
