"""A host's trainers under a real supervisor, without an agent around it. Shared by the supervisor's tests."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path

import psutil

from rlagent.supervisor import Exited, Launch, Running, Supervisor

SH = ("/bin/sh", "-c")
SLEEP = ("sleep", "600")


class Trainers:
    """One host: its identity, its folders, and the supervisor of its present agent."""

    def __init__(self, folder: Path, host_uuid: str | None = None) -> None:
        self.folder, self.uuid = folder, host_uuid or str(uuid.uuid4())
        self.supervisor = self._new_agent()

    def restart_agent(self) -> Supervisor:
        """Forget everything, as a new agent after a SIGKILL of the old one, whose descriptors the kernel closes."""
        for number in self.supervisor.filenos():
            os.close(number)
        return self._new_agent()

    def _new_agent(self) -> Supervisor:
        self.supervisor = Supervisor(self.uuid, log_max_mib=1, log_keep=2)
        return self.supervisor

    def launch(self, *command: str, attempt: int = 1, game: str = "Pong", **env: str) -> Launch:
        run_dir = self.folder / "runs" / game
        return Launch(
            game=game,
            attempt=attempt,
            run_dir=run_dir,
            log_path=self.folder / "logs" / f"{game}.log",
            command=command or SLEEP,
            env={"PATH": os.environ["PATH"], **env},
        )

    def start(self, launch: Launch) -> int:
        """Ask for an attempt until it runs; returns the trainer's pid."""

        def running() -> int | None:
            outcome = self.supervisor.ensure(launch, spawn=True)
            assert not isinstance(outcome, Exited), outcome
            return outcome.trainer_pid if isinstance(outcome, Running) else None

        return wait_for(running)

    def end(self, launch: Launch, *, spawn: bool = False, timeout_s: float = 60) -> Exited | None:
        """Ask for an attempt until it has ended; None: it is not there at all."""

        def ended() -> list[Exited | None]:
            outcome = self.supervisor.ensure(launch, spawn=spawn)
            return [outcome] if outcome is None or isinstance(outcome, Exited) else []

        return wait_for(ended, timeout_s)[0]

    def marked(self, marker: str = "RLFLEET_ATTEMPT_ID") -> dict[int, str]:
        """Return the living processes of this host by pid, found without the supervisor."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                value = environment(process).get(marker, "")
                if value.startswith(self.uuid) and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = value
        return found

    def close(self) -> None:
        """Kill everything of this host, and wait for its end: the next test counts processes."""
        killed = []
        for marker in ("RLFLEET_SHIM_OF", "RLFLEET_ATTEMPT_ID"):
            for pid in self.marked(marker):
                with contextlib.suppress(psutil.NoSuchProcess):
                    killed.append(psutil.Process(pid))
                    killed[-1].kill()
        psutil.wait_procs(killed, timeout=60)


def environment(process: psutil.Process) -> dict[str, str]:
    """Return a process's environment; one that is within execve shows none for a moment, and is waited for."""
    while not (found := process.environ()) and process.memory_info().vms and _environment_end(process.pid) == 0:
        time.sleep(0.001)
    return found or process.environ()


def _environment_end(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[48])
    return -1


def wait_for(condition, timeout_s: float = 60):
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {timeout_s} s in vain")


def session(session_id: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == session_id and not gone(pid):
                found.append(pid)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
