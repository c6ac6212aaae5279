"""What one host is like, for the playbooks: read only, one call instead of a dozen tasks.

Owns looking; must change nothing. Runs on the host with Ansible's interpreter there (3.10 and newer).
"""  # noqa: INP001  # Ansible loads it by its path, it is no package

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
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
  description: The running agent - answers, pid, version, release, in_unit, fault.
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
PING_TIMEOUT_S = 5


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
        },
        supports_check_mode=True,
    )
    root, state_dir = Path(module.params["root"]), Path(module.params["state_dir"])
    given = module.params["trainer_python"]
    module.exit_json(
        changed=False,
        root=describe_root(root),
        python=ask_python(module.params["python"], ["venv", "ensurepip"]),
        trainer_python=ask_python(given, module.params["trainer_imports"]) if given else None,
        folders=folder_modes(root),
        releases=complete_children(root / "releases"),
        trainer_envs=complete_children(root / "trainer-envs"),
        agent=ask_agent(state_dir / "agent.sock", root, module.params["unit"]),
        trainers=trainers_of(state_dir),
        cron=bool(shutil.which("crontab")) and bool(processes_named("cron", "crond")),
        unit_root=root_of_unit(Path(f"/etc/systemd/system/{module.params['unit']}.service")),
    )


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
    silent = {"answers": False, "pid": None, "version": None, "release": None, "in_unit": False}
    try:
        result = json.loads(ping(path))["result"]
        pid = int(result["pid"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        return {**silent, "fault": str(error)}
    return {
        "answers": True,
        "pid": pid,
        "version": result["version"],
        "release": release_of(pid, root / "releases"),
        "in_unit": f"/{unit}.service" in read(f"/proc/{pid}/cgroup").decode(errors="replace"),
        "fault": "",
    }


def ping(path: Path) -> bytes:
    """Return the agent's reply to a ping; goes through the folder's descriptor, as socket addresses are short."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PING_TIMEOUT_S)
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
            sock.sendall(b'{"verb":"ping"}\n')
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
