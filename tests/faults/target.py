"""A running host as a fault finds it: its state directory, its agent, its trainers. Found through /proc alone."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from rlagent.paths import Paths
from rlagent.supervisor import procfs

HOOK = Path(__file__).parent / "hook"
UNHURRIED = {"PYTHONPATH": str(HOOK), "TRAINER_PACE": "0.2"}
"""The environment of a trainer that can be broken, and that leaves most of the processor to others."""


class FaultError(Exception):
    """A fault that can't be injected here: place, reason, next step."""


@dataclass(frozen=True)
class Target:
    """One host's state directory, and the game that is to suffer."""

    state_dir: Path
    wanted: str | None = None

    @property
    def paths(self) -> Paths:
        """Where its things are."""
        return Paths(self.state_dir)

    @property
    def game(self) -> str:
        """The game that was named, or the first that runs."""
        running = sorted(self.trainers())
        if not running:
            raise FaultError(f"{self.state_dir}: no trainer runs; start the agent first")
        if self.wanted is not None and self.wanted not in running:
            raise FaultError(f"--game {self.wanted}: it does not run (running: {', '.join(running)})")
        return self.wanted or running[0]

    @property
    def run_dir(self) -> Path:
        """The folder of the game's run."""
        return self.paths.run_dir(self.game)

    def trainers(self) -> dict[str, int]:
        """Return game -> pid of each living trainer: the child of its shim."""
        found = {}
        for pid in procfs.marked("RLFLEET_ATTEMPT_ID"):
            run_dir, parent = procfs.mark(pid, "RLFLEET_RUN_DIR"), procfs.parent(pid)
            if run_dir is not None and Path(run_dir).parent == self.paths.runs and parent is not None:
                is_trainer = procfs.mark(parent, "RLFLEET_SHIM_OF") is not None
                found.update({Path(run_dir).name: pid} if is_trainer else {})
        return found

    @property
    def trainer(self) -> int:
        """The pid of the game's trainer."""
        return self.trainers()[self.game]

    @property
    def agent(self) -> int:
        """The pid of the agent: the process that holds its lock."""
        inode = self.paths.lock.stat().st_ino if self.paths.lock.exists() else None
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if inode is not None and words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                pid = int(words[4])
                if self._has_open(pid, self.paths.lock):  # another disk may have an inode of this number
                    return pid
        raise FaultError(f"{self.state_dir}: no agent runs; start it with: rlagent run --detach")

    @staticmethod
    def _has_open(pid: int, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return any(link.exists() and link.samefile(path) for link in Path(f"/proc/{pid}/fd").iterdir())
        return False

    def variable(self, name: str) -> str | None:
        """Return a variable of the agent's environment."""
        return procfs.mark(self.agent, name)

    def tell(self, word: str) -> None:
        """Make the trainer do something that only its own code can do."""
        if str(HOOK) not in (procfs.mark(self.trainer, "PYTHONPATH") or ""):
            raise FaultError(
                f"{self.game}: its trainer has no hook for this fault; put PYTHONPATH = {str(HOOK)!r} into "
                "[trainer] env of the agent's config.toml and restart the agent"
            )
        (self.run_dir / "fault").write_text(word)
        os.kill(self.trainer, 12)  # SIGUSR2
