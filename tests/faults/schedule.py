"""A random schedule of the catalogue's faults on a real agent with light trainers, and what must hold after each burst.

A burst is a few faults at once. `Schedule` expects nothing that the catalogue does not say.
"""

from __future__ import annotations

import collections
import json
import random
import re
import time
from dataclasses import dataclass

from agent_host import AgentHost
from faults.catalogue import FAULTS, Fault
from faults.inject import heal
from faults.target import Target
from rlagent.policy import events as ev
from rlagent.protocol import messages
from stubs.nvml.nvml_stub import NvmlStub

GAMES = ("MsPacman", "Pong", "Breakout")
LEFT_OUT = {
    "oom": "needs a memory control group of its own",
    "log-flood": "a GiB of output each time",
    "checkpoint-corrupt": "needs checkpoints of rltrain",
    "checkpoint-truncated": "the same",
    "checkpoint-empty": "the same",
    "checkpoint-unwritable": "the example's trainer ends when it can't write",
    "disk-full": "the same",
}
"""Faults that light trainers on a common disk can't show, and why."""
USABLE = tuple(fault for fault in FAULTS if fault.inject is not None and fault.name not in LEFT_OUT)
PARTS = {"agent": "agent", "clock": "clock", "gpu": "driver", "journal": "journal", "nvml": "driver"}
PAUSE_S = 2.0
"""Between two faults of a burst, at most."""
WAIT_S = 180.0
SETTINGS = {
    "agent": {"journal_tick_s": 1.0},
    "policy": {"max_crashes": 10**6, "blind_spot_incidents": 0},
    "supervisor": {"hang_timeout_s": 20.0, "stop_timeout_s": 2.0, "start_timeout_s": 40.0},
    "modes": [{"name": "light", "games": len(GAMES), "num_envs": 8, "batch_size": 64}],
}
"""Of the host; its trainers need the hook. On a busy machine they may stand still for long without being hung, and an
agent that begins amid a hang gives the trainer its time to start."""


@dataclass(frozen=True)
class Blow:
    """One fault, and the game whose trainer it hits, if any."""

    fault: Fault
    game: str | None

    @property
    def restarts(self) -> bool:
        """Whether the trainer ends by it."""
        return self.game is not None and self.fault.incident is not None

    def __str__(self) -> str:
        return self.fault.name + (f" of {self.game}" if self.game else "")


def part(fault: Fault) -> str:
    """Return what a fault breaks: a trainer, or what there is only one of."""
    return PARTS.get(fault.name.partition("-")[0], "trainer")


def draw(chance: random.Random) -> list[Blow]:
    """Draw a burst: up to three faults of different parts, or of different trainers."""
    wanted, games, blows = chance.choice((1, 2, 2, 3)), chance.sample(GAMES, len(GAMES)), []
    for fault in chance.sample(USABLE, len(USABLE)):
        if len(blows) < wanted and _goes_with(fault, blows):
            blows.append(Blow(fault, games.pop() if part(fault) == "trainer" else None))
    return blows


def _goes_with(fault: Fault, blows: list[Blow]) -> bool:
    """Whether what follows from a fault can be told from what follows from the others; a broken journal is alone."""
    taken = {part(blow.fault) for blow in blows} - {"trainer"}
    return not blows or (part(fault) not in taken and "journal" not in {part(fault), *taken})


class Schedule:
    """One host, and what is known of it."""

    def __init__(self, host: AgentHost, driver: NvmlStub, environment: dict[str, str], chance: random.Random) -> None:
        self.host, self.driver, self.environment, self.chance = host, driver, environment, chance
        self.asked = 0
        self.wishes: list[int] = []
        """Acknowledged since the journal was last broken."""
        self.bursts = 0
        self.blows: collections.Counter[str] = collections.Counter()

    def run(self, seconds: float) -> None:
        """Go on for so long, in whole bursts."""
        self._start_agent()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._settle()
            try:
                self.burst(draw(self.chance))
            except AssertionError:
                print(*(self.host.call(messages.GetHistory(limit=40)).result or ["no history"]), sep="\n")
                raise

    def burst(self, blows: list[Blow]) -> None:
        """Let a few faults happen, wait until the host is well again, and check what came of them."""
        self.bursts += 1
        print(f"burst {self.bursts}: {', '.join(map(str, blows))}", flush=True)
        before, saved, attempts = self.host.status(), self._saved(), self._attempts()
        assert [i for i in before["incidents"] if i["open"]] == [], "an incident before anything was done"
        for blow in blows:
            time.sleep(self.chance.uniform(0, PAUSE_S))
            self._strike(blow)
            self._wish()
        restarted = collections.Counter(attempts) + collections.Counter(b.game for b in blows if b.restarts)
        self.host.wait_for(lambda: self._attempts() >= restarted, f"attempts {dict(restarted)}", WAIT_S)
        self._settle()
        assert self._attempts() == restarted, "a trainer was restarted that nothing had hit"
        self._check_trainers(saved)
        self._check_incidents(blows, before)
        self._check_journal()
        if part(blows[0].fault) == "journal":
            self._check_said(blows[0].fault)

    def _strike(self, blow: Blow) -> None:
        self.blows[blow.fault.name] += 1
        if blow.fault.name == "gpu-lost":
            self._wait_reading()
        if part(blow.fault) == "journal":
            self._wait_published()
            self.wishes.clear()
        seen = self.host.history()[-1]["seq"]
        blow.fault.inject(Target(self.host.paths.state_dir, blow.game))
        if blow.fault.name == "gpu-lost":  # may be healed only after it was seen
            events = self.host.history
            self.host.wait_for(lambda: any("GPU 0" in str(e) for e in events() if e["seq"] > seen), "the loss", WAIT_S)
        if blow.fault.name == "agent-sigkill" or part(blow.fault) == "journal":
            self.host.process.wait(60)
            time.sleep(self.chance.uniform(0, PAUSE_S))
            self._start_agent()

    def _start_agent(self) -> None:
        self.host.start(environment=self.environment)

    def _wish(self) -> None:
        """Ask for what there is already; only that it was asked matters."""
        self.asked += 1
        reply = self.host.call(messages.Hold(mode="light", who="test", why=str(self.asked)))
        assert reply.ok or reply.error.code == "timeout", reply  # whether it was heard then, nobody knows
        self.wishes += [self.asked] if reply.ok else []

    def _wait_reading(self) -> None:
        """Wait until the driver answers as it does when nothing is wrong."""
        host = self.host
        host.wait_for(lambda: [gpu["utilization_percent"] for gpu in host.status()["gpu"]] == [57], "a reading", WAIT_S)

    def _wait_published(self) -> None:
        """Wait until state.toml knows what the journal does."""
        seen = self.host.history()[-1]["seq"]
        told = re.compile(r"journal_seq = (\d+)")
        text = self.host.paths.state_toml.read_text
        self.host.wait_for(lambda: int(told.search(text())[1]) >= seen, "state.toml", WAIT_S)

    def _saved(self) -> dict[str, int]:
        """Return the step of each game's checkpoint on disk."""
        paths = {game: self.host.paths.run_dir(game) / "checkpoint.json" for game in GAMES}
        return {game: json.loads(path.read_text())["global_step"] for game, path in paths.items() if path.exists()}

    def _attempts(self) -> collections.Counter[str]:
        """Return the attempt of each game."""
        return collections.Counter({game["game"]: game["attempt"] for game in self.host.status()["games"]})

    def _settle(self) -> None:
        """Take away what stays, and wait until everything runs and no incident is open."""
        host = self.host
        heal(Target(host.paths.state_dir))
        self.driver.say(count=1, name_0="NVIDIA A100", utilization_0=57)
        self._wait_reading()
        host.wait_running(len(GAMES), WAIT_S)
        host.wait_for(lambda: not any(i["open"] for i in host.status()["incidents"]), "the end of it", WAIT_S)

    def _check_trainers(self, saved: dict[str, int]) -> None:
        """One trainer a game, that goes on from its checkpoint or beyond."""
        host = self.host
        steps = {game["game"]: game["global_step"] for game in host.status()["games"]}
        assert host.trainer_processes() == sorted(GAMES), host.trainer_processes()
        assert list(host.paths.state_dir.rglob("DOUBLE")) == []
        assert [game for game in saved if steps[game] < saved[game]] == [], (saved, steps)

    def _check_incidents(self, blows: list[Blow], before: dict) -> None:
        """Nothing is counted that was no incident, and none twice; what comes together may be one."""
        whats = [incident["what"] for incident in self.host.status()["incidents"][len(before["incidents"]) :]]
        possible = [re.compile(blow.fault.incident) for blow in blows if blow.fault.incident is not None]
        assert min(1, len(possible)) <= len(whats) <= len(possible), whats
        odd = [what for what in whats if not any(pattern.match(what) for pattern in possible)]
        assert odd == [], odd

    def _check_journal(self) -> None:
        """The state is the fold of the events; no start, end or wish is lost or doubled."""
        state, refolded, entries = self.host.refold()
        assert state == refolded
        events = [entry.event for entry in entries]
        heard = [int(event.why) for event in events if isinstance(event, ev.HoldRequested)]
        assert heard == sorted(set(heard)), heard
        assert set(self.wishes) <= set(heard), (self.wishes, heard)
        started = collections.Counter((d.game, d.attempt) for e in entries for d in e.decisions if d.kind == "start")
        ended = collections.Counter((e.game, e.attempt) for e in events if isinstance(e, ev.TrainerExited))
        assert {*started.values(), *ended.values()} <= {1}
        now = {(game.name, game.attempt) for game in state.games if game.has_process}
        assert set(started) - set(ended) == now & set(started)

    def _check_said(self, fault: Fault) -> None:
        """It is told, and its alert ends when what was kept is moved away."""
        host = self.host
        told = [*host.decisions(), *host.status()["alerts"]]
        assert any(re.search(fault.message, text) for text in told), told
        for path in host.paths.state_dir.glob("*.damaged-*"):
            path.unlink()
