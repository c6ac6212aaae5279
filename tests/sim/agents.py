"""Runs the production daemon on a simulated host: its loop, its journal on disk, its death at any point, its return."""

from __future__ import annotations

import contextlib
import math
import tempfile
from pathlib import Path

from rlagent.commands import answer
from rlagent.daemon import Daemon
from rlagent.journal import JournalError
from rlagent.paths import Paths
from rlagent.policy import events as ev
from rlagent.protocol import messages
from rlagent.world import World
from sim import checkers
from sim.checkers import demand
from sim.host import IDLE_S, Killed, SimGpus, SimHeartbeat, SimHost, SimJournal, SimPublisher, SimTrainers
from sim.model import STOP_S, Model

BUSY_S = 4.0
"""Between two turns while trainers come and go."""
BUSY_FOR_S = 40.0
CALM_S = STOP_S + 2 * IDLE_S
"""A trainer that does not stop is killed, the turn after that sees its end, and all slots are given out."""
SHM = Path("/dev/shm")  # noqa: S108  # a folder of our own in it


class Simulation:
    """One seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.model = Model(seed, folder)
        self.paths = Paths(folder)
        self.host = SimHost(self.model, folder)
        self.rng = self.model.rng
        self.daemon: Daemon | None = None
        self.turns = 0
        self.disk_ok_at = self.gpu_back_at = self.reboot_at = math.inf
        self.announced_at: float | None = None

    def run(self) -> SimHost:
        """Live through it all, then a calm time; raises Violation."""
        self._live(self.model.duration_s)
        self.model.calm()
        self.host.fuse, self.host.disk_full, self.host.lost_gpus = None, False, frozenset()
        self.disk_ok_at = self.gpu_back_at = self.reboot_at = math.inf
        for trainer in self.host.alive():
            trainer.dies = math.inf if trainer.first_step < math.inf else trainer.dies
        self._ensure_agent()
        self._ask(messages.Release(who="sim"))
        self._ask(messages.Start(who="sim"))
        self._live(CALM_S)
        self._check_end()
        return self.host

    def _live(self, seconds: float) -> None:
        until = self.host.now + seconds
        while self.host.now < until:
            try:
                self._ensure_agent()
                if self.daemon is not None:
                    self.turns += 1
                    self.daemon.turn()
                    self._check_turn()
                    pause = self._pause()
                    if self.daemon is not None:
                        self._trouble(pause)
                else:
                    self.host.advance(20.0)
                    self._heal()
            except Killed:
                self._lose_agent()
                self.host.advance(self.rng.choice((0.0, 1.0, 30.0)))

    def _pause(self) -> float:
        """Let time pass until the next turn: short while something goes on, and a trainer's end wakes the agent."""
        host, state = self.host, self.daemon.state
        t = self.daemon.now().t
        busy = any(game.has_process and not game.progressing and t - game.since < BUSY_FOR_S for game in state.games)
        waits = [game.not_before - t for game in state.games if game.status == "BACKOFF"]
        pause = min([BUSY_S if busy else IDLE_S, *waits, host.next_end() - host.now + 0.01])
        pause = max(0.01, pause)
        host.advance(pause)
        self._heal()
        return pause

    def _heal(self) -> None:
        host = self.host
        if host.now >= self.disk_ok_at:
            host.disk_full, self.disk_ok_at = False, math.inf
            host.note("disk has room again")
        if host.now >= self.gpu_back_at:
            host.lost_gpus, self.gpu_back_at = frozenset(), math.inf
        if host.now >= self.reboot_at:
            self._reboot()

    def _ensure_agent(self) -> None:
        if self.daemon is not None:
            return
        host = self.host
        host.life += 1
        world = World(
            monotonic=host.monotonic,
            wall=host.wall,
            host=host,
            journal=lambda path, _known: SimJournal(host, path),
            trainers=lambda *_: SimTrainers(host),
            gpus=lambda: SimGpus(host),
            heartbeat=lambda path: SimHeartbeat(host, path),
            publisher=lambda _: SimPublisher(host),
        )
        try:
            daemon = Daemon(self.model.config, self.paths, world)
            self.daemon = daemon
            daemon.take_over()
            host.note(f"agent {host.life} takes over")
        except JournalError:
            self._lose_agent()

    def _lose_agent(self) -> None:
        if self.daemon is not None:
            before = self.daemon.state
            self.daemon._journal.abandon()
            self.daemon = None
            journal = checkers_journal(self.paths.journal)
            demand(journal.state == before, "replay gives the live state", "another state after a kill")
            journal.close()

    def _check_turn(self) -> None:
        bugs = [text for text in self.daemon._troubles.values() if "a bug" in text]
        demand(not bugs, "no event makes it raise", "; ".join(bugs))

    def _trouble(self, pause: float) -> None:
        """Draw what happens in this pause."""
        for kind, rate in self.model.rates.items():
            if rate and self.rng.random() < rate * pause / self.model.unit_s:
                self._happen(kind)
                if self.daemon is None:
                    return

    def _happen(self, kind: str) -> None:  # noqa: C901, PLR0912  # a table of troubles
        host, rng = self.host, self.rng
        if kind == "kill":
            host.fuse = rng.randint(1, 40)
        elif kind == "reboot":
            self._reboot()
        elif kind == "announced reboot" and self.reboot_at == math.inf:
            who = {"who": "sim", "why": "kernel"}
            self._operate(ev.RebootAnnounced, **who)
            if rng.random() < 0.5:
                self._ask(messages.Stop(who="sim", until_restart=True))
            self.reboot_at = host.now + rng.uniform(0, 1200)
        elif kind == "full disk":
            host.disk_full, self.disk_ok_at = True, host.now + rng.uniform(5, 300)
            host.note("disk is full")
        elif kind == "clock":
            host.wall_offset += rng.choice((-1e9, -3600.0, 7200.0, 1e8))
        elif kind == "gpu":
            host.lost_gpus, self.gpu_back_at = frozenset({0}), host.now + rng.uniform(20, 200)
            host.note("GPU 0 is lost")
            for trainer in host.alive():
                trainer.dies = min(trainer.dies, host.now + rng.uniform(0, 10))
        elif kind == "operator":
            self._ask(self._wish())
        elif kind == "restart":
            self.daemon.shut_down("SIGTERM")
            self.daemon.end()
            self.daemon = None
        elif kind == "duplicate":
            for entry in self.daemon.entries(-math.inf, 5):
                if isinstance(entry.event, ev.TrainerExited | ev.TrainerHung | ev.TrainerProgressed):
                    checkers.duplicate(self.daemon.state, entry.event)

    def _wish(self) -> messages.Request:
        rng, modes = self.rng, self.model.config.modes
        return rng.choice(
            (
                messages.Hold(mode=rng.choice(modes).name, who="sim", no_fallback=rng.random() < 0.3),
                messages.Hold(mode=rng.choice(modes).name, who="sim", for_s=rng.uniform(1, self.model.unit_s)),
                messages.Release(who="sim"),
                messages.Release(who="sim"),
                messages.Rollback(who="sim"),
                messages.Stop(who="sim", until_restart=rng.random() < 0.5),
                messages.Start(who="sim"),
                messages.Start(who="sim"),
                messages.Explain(),
                messages.GetHistory(limit=10),
            )
        )

    def _ask(self, request) -> None:
        self.host.note(f"asked: {type(request).__name__}")
        reply = messages.decode_reply(answer(self.daemon, messages.encode(request)))
        error = "" if reply.error is None else reply.error.message
        demand("failed to answer" not in error, "no event makes it raise", error)

    def _operate(self, kind, **fields) -> None:
        stamp = self.daemon.now()
        daemon = self.daemon
        try:
            daemon.operate(kind(t=stamp.t, wall=stamp.wall, **fields))
        except JournalError:
            pass
        finally:  # killed after the commit it stands, before it doesn't
            if daemon.state.announced_until is not None:
                self.announced_at = self.host.now

    def _reboot(self) -> None:
        host, rng = self.host, self.rng
        announced = self.announced_at is not None and host.now - self.announced_at <= 1790
        pending, self.announced_at, self.reboot_at = self.announced_at, None, math.inf
        if pending is not None and not announced:
            return  # too late to be sure of either side: it does not happen
        with contextlib.suppress(Killed):  # the reboot comes all the same
            if self.daemon is not None and rng.random() < 0.5:
                self.daemon.shut_down("SIGTERM")
                self.daemon.end()
                self.daemon = None
        self._lose_agent()
        host.fuse = None
        down = rng.choice((5.0, 30.0, 300.0))
        jump = rng.choice((0.0, 0.0, -1e6, 1e6))
        host.reboot(announced=announced, container=rng.random() < 0.5, down_s=down, jump_s=jump)

    def _check_end(self) -> None:
        """After the calm time: everything runs again, every end is told, and the journal says so."""
        self.host.fuse = None
        self._ensure_agent()
        for _ in range(3):  # what the last turn did, a kill for instance, is told by the next ones
            self.daemon.turn()
            self.host.advance(0.001)
        state = self.daemon.state
        slots = self.model.config.mode(state.mode).games
        taken = sum(game.has_slot for game in state.games)
        waiting = [game.name for game in state.games if game.status == "QUEUED"]
        demand(
            state.transition is not None or taken == slots or not waiting,
            "no order, duplicate or loss",
            f"{taken} of {slots} slots are taken after a calm time, {waiting} wait",
        )
        processes = {(trainer.game, trainer.attempt) for trainer in self.host.alive()}
        known = {(game.name, game.attempt) for game in state.games if game.has_process}
        demand(processes <= known, "one set of trainers", f"nobody knows of {processes - known}")
        checkers.truth(self.host, self.model.fold)
        checkers.replay(self.daemon._journal.entries(), state)
        self.daemon.end()


def checkers_journal(path: Path):
    """Open a journal as the next agent would."""
    from rlagent.journal import Journal  # noqa: PLC0415

    return Journal(path)


def simulate(seed: int) -> Simulation:
    """Run one seed in a folder of its own; raises Violation, its story in `notes`."""
    with tempfile.TemporaryDirectory(prefix="rlfleet-sim-", dir=SHM if SHM.is_dir() else None) as folder:
        simulation = Simulation(seed, Path(folder))
        try:
            simulation.run()
        except BaseException as error:
            error.story = simulation.host.story
            raise
        finally:
            if simulation.daemon is not None:
                simulation.daemon._journal.abandon()
        return simulation
