"""The main path: gather events -> step the policy -> journal -> carry out.

Everything the agent learns becomes an event; what follows from it is decided by the pure policy, written to the journal
in one transaction, and only then acted on. Acting means making the world match the state, so that an agent killed at
any instant and started again ends in the same place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import time
import uuid
from collections.abc import Callable
from types import FrameType

import msgspec

from rlagent import __version__, files
from rlagent.clock import PolicyClock
from rlagent.commands import answer
from rlagent.config import Config, to_rules
from rlagent.hands import Hands
from rlagent.journal import Entry, Journal, JournalError, Stamp
from rlagent.paths import Paths
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision
from rlagent.probe import host
from rlagent.probe.gpu import GpuProbe
from rlagent.protocol.status import AgentInfo, AgentStatus
from rlagent.publish import Publisher
from rlagent.senses import Senses
from rlagent.server import Server
from rlagent.statusview import Readings, build
from rlagent.supervisor import Supervisor

log = logging.getLogger(__name__)

ROUNDS_MAX = 50
"""So often at most acting may lead to new events in one turn; a bug must not become an endless loop."""


class Daemon:
    """The agent."""

    def __init__(self, config: Config, paths: Paths) -> None:
        """Open the journal and the socket. Raises JournalError, OSError."""
        self.version = __version__
        self.pid = os.getpid()
        self._config, self._paths = config, paths
        self._rules = to_rules(config)
        self._journal = Journal(paths.journal)
        self.host_uuid = self._host_uuid()
        self._supervisor = Supervisor(self.host_uuid, config.supervisor.log_max_mib, config.supervisor.log_keep)
        last, boot = self._journal.last_stamp(), self._boot()
        self._clock = PolicyClock(last, boot, time.monotonic(), time.time(), self._rules.window_s)
        self._started = time.monotonic()
        self._ending: str | None = None
        self._troubles: dict[str, str] = {}
        self._selector = selectors.DefaultSelector()
        self._gpu = GpuProbe()
        self._senses = Senses(config, paths, self._supervisor, self._gpu)
        self._hands = Hands(config, paths, self._supervisor, self._senses)
        self._publisher = Publisher(paths)
        self._server = Server(paths.socket, self._selector, lambda line: answer(self, line))

    def run(self) -> None:
        """Work until told to end; trainers go on. Raises JournalError when not even the start can be journaled."""
        self._catch_signals()
        self._take_over()
        while self._ending is None:
            self._turn()
            self._wait()
        self._try(
            "journal", lambda: self._record(self._event(ev.AgentStopping, reason=self._ending or "")), heals=False
        )
        self._server.close()
        self._gpu.stop()
        self._journal.close()

    @property
    def state(self) -> State:
        """Where the policy stands: always what the journal holds."""
        return self._journal.state

    def now(self) -> Stamp:
        """Read the clocks."""
        return self._clock.stamp()

    def status(self) -> AgentStatus:
        """Return the whole picture."""
        stamp = self.now()
        gpu, gpu_error = self._gpu.readings()
        readings = Readings(
            t=stamp.t,
            wall=stamp.wall,
            agent=AgentInfo(
                version=self.version,
                pid=self.pid,
                host_uuid=self.host_uuid,
                uptime_s=stamp.monotonic - self._started,
                rss_mib=host.rss_mib(self.pid),
            ),
            uptime_s=host.uptime_s(),
            host=host.readings(self._paths.state_dir),
            gpu=gpu,
            gpu_error=gpu_error,
            games=self._senses.games(),
            alerts=[*self._troubles.values(), *self._hands.troubles(), *self._senses.warnings()],
        )
        return build(self._config, self.state, readings)

    def entries(self, since_wall: float, limit: int) -> list[Entry]:
        """Read the journal, leaving out what decided nothing."""
        return list(self._journal.entries(since_wall=since_wall, limit=limit, quiet=False))

    def operate(self, event: ev.Event) -> tuple[Decision, ...]:
        """Journal an operator's wish, decide, and begin to act. Raises JournalError."""
        decisions = self._record(event)
        self._try("journal", self._carry_out, heals=False)
        return decisions

    def shut_down(self, reason: str) -> None:
        """End after this turn."""
        self._ending = reason

    def _take_over(self) -> None:
        """Tell the policy that the agent is here, and of a reboot or a new configuration."""
        if self.state.rules is None:
            used = self._supervisor.used_attempts(self._paths.runs)
            self._record(self._event(ev.Configured, rules=self._rules, used_attempts=used))
        self._record(self._event(ev.AgentStarted, boot=self._clock.boot, version=self.version))
        if self.state.rules != self._rules:
            self._record(self._event(ev.Configured, rules=self._rules))
        self._supervisor.kill_strangers(game.name for game in self.state.games)

    def _turn(self) -> None:
        """Look, decide, act, tell."""
        self._try("journal", self._look_and_act, heals=False)
        self._server.drop_idle()
        self._try("status files", lambda: self._publisher.publish(self.status(), self.state))

    def _look_and_act(self) -> None:
        for event in self._senses.look(self.state, self.now):
            self._record(event)
        self._record(self._event(ev.Tick))
        self._carry_out()

    def _carry_out(self) -> None:
        """Make the world match the state; what is learned on the way is recorded, and may change the state again."""
        for _ in range(ROUNDS_MAX):
            events = self._hands.act(self.state, self.now)
            for event in events:
                self._record(event)
            if not events:
                return
        log.error("acting does not come to an end; going on with the next turn")

    def _record(self, event: ev.Event) -> tuple[Decision, ...]:
        """Step the policy and journal what it decided; an observation that changes nothing leaves no trace."""
        before = self.state
        after, decisions = step(before, event)
        if not decisions and isinstance(event, ev.OBSERVATIONS) and not self._changed(before, after):
            return ()
        stamp = msgspec.structs.replace(self.now(), t=event.t, wall=event.wall)
        self._journal.append(stamp, event, decisions, after)
        self._troubles.pop("journal", None)
        for decision in decisions:
            log.log(logging.WARNING if decision.kind in ("alert", "fatal") else logging.INFO, "%s", decision.reason)
        return decisions

    def _changed(self, before: State, after: State) -> bool:
        if after.t - before.t >= self._config.agent.journal_tick_s:
            return True
        return msgspec.structs.replace(after, t=before.t, wall=before.wall) != before

    def _event(self, kind: Callable[..., ev.Event], **fields: object) -> ev.Event:
        stamp = self.now()
        return kind(t=stamp.t, wall=stamp.wall, **fields)

    def _try(self, what: str, action: Callable[[], object], *, heals: bool = True) -> None:
        """Do it; a full disk becomes an alert, and is tried again at the next turn.

        `heals`: success ends the alert. A turn that had nothing to journal says nothing about the journal.
        """
        try:
            action()
        except (JournalError, OSError) as error:
            if what not in self._troubles:
                log.error("%s", error)  # noqa: TRY400  # a full disk needs no traceback
            self._troubles[what] = f"{what}: {error}"
        except Exception as error:  # a bug must not end the agent: trainers would go unwatched
            if what not in self._troubles:
                log.exception("%s failed", what)
            self._troubles[what] = f"{what}: a bug: {type(error).__name__}: {error}"
        else:
            if heals:
                self._troubles.pop(what, None)

    def _wait(self) -> None:
        """Sleep until the next tick, or until a trainer ends or a signal comes; answer requests meanwhile."""
        deadline = time.monotonic() + self._config.agent.tick_s
        ended = False
        while self._ending is None and not ended and time.monotonic() < deadline:
            ready, ended = self._select(deadline - time.monotonic())
            for key, events in ready:
                key.data(events)

    def _select(self, timeout_s: float) -> tuple[list[tuple[selectors.SelectorKey, int]], bool]:
        """Wait for requests, signals and the end of a trainer; returns what is to be served, and whether one ended.

        A trainer's descriptor is registered only while we wait: serving a request may close it.
        """
        watched = self._supervisor.filenos()
        for descriptor in watched:
            self._selector.register(descriptor, selectors.EVENT_READ)
        try:
            ready = self._selector.select(timeout_s)
        finally:
            for descriptor in watched:
                self._selector.unregister(descriptor)
        served = [(key, events) for key, events in ready if key.fd not in watched]
        return served, len(served) < len(ready)

    def _catch_signals(self) -> None:
        """SIGTERM and SIGINT end the agent after the present turn, and wake it from its sleep."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, lambda _events: os.read(reader, 64))

        def end(number: int, _frame: FrameType | None) -> None:
            self._ending = signal.Signals(number).name

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _boot(self) -> str:
        """Return this boot's identity, or the last one's when its trainers are still alive.

        No process survives a reboot. An identity that changes under living trainers is a change of view: a service
        manager's sandbox shows another boot id, a debugger's namespace another PID 1.
        """
        known, seen = self.state.boot, host.boot_identity()
        if known is None or known == seen or not self._supervisor.any_alive():
            return seen
        log.warning("the boot identity changed from %s to %s under living trainers: not a reboot", known, seen)
        return known

    def _host_uuid(self) -> str:
        """Return this host's identity, made at the agent's first start. Raises OSError."""
        path = self._paths.host_uuid
        with contextlib.suppress(FileNotFoundError, ValueError):
            return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
        made = str(uuid.uuid4())
        files.replace(path, f"{made}\n".encode())
        return made
