"""Programs that keep one trainer alive: the agent, systemd's `Restart=` and supervisord, each with the same command.

Each is found and looked at in the same way, from this machine: the trainer by its command line, its progress by the
file that it replaces.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from agent_host import AgentHost
from contenders import packages
from lab import borrow, needs, places
from lab.lab import Lab
from lab.spec import Spec
from rlagent.journal import Journal
from rlagent.policy import events as ev
from rlagent.protocol import messages

SUPERVISOR = {"supervisor": ("supervisor==4.3.0",)}
GAME = "Pong"
FLAGS = ("--game", GAME, "--num-envs", "32", "--batch-size", "512", "--threads", str(os.cpu_count() or 1))
STOP_TIMEOUT_S = 60.0


class Keeper(Protocol):
    """What keeps the trainer."""

    name: str
    run_dir: Path
    """As this machine sees it."""
    mark: str
    """The same folder as the trainer's command line has it."""

    def start(self) -> None:
        """Start it and with it the trainer."""

    def noticed(self, since: float) -> float | None:
        """Return the wall time at which it wrote down an end of the trainer after `since`; None: it does not say."""

    def pause(self) -> None:
        """Stop the trainer, so that another keeper's has the machine."""

    def resume(self) -> None:
        """Let it go on."""

    def close(self) -> None:
        """End all of it."""


def command(run_dir: Path | str) -> list[str]:
    """Return the trainer's command line."""
    return [sys.executable, "-m", "rltrainer", "train", *FLAGS, "--run-dir", str(run_dir)]


def trainer_pid(mark: str) -> int | None:
    """Return the living trainer whose command line has this word."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if "rltrainer" in words and mark in words and state not in "ZX":
                return int(entry.name)
    return None


class Agent:
    """The real agent with its default settings, but no backoff: kills come faster here than in life."""

    name = "rlagent"

    def __init__(self, folder: Path, *, hang_timeout_s: float) -> None:
        folder.mkdir()
        defaults = {"stop_timeout_s": 60.0, "start_timeout_s": 900.0, "restart_backoff_s": [0.0]}
        self._host = AgentHost(
            folder,
            agent={"tick_s": 1.0, "journal_tick_s": 60.0},
            policy={"max_crashes": 1_000_000, "blind_spot_incidents": 0},
            supervisor={**defaults, "hang_timeout_s": hang_timeout_s},
            trainer={"command": command("{run_dir}"), "checkpoint_interval_s": 90.0},
            modes=[{"name": "light", "games": 1, "num_envs": 32, "batch_size": 512}],
            games=[{"name": GAME, "target_frames": 2**50}],
        )
        self.run_dir = self._host.paths.run_dir(GAME)
        self.mark = str(self.run_dir)

    def start(self) -> None:
        self._host.start()

    def noticed(self, since: float) -> float | None:
        journal = Journal(self._host.paths.journal)
        try:
            events = [entry.event for entry in journal.entries(since_wall=since)]
        finally:
            journal.close()
        return next((event.wall for event in events if isinstance(event, ev.TrainerExited | ev.TrainerHung)), None)

    def pause(self) -> None:
        self._host.call(messages.Stop(who="bench"))
        gone(self.mark)

    def resume(self) -> None:
        self._host.call(messages.Start(who="bench"))

    def close(self) -> None:
        self._host.close()


class Supervisord:
    """Supervisord, told to restart always; else with its default settings."""

    name = "supervisord"

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.run_dir = folder / "run"
        self.mark = str(self.run_dir)
        self._folder, self._process = folder, None

    def start(self) -> None:
        (self._folder / "supervisord.conf").write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={self._folder}/supervisord.log\npidfile={self._folder}/pid\n"
            f"[program:trainer]\ncommand={' '.join(command(self.run_dir))}\nautorestart=true\n"
            f"stopasgroup=true\nkillasgroup=true\nredirect_stderr=true\nstdout_logfile={self._folder}/trainer.log\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(packages.FOLDER)}
        arguments = ["-m", "supervisor.supervisord", "-c", str(self._folder / "supervisord.conf")]
        with (self._folder / "out").open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def noticed(self, since: float) -> float | None:
        return None

    def pause(self) -> None:
        self._process.terminate()  # it stops its program first
        self._process.wait()
        gone(self.mark)

    def resume(self) -> None:
        self.start()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        while (pid := trainer_pid(self.mark)) is not None:
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


class Systemd:
    """A unit with `Restart=always` on a host of the lab that systemd has booted; else with default settings."""

    name = "systemd Restart="

    def __init__(self, python: borrow.Borrowed) -> None:
        agent = places.CHECKOUT / "agent"
        self._lab = Lab([Spec("vm", binds={**python.binds, agent: str(agent)})])
        self.mark = f"/srv/recovery-{self._lab.name}"
        self.run_dir = self._lab.hosts["tnr-0"].root / self.mark[1:]

    def start(self) -> None:
        self._lab.start()
        host = self._lab.hosts["tnr-0"]
        unit = host.root / "etc/systemd/system/trainer.service"
        unit.write_text(f"[Service]\nExecStart={' '.join(command(self.mark))}\nRestart=always\n")
        self.resume()

    def noticed(self, since: float) -> float | None:
        return None

    def pause(self) -> None:
        self._lab.hosts["tnr-0"].inside("systemctl", "stop", "trainer.service")
        gone(self.mark)

    def resume(self) -> None:
        self._lab.hosts["tnr-0"].inside("systemctl", "start", "trainer.service")

    def close(self) -> None:
        self._lab.stop()


def gone(mark: str) -> None:
    """Wait until the trainer of a run directory has ended."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while trainer_pid(mark) is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{mark}: the trainer still runs {STOP_TIMEOUT_S:g} s after it was told to stop")
        time.sleep(0.05)


def available(folder: Path, *, hang_timeout_s: float) -> tuple[list[Keeper], dict[str, str]]:
    """Return all keepers that can run here, and why the others can't."""
    found: list[Keeper] = [Agent(folder / "agent", hang_timeout_s=hang_timeout_s)]
    absent: dict[str, str] = {}
    python = borrow.controller_python()
    reason = needs.missing() or (python if isinstance(python, str) else None)
    if reason is None:
        found.append(Systemd(python))
    else:
        absent[Systemd.name] = reason
    reason = packages.provide(SUPERVISOR)
    if reason is None:
        found.append(Supervisord(folder / "supervisord"))
    else:
        absent[Supervisord.name] = reason
    return found, absent
