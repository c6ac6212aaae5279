"""Runs the real playbooks against this machine, each test with a root folder of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

CHECKOUT = Path(__file__).resolve().parents[1]
PLAYBOOKS = CHECKOUT / "playbooks"
FOREIGN_TRAINER = CHECKOUT / "tests" / "examples" / "foreign_trainer.py"


def load(path: str):
    """Import a Python file of the playbooks by its path, as Ansible does."""
    spec = importlib.util.spec_from_file_location(f"playbooks_{Path(path).stem}", PLAYBOOKS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_wheel(project: Path, cache: Path) -> dict:
    """Build a wheel of a copy of the checkout and return its description."""
    script = PLAYBOOKS / "roles/wheel/files/build_wheel.py"
    command = [sys.executable, script, "--project", project, "--cache", cache]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def copy_of_checkout(folder: Path) -> Path:
    """Copy what the wheel is made of."""
    copy = folder / "project"
    for name in ("agent", "ctl"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    return copy


def wait_for(look, timeout_s: float = 240):
    """Return the first answer that is not None; fail after the time-out."""
    deadline = time.monotonic() + timeout_s
    while (answer := look()) is None:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return answer


class Play:
    """What one ansible-playbook run said."""

    def __init__(self, rc: int, output: str) -> None:
        self.rc = rc
        self.output = output

    def count(self, what: str, host: str = "local") -> int:
        """Return a number of the recap: ok, changed, failed ..."""
        return int(re.search(rf"^{host} .*\b{what}=(\d+)", self.output, re.MULTILINE)[1])

    @property
    def words(self) -> str:
        """The output as one line, as Ansible wraps long messages."""
        return _one_line(self.output)

    def faults(self, host: str) -> list[str]:
        """Return what each failed task of a host said, as one line."""
        said = re.split(r"^(?=\S+: \[|TASK |PLAY )", self.output, flags=re.MULTILINE)
        return [_one_line(block) for block in said if block.startswith(f"fatal: [{host}]")]


def _one_line(text: str) -> str:
    return " ".join(text.replace("''", "'").split())


def light(wheel: str) -> dict[str, object]:
    """Return variables of a light trainer (the contract's example) on this Python, which has torch already."""
    return {
        "rlfleet_wheel": wheel,
        "rlfleet_trainer_python": sys.executable,
        "rlfleet_trainer": {"command": [sys.executable, str(FOREIGN_TRAINER)], "checkpoint_interval_s": 1},
    }


def play_hosts(folder: Path, hosts: dict[str, dict[str, object]], **variables: object) -> Play:
    """Deploy to several hosts at once, all of them this machine, each with variables of its own and these."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    (folder / "hosts.json").write_text(json.dumps({"gpu_servers": {"hosts": hosts, "vars": local}}))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", folder / "hosts.json", "deploy.yml"],
        cwd=PLAYBOOKS,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return Play(done.returncode, done.stdout)


class Deployment:
    """A root folder on this machine, and the playbooks that act on it."""

    def __init__(self, root: Path, wheel: str) -> None:
        self.root = root
        self.wheel = wheel

    def play(self, playbook: str, *arguments: str, **variables: object) -> Play:
        """Run a playbook with inventory/local; variables are extra variables."""
        process = self.start(playbook, *arguments, **variables)
        output, _ = process.communicate(timeout=600)
        return Play(process.returncode, output)

    def start(self, playbook: str, *arguments: str, **variables: object) -> subprocess.Popen:
        """Start a playbook without waiting for its end."""
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", "../inventory/local", f"{playbook}.yml"]
        return subprocess.Popen(
            [*command, "-e", json.dumps(variables), *arguments],
            cwd=PLAYBOOKS,
            env={**os.environ, "RLFLEET_LOCAL_ROOT": str(self.root), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def deploy(self, *arguments: str, **variables: object) -> Play:
        """Deploy with a light trainer."""
        return self.play("deploy", *arguments, **{**light(self.wheel), **variables})

    def rlagent(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run the deployed agent's command line."""
        command = [self.root / "bin" / "rlagent", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    def call(self, verb: str) -> dict:
        """Return the result of a request to the running agent."""
        return json.loads(self.rlagent("call", "--timeout", "120", json.dumps({"verb": verb})).stdout)["result"]

    def processes(self) -> list[psutil.Process]:
        """Return all processes that belong to this root: agents and trainers."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def trainers(self) -> list[int]:
        """Wait until two trainers run, as in mode light, and return their process numbers."""
        return wait_for(lambda: self._trainers_running() or None)

    def _trainers_running(self) -> list[int]:
        trainers = self.call("status")["trainers"]
        running = sorted(trainer["pid"] for trainer in trainers if trainer["state"] == "RUNNING")
        return running if len(running) == 2 else []

    def end_processes(self) -> None:
        """Kill what still runs; more than once, as an agent starts what it misses until it is gone itself."""
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                    process.kill()
            psutil.wait_procs(left, timeout=10)

    def _owns(self, process: psutil.Process) -> bool:
        try:
            words = [*process.cmdline(), process.environ().get("RLFLEET_RUN_DIR", "")]
        except psutil.Error:
            return False
        return any(word.startswith(f"{self.root}/") for word in words)

    def wait_ended(self) -> None:
        """Wait until no process of this root is left: a trainer's keeper outlives its last word by a moment."""
        wait_for(lambda: None if self.processes() else True)

    def files(self) -> list[str]:
        """Return what lies in the root, by name."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))
