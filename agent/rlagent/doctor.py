"""Looks for what is wrong, or will be, on this host; each finding with its fix. Reads only, and never raises.

Works without a running agent: that it does not run is one of the findings.
"""

from __future__ import annotations

import os
import platform
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rlagent import __version__, client
from rlagent.answers import said
from rlagent.config import Config, ConfigError, load
from rlagent.paths import Paths
from rlagent.probe import host
from rlagent.probe.gpu import GpuProbe
from rlagent.protocol import messages
from rlagent.protocol.checks import Check, Examination, fault, good, warning
from rlagent.protocol.status import AgentStatus

PYTHONS: Final = ((3, 10), (3, 13))
DISK_LOW_MIB: Final = 5 * 1024
DISK_FULL_MIB: Final = 1024
DISK_LOW_SHARE: Final = 0.05
DRIVER_S: Final = 5.0
_CRON: Final = ("cron", "crond", "anacron")
_HOOKS: Final = (Path("/etc/rc.local"), Path("/etc/cron.d"), Path("/etc/systemd/system"))


def examine(config_path: Path | None, programs: Sequence[Path], revive: Callable[[], str | None]) -> Examination:
    """Look at everything.

    config_path: the configuration; None: there is none, the defaults hold. programs: paths by which a boot hook may
    call this agent. revive: starts a dead agent, as every contact does, and returns how.
    """
    checks = [_python()]
    config, check = _config(config_path)
    checks.append(check)
    uuid = None
    if config is not None:
        paths = Paths(config.state_dir)
        revived = revive()
        if revived is not None:
            checks.append(warning("agent", revived, "see why it ended: rlctl logs, rlctl history"))
        reply = client.call(paths.socket, messages.encode(messages.GetStatus()), timeout_s=5.0)
        status = msgspec.convert(reply.result, AgentStatus) if reply.ok else None
        uuid = None if status is None else status.agent.host_uuid
        checks += [_agent(reply, status), *_alerts(status), _driver(status), _disk(paths), _modes(paths)]
    checks += [_boot_hook(programs), _clock()]
    return Examination(at=time.time(), host_uuid=uuid, checks=checks)


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return good("python", found)
    return warning("python", f"{found} is not tested with", "set rlfleet_python to one from 3.10 to 3.13, and deploy")


def _config(path: Path | None) -> tuple[Config | None, Check]:
    if path is None:
        return Config(), warning("config", "no configuration file: defaults hold", "deploy, or write one")
    try:
        config = load(path)
    except ConfigError as error:
        return None, fault("config", str(error), "mend the variables in the inventory, and deploy")
    ladder = " < ".join(mode.name for mode in config.modes)
    return config, good("config", f"{path}: {ladder}; {len(config.games)} games")


def _agent(reply: messages.Reply, status: AgentStatus | None) -> Check:
    if status is None:
        why = "no answer" if reply.error is None else reply.error.message
        return fault("agent", why, "start it: rlagent run --detach, or sudo systemctl start its unit; see rlagent logs")
    running, here = status.agent.version, __version__
    if running != here:
        return warning("agent", f"version {running} runs, {here} is installed", "deploy: that restarts the agent alone")
    return good("agent", f"version {running} alive for {status.agent.uptime_s / 3600:.1f} h, pid {status.agent.pid}")


def _alerts(status: AgentStatus | None) -> list[Check]:
    return [
        warning("alert", text, "see: rlctl status, rlctl history, rlctl logs")
        for text in ([] if status is None else status.alerts)
    ]


def _driver(status: AgentStatus | None) -> Check:
    """Ask the running agent, whose probe has had time; else the driver itself, which may hang."""
    if status is not None:
        gpus, why = status.gpu, status.gpu_error
    else:
        probe, deadline = GpuProbe(poll_s=0.2), time.monotonic() + DRIVER_S
        while probe.readings()[1] == "not read yet" and time.monotonic() < deadline:
            time.sleep(0.05)
        gpus, why = probe.readings()
        probe.stop()
    if gpus:
        broken = [f"GPU {gpu.index}: {gpu.error}" for gpu in gpus if gpu.error]
        names = ", ".join(gpu.name or "?" for gpu in gpus)
        if broken:
            return fault("driver", f"{names}; {'; '.join(broken)}", "reboot the host: rlctl reboot; else replace it")
        return good("driver", names)
    return warning("driver", f"no GPU: {why or 'none found'}", "on a GPU server: install the driver (nvidia-smi tells)")


def _disk(paths: Paths) -> Check:
    readings = host.readings(paths.state_dir)
    free, total = readings.disk_free_mib, readings.disk_total_mib
    if free is None or not total:
        return fault("disk", f"{paths.state_dir} can't be looked at", "does it exist, is it this user's? Deploy again")
    found = f"{free / 1024:.1f} of {total / 1024:.1f} GiB free for {paths.state_dir}"
    advice = "remove what is not needed: old runs lie in runs/, releases in releases/"
    if free < DISK_FULL_MIB:
        return fault("disk", f"{found}: checkpoints will fail soon", advice)
    if free < DISK_LOW_MIB or free / total < DISK_LOW_SHARE:
        return warning("disk", found, advice)
    return good("disk", found)


def _modes(paths: Paths) -> Check:
    """Nobody but its user may reach the agent or read its files."""
    found = []
    for path, most in ((paths.state_dir, 0o700), (paths.socket, 0o600), (paths.journal, 0o600)):
        try:
            seen = path.stat()
        except OSError:
            continue
        if stat.S_IMODE(seen.st_mode) & ~most:
            found.append((path, f"chmod {most:o} {path}"))
        elif seen.st_uid != os.geteuid():
            found.append((path, f"chown {os.geteuid()} {path}"))
    if found:
        names = ", ".join(str(path) for path, _ in found)
        return fault("files", f"{names}: others may reach them", "; ".join(fix for _, fix in found))
    return good("files", f"{paths.state_dir} is for its user alone")


def _boot_hook(programs: Sequence[Path]) -> Check:
    """Find what starts the agent when the host does, by what calls it."""
    unit = next((name for name, text in _units() if _calls(text, programs)), None)
    if unit is not None:
        enabled = said(["systemctl", "is-enabled", unit])
        if enabled == "enabled":
            return good("boot hook", f"systemd: {unit}")
        return fault("boot hook", f"systemd: {unit} is {enabled or 'not enabled'}", f"sudo systemctl enable {unit}")
    if any(_calls(line, programs) for line in said(["crontab", "-l"]).splitlines() if line.startswith("@reboot")):
        if any(name in _CRON for name in _processes()):
            return good("boot hook", "cron: @reboot")
        return fault("boot hook", "cron has it, but does not run", "start cron at boot, or deploy again")
    if any(_calls(_text(path), programs) for path in (_HOOKS[0], *_children(_HOOKS[1]))):
        return good("boot hook", "a start script of this host")
    return warning(
        "boot hook",
        "nothing starts the agent when the host starts",
        "where systemd or cron runs: deploy again; elsewhere any rlctl command starts it at its next contact",
    )


def _clock() -> Check:
    """The comparison with another clock is the caller's; here only whether something keeps this one right."""
    synced = said(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    if synced == "no":
        return warning("clock", "not synchronised", "install chrony or enable systemd-timesyncd; times in logs drift")
    return good("clock", "synchronised" if synced == "yes" else "whether it is synchronised can't be told here")


def _units() -> list[tuple[str, str]]:
    return [(path.name, _text(path)) for path in _children(_HOOKS[2]) if path.suffix == ".service"]


def _calls(text: str, programs: Sequence[Path]) -> bool:
    return any(f"{program} run" in text for program in programs)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _processes() -> set[str]:
    return {_text(folder / "comm").strip() for folder in _children(Path("/proc")) if folder.name.isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
