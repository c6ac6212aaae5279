"""A real agent with small real trainers in a temporary folder, on a fast clock. Shared by the agent's tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from rlagent import client
from rlagent.journal import Journal
from rlagent.paths import Paths
from rlagent.policy import State, step
from rlagent.protocol import messages

TRAINERS = Path(__file__).parent / "examples"
FAST = {
    "agent": {"tick_s": 0.1, "journal_tick_s": 5.0},
    "policy": {"stable_minutes": 600, "window_minutes": 600, "cooldown_minutes": 600, "cooldown_max_minutes": 1440},
    # Patient, as trainers of a busy machine may stand still for seconds: a test of hangs says how long one may last.
    "supervisor": {
        "stop_timeout_s": 60.0,
        "hang_timeout_s": 120.0,
        "start_timeout_s": 120.0,
        "restart_backoff_s": [0.2],
    },
    "trainer": {"checkpoint_interval_s": 0.5},
    "modes": [
        {"name": "light", "games": 2, "num_envs": 8, "batch_size": 128},
        {"name": "medium", "games": 4, "num_envs": 16, "batch_size": 256},
    ],
    "games": [
        {"name": name, "target_frames": 40_000_000} for name in ("MsPacman", "Pong", "Breakout", "Qbert", "Tennis")
    ],
}


class AgentHost:
    """One state directory, and the agent that runs on it."""

    def __init__(self, folder: Path, program: str = "foreign_trainer.py", python=sys.executable, **changes) -> None:
        self.folder = folder
        self.python = str(python)
        self.paths = Paths(folder / "var")
        self.config = folder / "config.toml"
        self.process: subprocess.Popen | None = None
        config = {section: dict(values) if isinstance(values, dict) else values for section, values in FAST.items()}
        config["agent"]["state_dir"] = str(self.paths.state_dir)
        config["trainer"]["command"] = [self.python, str(TRAINERS / program)]
        for section, values in changes.items():
            config[section] = {**config.get(section, {}), **values} if isinstance(values, dict) else values
        self.write_config(config)

    def write_config(self, config: dict) -> None:
        import tomli_w  # noqa: PLC0415  # the agent's own extra

        self.settings = config
        self.config.write_text(tomli_w.dumps(config))

    def start(self, prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> AgentHost:
        """Start the agent in the foreground of its own process and wait until it answers."""
        command = [*prefix, self.python, "-m", "rlagent", "--config", str(self.config), "run"]
        with (self.folder / "agent.err").open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment
            )
        self.wait_for(lambda: self.call(messages.Ping()).ok, "the agent to answer", status=False)
        return self

    def call(self, request) -> messages.Reply:
        return client.call(self.paths.socket, messages.encode(request), timeout_s=25)

    def status(self) -> dict:
        reply = self.call(messages.GetStatus())
        assert reply.ok, reply
        return reply.result

    def game(self, name: str) -> dict:
        return next(game for game in self.status()["games"] if game["game"] == name)

    def pids(self) -> dict[str, int]:
        return {game["game"]: game["pid"] for game in self.status()["trainers"] if game["pid"] is not None}

    def steps(self) -> dict[str, int]:
        return {game["game"]: game["global_step"] or 0 for game in self.status()["trainers"]}

    def states(self) -> dict[str, str]:
        return {game["game"]: game["state"] for game in self.status()["trainers"]}

    def wait_for(self, condition, what: str, timeout_s: float = 90, *, status: bool = True):
        """Wait until a condition holds and return its value; fails with the status and the agent's log."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.05)
        seen = json.dumps(self.status(), indent=1)[:3000] if status else ""
        log = self.paths.agent_log.read_text()[-3000:] if self.paths.agent_log.exists() else ""
        errors = (self.folder / "agent.err").read_text()[-2000:]
        raise AssertionError(f"waited {timeout_s} s for {what}\n{seen}\n{log}\n{errors}")

    def wait_running(self, count: int, timeout_s: float = 90) -> dict[str, int]:
        """Wait until so many trainers take steps; returns their pids."""

        def running():
            status = self.status()
            good = [t for t in status["trainers"] if t["state"] == "RUNNING" and t["pid"] and t["sps"] is not None]
            if not len(good) == count == len(status["trainers"]) or status["changing_to"] is not None:
                return None
            return {trainer["game"]: trainer["pid"] for trainer in good}

        return self.wait_for(running, f"{count} running trainers", timeout_s)

    def wait_stopped(self) -> None:
        """Wait until no trainer is left and the agent knows it."""
        self.wait_for(lambda: self.trainer_processes() == [], "the end of all trainers")
        ending = ("STARTING", "RUNNING", "STOPPING")
        self.wait_for(
            lambda: not any(game["state"] in ending for game in self.status()["games"]), "the agent to know of it"
        )

    def history(self) -> list[dict]:
        return self.call(messages.GetHistory(limit=10_000)).result

    def decisions(self) -> list[str]:
        return [text for entry in self.history() for text in entry["decisions"]]

    def end_agent(self) -> int:
        """Tell the agent to end; returns its exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def kill_agent(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End everything, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        # Again until none is left: a revived agent may have started a trainer meanwhile.
        while found := self.processes():
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(found, timeout=5)

    def processes(self) -> list[psutil.Process]:
        """Return every agent (also a revived one), shim and trainer of this host, found by their names for it."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environ = process.environ()
                run_dir = environ.get("RLFLEET_RUN_DIR", "")
                if run_dir.startswith(f"{self.folder}/") or f"{self.folder}/" in " ".join(process.cmdline()):
                    found.append(process)
        return [process for process in found if process.pid != os.getpid()]

    def trainer_processes(self) -> list[str]:
        """Return the game of every living trainer process."""
        games = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and "RLFLEET_ATTEMPT_ID" in process.environ():
                    games.append(process.environ()["RLFLEET_GAME"])
        return sorted(games)

    def refold(self) -> tuple[State, State, list]:
        """Return the journal's state, the fold of its events, and its entries; an agent may be writing more."""
        journal = Journal(self.paths.journal)
        try:
            state, entries = State(), [entry for entry in journal.entries() if entry.seq <= journal.seq]
            for entry in entries:
                state, decisions = step(state, entry.event)
                assert decisions == entry.decisions, entry
            return journal.state, state, entries
        finally:
            journal.close()
