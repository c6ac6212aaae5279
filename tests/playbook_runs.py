"""Runs the real playbooks against this machine, each test with a root folder of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
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


class Play:
    """What one ansible-playbook run said."""

    def __init__(self, completed: subprocess.CompletedProcess) -> None:
        self.rc = completed.returncode
        self.output = completed.stdout + completed.stderr

    def count(self, what: str, host: str = "local") -> int:
        """Return a number of the recap: ok, changed, failed ..."""
        return int(re.search(rf"^{host} .*\b{what}=(\d+)", self.output, re.MULTILINE)[1])

    @property
    def words(self) -> str:
        """The output as one line, as Ansible wraps long messages."""
        return " ".join(self.output.replace("''", "'").split())


class Deployment:
    """A root folder on this machine, and the playbooks that act on it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def play(self, playbook: str, *arguments: str, **variables: object) -> Play:
        """Run a playbook with inventory/local; variables are extra variables."""
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", "../inventory/local", f"{playbook}.yml"]
        return Play(
            subprocess.run(
                [*command, "-e", json.dumps(variables), *arguments],
                cwd=PLAYBOOKS,
                env={**os.environ, "RLFLEET_LOCAL_ROOT": str(self.root), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
                capture_output=True,
                text=True,
                check=False,
                timeout=280,
            )
        )

    def deploy(self, *arguments: str, **variables: object) -> Play:
        """Deploy with a light trainer (the contract's example) on this Python, which has torch already."""
        light = {
            "rlfleet_trainer_python": sys.executable,
            "rlfleet_trainer": {"command": [sys.executable, str(FOREIGN_TRAINER)], "checkpoint_interval_s": 1},
        }
        return self.play("deploy", *arguments, **{**light, **variables})

    def rlagent(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run the deployed agent's command line."""
        command = [self.root / "bin" / "rlagent", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def call(self, verb: str) -> dict:
        """Return the result of a request to the running agent."""
        return json.loads(self.rlagent("call", json.dumps({"verb": verb})).stdout)["result"]

    def processes(self) -> list[psutil.Process]:
        """Return all processes that belong to this root: agents and trainers."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            words = [*process.cmdline(), process.environ().get("RLFLEET_RUN_DIR", "")]
        except psutil.Error:
            return False
        return any(word.startswith(f"{self.root}/") for word in words)

    def files(self) -> list[str]:
        """Return what lies in the root, by name."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))
