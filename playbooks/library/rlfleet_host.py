"""What one host is like, for the playbooks: read only, one call instead of a dozen tasks.

Owns looking, and waiting for what should be seen; must change nothing. Runs on the host with
Ansible's interpreter there (3.10 and newer).
"""  # noqa: INP001  # Ansible loads it by its path, it is no package

from __future__ import annotations

import contextlib
import json
import os
import platform
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rlfleet_host
short_description: Look at a host before, during and after a deployment of rlfleet
description: Reads what is installed, what runs and what the host offers; changes nothing.
options:
  root:
    description: The root folder of the deployment.
    type: path
    required: true
  state_dir:
    description: The agent's state directory.
    type: path
    required: true
  python:
    description: Interpreter that the environments are built with.
    type: str
    required: true
  trainer_python:
    description: Interpreter that the trainers run with, where one is given.
    type: str
    default: ""
  trainer_imports:
    description: Modules that the given interpreter must have.
    type: list
    elements: str
    default: []
  unit:
    description: Name of the systemd unit.
    type: str
    required: true
  release:
    description: Wait until the agent of this release answers; `fault` says why it does not.
    type: str
    default: ""
  trainers_before:
    description: Wait also until these trainers (agent.progressing of an earlier look) make progress again.
    type: dict
    default: {}
  answer_timeout_s:
    description: Seconds within which the agent must answer.
    type: int
    default: 60
  progress_timeout_s:
    description: Seconds within which the trainers must make progress.
    type: int
    default: 300
author:
  - The rlfleet authors
"""

EXAMPLES = r"""
- name: Look at the host
  rlfleet_host:
    root: /opt/rlfleet
    state_dir: /opt/rlfleet/var
    python: /usr/bin/python3
    unit: rlfleet-agent
"""

RETURN = r"""
root:
  description: The root folder - exists, directory, ours, empty, owner, writable, free_mib.
  returned: always
  type: dict
folders:
  description: Mode of each folder in the root.
  returned: always
  type: dict
python:
  description: The interpreter - version, missing modules, fault.
  returned: always
  type: dict
agent:
  description: The running agent - answers, pid, version, release, in_unit, progressing (trainers by game), fault.
  returned: always
  type: dict
trainers:
  description: Process numbers of this deployment's trainers.
  returned: always
  type: list
"""

MARKER = ".rlfleet"
"""A folder with this file is a root of ours."""
COMPLETE = ".complete"
"""Written last into a release or an environment: without it the folder is a leftover of an interrupted run."""
ASK_PYTHON = (
    "import importlib.util as u, json, sys\n"
    "missing = [m for m in sys.argv[1:] if u.find_spec(m) is None]\n"
    "print(json.dumps({'version': '%d.%d' % sys.version_info[:2], 'missing': missing, 'fault': ''}))"
)
ASK_TIMEOUT_S = 20
LOOK_PAUSE_S = 0.25
SYSV_COMMANDS = ("init", "busybox")
"""What PID 1 is called where /etc/rc.local may be run at boot."""
LOG_LINES = 20


def main() -> None:
    """Answer Ansible."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "state_dir": {"type": "path", "required": True},
            "python": {"type": "str", "required": True},
            "trainer_python": {"type": "str", "default": ""},
            "trainer_imports": {"type": "list", "elements": "str", "default": []},
            "unit": {"type": "str", "required": True},
            "release": {"type": "str", "default": ""},
            "trainers_before": {"type": "dict", "default": {}},
            "answer_timeout_s": {"type": "int", "default": 60},
            "progress_timeout_s": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    root, state_dir = Path(module.params["root"]), Path(module.params["state_dir"])
    given = module.params["trainer_python"]
    socket_path, unit = state_dir / "agent.sock", module.params["unit"]
    fault = wait(module.params, socket_path, root) if module.params["release"] else ""
    module.exit_json(
        changed=False,
        root=describe_root(root),
        machine=platform.machine(),
        glibc=platform.libc_ver()[1] or "2.17",
        python=ask_python(module.params["python"], ["venv"]),
        trainer_python=ask_python(given, module.params["trainer_imports"]) if given else None,
        folders=folder_modes(root),
        releases=complete_children(root / "releases"),
        trainer_envs=complete_children(root / "trainer-envs"),
        fault=fault,
        log=last_lines(state_dir / "logs" / "agent.log") if fault else "",
        current=release_behind(root),
        previous=previous_release(root),
        rolled_back=sorted(path.parent.name for path in (root / "releases").glob("*/.rolled-back")),
        interrupted=interrupted_switch(root),
        superfluous=superfluous(root),
        agent=ask_agent(socket_path, root, unit),
        trainers=trainers_of(state_dir),
        cron=bool(shutil.which("crontab")) and bool(processes_named("cron", "crond")),
        commands=[name for name in ("rlagent", "rltrain") if leads_to_current(root, name)],
        config_linked=os.path.realpath(root / "etc/config.toml") == os.path.realpath(root / "current/config.toml"),
        trainer_env_of=trainer_envs_of_releases(root),
        rc_local=runs_rc_local(),
        rc_local_root=any(f"{root}/bin/rlagent" in line for line in lines(Path("/etc/rc.local"))),
        unit_root=root_of_unit(Path(f"/etc/systemd/system/{unit}.service")),
    )


def wait(params: dict[str, Any], socket_path: Path, root: Path) -> str:
    """Wait until the release's agent answers and its trainers progress; returns what was waited for in vain."""
    wanted, before = params["release"], params["trainers_before"]
    fault, start = "", time.monotonic()
    while time.monotonic() < start + params["answer_timeout_s"]:
        fault = fault_of_agent(ask_agent(socket_path, root, params["unit"]), wanted)
        if not fault:
            break
        time.sleep(LOOK_PAUSE_S)
    if fault:
        return f"{fault} (waited {params['answer_timeout_s']} s)"
    start = time.monotonic()
    while time.monotonic() < start + params["progress_timeout_s"]:
        fault = fault_of_trainers(before, status(socket_path))
        if not fault:
            return ""
        time.sleep(LOOK_PAUSE_S)
    return f"{fault} (waited {params['progress_timeout_s']} s)"


def fault_of_agent(agent: dict[str, Any], release: str) -> str:
    """Return why this is not the release's agent at work, or nothing."""
    if not agent["answers"]:
        return f"it does not answer: {agent['fault']}"
    if agent["release"] != release:
        return f"it is release {agent['release']} that answers"
    return ""


def fault_of_trainers(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return which of the trainers that made progress before does not go on, or nothing.

    The same process must have taken another step; one that had to be started anew must take steps at all. A game that
    is done, stopped or no longer configured asks nothing.
    """
    if not now or now.get("changing_to") is not None:
        return f"the agent is still changing to mode {now['changing_to']}" if now else "the agent stopped answering"
    if now.get("stopped"):
        return ""
    running = {game["game"]: game for game in now["trainers"]}
    known = {game["game"]: game["state"] for game in now["games"]}
    for name, old in before.items():
        new = running.get(name)
        if new is None and known.get(name) in (None, "EXITED", "QUEUED"):
            continue
        if new is None or new["sps"] is None or new["state"] != "RUNNING":
            return f"trainer {name} made progress before and does not now: it is {known.get(name)}"
        if new["pid"] == old["pid"] and (new["global_step"] or 0) <= old["global_step"]:
            return f"trainer {name} (process {new['pid']}) takes no steps any more: it stands at {new['global_step']}"
    return ""


def status(socket_path: Path) -> dict[str, Any]:
    """Return the agent's status; empty when it does not answer."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        answer: dict[str, Any] = json.loads(ask(socket_path, "status"))["result"]
        return answer
    return {}


def progressing(now: dict[str, Any]) -> dict[str, Any]:
    """Return the trainers that take steps: process and step by game."""
    return {
        game["game"]: {"pid": game["pid"], "global_step": game["global_step"] or 0}
        for game in now.get("trainers", [])
        if game["state"] == "RUNNING" and game["sps"] is not None
    }


def leads_to_current(root: Path, command: str) -> bool:
    """Whether a command of the root leads to the current release's."""
    return f"exec '{root}/current/bin/{command}'" in read(str(root / "bin" / command)).decode(errors="replace")


def trainer_envs_of_releases(root: Path) -> dict[str, str]:
    """Return the name of the trainer environment of each release."""
    return {path.parent.name: "".join(lines(path)[:1]) for path in (root / "releases").glob("*/.trainer-env")}


def release_behind(root: Path) -> str | None:
    """Return the name of the current release."""
    link = root / "current"
    return link.readlink().name if link.is_symlink() else None


def previous_release(root: Path) -> str | None:
    """Return the release that the current one took over from, if it is still there and complete."""
    name = "".join(lines(root / "current" / ".previous")[:1])
    return name if name and (root / "releases" / name / COMPLETE).is_file() else None


def interrupted_switch(root: Path) -> dict[str, str]:
    """Return what an interrupted run was switching - kind (deploy, rollback), from, to - or nothing."""
    try:
        content = json.loads(read(str(root / ".switch")) or b"{}")
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in content.items()} if isinstance(content, dict) else {}


def superfluous(root: Path) -> list[str]:
    """Return releases and environments, relative to the root, that nobody uses or may go back to.

    Kept are the current release, the one before it, the one that it was rolled back from, those of an interrupted
    switch, those that a living process mentions (a trainer's keeper runs from the release that started it), and the
    environments of all kept releases.
    """
    kept = {release_behind(root), previous_release(root), *interrupted_switch(root).values()}
    kept |= {line.strip() for line in lines(root / "current" / ".rolled-back")}
    mentioned = {found for text in _texts_of_processes() for found in _mentions(text, root, "releases")}
    releases = {path.name for path in (root / "releases").glob("*") if path.is_dir()}
    going = releases - kept - mentioned
    used = {found for text in _texts_of_processes() for found in _mentions(text, root, "trainer-envs")}
    for name in releases - going:
        used |= _mentions(read(str(root / "releases" / name / "bin" / "rltrain")), root, "trainer-envs")
        used |= {line.strip() for line in lines(root / "releases" / name / ".trainer-env")}
    environments = {path.name for path in (root / "trainer-envs").glob("*") if path.is_dir()} - used
    return sorted([f"releases/{name}" for name in going] + [f"trainer-envs/{name}" for name in environments])


def _texts_of_processes() -> Iterator[bytes]:
    """Give command line and environment of each process of this user."""
    for pid in processes():
        yield read(f"/proc/{pid}/cmdline") + b"\0" + read(f"/proc/{pid}/environ")


def _mentions(text: bytes, root: Path, folder: str) -> set[str]:
    """Return the names below one of the root's folders that a text mentions."""
    pattern = re.escape(os.fsencode(f"{root}/{folder}/")) + rb"([A-Za-z0-9._+-]+)"
    return {os.fsdecode(name) for name in re.findall(pattern, text)}


def lines(path: Path) -> list[str]:
    """Return a text file's lines; none where it is gone or not ours to read."""
    return read(str(path)).decode(errors="replace").splitlines()


def last_lines(path: Path) -> str:
    """Return the end of a log."""
    return "\n".join(lines(path)[-LOG_LINES:])


def runs_rc_local(system: Path = Path("/")) -> bool:
    """Whether PID 1 is a SysV-like init, which runs /etc/rc.local at boot."""
    name = "".join(lines(system / "proc/1/comm"))
    return name in SYSV_COMMANDS and (system / "etc/inittab").is_file() and (system / "etc/rc.local").is_file()


def describe_root(root: Path) -> dict[str, Any]:
    """Return what stands at the root's place, and what its file system has left in MiB."""
    nearest = next(path for path in (root, *root.parents) if path.exists())
    exists = root.is_dir()
    readable = exists and os.access(root, os.R_OK | os.X_OK)
    return {
        "exists": root.exists() or root.is_symlink(),
        "directory": exists,
        "ours": readable and (root / MARKER).is_file(),
        "empty": readable and not any(root.iterdir()),
        "mode": f"{nearest.stat().st_mode & 0o7777:04o}",
        "owner": owner_of(nearest),
        "writable": nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK),
        "free_mib": shutil.disk_usage(nearest).free // 2**20,
    }


def owner_of(path: Path) -> str:
    """Return the name of a path's owner, or its number where it has no name."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def folder_modes(root: Path) -> dict[str, str]:
    """Return the mode of each folder in the root, as four octal digits."""
    if not os.access(root, os.R_OK | os.X_OK):
        return {}
    return {path.name: f"{path.lstat().st_mode & 0o7777:04o}" for path in root.iterdir() if path.is_dir()}


def complete_children(folder: Path) -> list[str]:
    """Return the names of the folders in this one that an earlier run completed."""
    return sorted(path.parent.name for path in folder.glob(f"*/{COMPLETE}"))


def ask_python(executable: str, modules: list[str]) -> dict[str, Any]:
    """Ask an interpreter for its version and which of these modules it lacks; `fault` says why it can't answer."""
    unknown = {"version": None, "missing": [], "fault": ""}
    try:
        answer = subprocess.run(
            [executable, "-c", ASK_PYTHON, *modules], capture_output=True, text=True, check=False, timeout=60, cwd="/"
        )
        parsed: dict[str, Any] = json.loads(answer.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {**unknown, "fault": str(error)}
    except ValueError:
        return {**unknown, "fault": (answer.stderr.strip().splitlines() or ["it says nothing"])[-1]}
    return parsed


def ask_agent(path: Path, root: Path, unit: str) -> dict[str, Any]:
    """Ping the agent on its socket; a silent one has answers=False and a fault."""
    silent = {"answers": False, "pid": None, "version": None, "release": None, "in_unit": False, "progressing": {}}
    try:
        result = json.loads(ask(path, "ping"))["result"]
        pid = int(result["pid"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        return {**silent, "fault": str(error)}
    return {
        "answers": True,
        "pid": pid,
        "version": result["version"],
        "release": release_of(pid, root / "releases"),
        "in_unit": f"/{unit}.service" in read(f"/proc/{pid}/cgroup").decode(errors="replace"),
        "progressing": progressing(status(path)),
        "fault": "",
    }


def ask(path: Path, verb: str) -> bytes:
    """Return the agent's reply to a request; goes through the folder's descriptor, as socket addresses are short."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(ASK_TIMEOUT_S)
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
            sock.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                return stream.readline()
    finally:
        os.close(folder)


def release_of(pid: int, releases: Path) -> str | None:
    """Return the release whose interpreter a process runs with."""
    program = Path(os.fsdecode(read(f"/proc/{pid}/cmdline").split(b"\0")[0]))
    return program.relative_to(releases).parts[0] if program.is_relative_to(releases) else None


def trainers_of(state_dir: Path) -> list[int]:
    """Return the processes whose run directory (RLFLEET_RUN_DIR) lies in this deployment."""
    prefix = os.fsencode(f"RLFLEET_RUN_DIR={state_dir}/")
    return [pid for pid in processes() if any(v.startswith(prefix) for v in read(f"/proc/{pid}/environ").split(b"\0"))]


def processes_named(*names: str) -> list[int]:
    """Return the processes with one of these names."""
    return [pid for pid in processes() if read(f"/proc/{pid}/comm").decode(errors="replace").strip() in names]


def processes() -> list[int]:
    """Return the numbers of all processes, in order."""
    return sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def read(path: str) -> bytes:
    """Return a file's content, or nothing where it is gone or not ours to read."""
    with contextlib.suppress(OSError):
        return Path(path).read_bytes()
    return b""


def root_of_unit(unit: Path) -> str | None:
    """Return the root folder that an installed systemd unit starts an agent in."""
    for line in read(str(unit)).decode(errors="replace").splitlines():
        if line.startswith("ExecStart="):
            return line.removeprefix("ExecStart=").partition("/bin/rlagent")[0]
    return None


if __name__ == "__main__":
    main()
