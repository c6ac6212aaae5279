"""The main path: gather events -> step the policy -> journal -> carry out.

Everything the agent learns becomes an event; what follows from it is decided by the pure policy, written to the journal
in one transaction, and only then acted on. Acting means making the world match the state, so that an agent killed at
any instant and started again ends in the same place.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import selectors
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec

from rlagent import __version__, files, notify, recovery, summary
from rlagent.clock import PolicyClock
from rlagent.commands import answer
from rlagent.config import Config, to_rules
from rlagent.hands import Hands
from rlagent.journal import Entry, JournalDamagedError, JournalError, Stamp
from rlagent.lookout import Lookout
from rlagent.paths import Paths
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision
from rlagent.protocol.status import AgentInfo, AgentStatus
from rlagent.senses import Senses
from rlagent.server import Server
from rlagent.statusview import Readings, build
from rlagent.world import World

log = logging.getLogger(__name__)

ROUNDS_MAX = 50
"""So often at most acting may lead to new events in one turn; a bug must not become an endless loop."""
ENDING_TICK_S = 0.1
"""The pause between two turns while a trainer is on its way out."""
HANG_TICK_S = 0.05
"""So long after a hang timeout the agent looks."""


class Daemon:
    """The agent: `run` is its life, `take_over`, `turn` and `end` are what that consists of."""

    def __init__(self, config: Config, paths: Paths, world: World | None = None) -> None:
        """Open the journal. Raises JournalError, OSError."""
        self.version = __version__
        self.pid = os.getpid()
        self._config, self._paths = config, paths
        self._world = world = world or World()
        self._rules = to_rules(config)
        self.host_uuid = self._host_uuid()
        self._supervisor = world.trainers(self.host_uuid, config.supervisor.log_max_mib, config.supervisor.log_keep)
        self._journal = world.journal(paths.journal, self._known())
        last, boot = self._journal.last_stamp(), self._boot()
        self._clock = PolicyClock(last, boot, world.monotonic, world.wall, self._rules.window_s)
        self._started = world.monotonic()
        self._ending: str | None = None
        self._unwritten = False
        """The journal refused its last line."""
        self._troubles: dict[str, str] = {}
        self._gpu = world.gpus()
        self._senses = Senses(config, paths, self._supervisor, self._gpu, world)
        self._lookout = Lookout(config, paths, self._senses, self._gpu, world)
        self._hands = Hands(config, paths, self._supervisor, self._senses, world.host)
        self._publisher = world.publisher(paths)
        self._notifier = notify.of_process()

    def run(self) -> None:
        """Work until told to end; trainers go on.

        Raises JournalError when not even the start can be journaled, OSError when the socket can't be bound.
        """
        with selectors.DefaultSelector() as selector:
            server = Server(self._paths.socket, selector, lambda line: answer(self, line))
            self._catch_signals(selector)
            self.take_over()
            self._notifier.ready(self._headline())
            while self._ending is None:
                self.turn()
                server.drop_idle()
                self._notifier.alive(self._headline())
                self._wait(selector)
            self._notifier.ending()
            self.end()
            server.close()

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
                rss_mib=self._world.host.rss_mib(self.pid),
            ),
            uptime_s=self._world.host.uptime_s(),
            host=self._lookout.host,
            gpu=gpu,
            gpu_error=gpu_error,
            games=self._senses.games(),
            alerts=[
                *self._troubles.values(),
                *self._hands.troubles(),
                *self._senses.warnings(),
                *self._lookout.warnings(),
                *(f"the journal was damaged once: {path} is kept; move it away when done" for path in self._kept()),
            ],
        )
        return build(self._config, self.state, readings)

    def entries(self, since_wall: float, limit: int) -> list[Entry]:
        """Read the journal, leaving out what decided nothing."""
        return list(self._journal.entries(since_wall=since_wall, limit=limit, quiet=False))

    def taken(self, request_id: str) -> Entry | None:
        """Return the journaled wish of this name, if there is one."""
        return self._journal.wish(request_id)

    def foresee(self, event: ev.Event) -> tuple[Decision, ...]:
        """Return what would be decided on an event now; nothing is journaled or done."""
        return step(self.state, event)[1]

    def operate(self, event: ev.Event) -> tuple[Decision, ...]:
        """Journal an operator's wish, decide, and begin to act. Raises JournalError."""
        # A trainer that has just crashed must not be taken for one that this wish stopped.
        self._try("journal", self._carry_out, heals=False)
        decisions = self._record(event)
        self._try("journal", self._carry_out, heals=False)
        return decisions

    def shut_down(self, reason: str) -> None:
        """End after this turn."""
        self._ending = reason

    def take_over(self) -> None:
        """Tell the policy that the agent is here, and of a reboot or a new configuration."""
        if self.state.rules is None:
            used = self._supervisor.used_attempts(self._paths.runs)
            self._record(self._event(ev.Configured, rules=self._rules, used_attempts=used))
        self._record(self._event(ev.AgentStarted, boot=self._clock.boot, version=self.version))
        if self.state.rules != self._rules:
            self._record(self._event(ev.Configured, rules=self._rules))
        self._supervisor.kill_strangers(game.name for game in self.state.games)

    def turn(self) -> None:
        """Look, decide, act, tell."""
        self._try("journal", self._look_and_act, heals=False)
        now = self._world.monotonic()
        if self._publisher.is_due(self._journal.seq, now):
            self._try(
                "status files", lambda: self._publisher.publish(self.status(), self.state, self._journal.seq, now)
            )

    def end(self) -> None:
        """Say in the journal that the agent ends, and let go of everything."""
        self._try("journal", self._carry_out, heals=False)
        self._try(
            "journal", lambda: self._record(self._event(ev.AgentStopping, reason=self._ending or "")), heals=False
        )
        self._gpu.stop()
        self._journal.close()

    def _look_and_act(self) -> None:
        # Ends first: time passes with any event, and may promote; that must not hide a crash of this very moment.
        self._carry_out()
        known = self.state
        for event in self._senses.look(self.state, self.now):
            self._record(event)
        for finding in self._lookout.look(self.state, self._world.monotonic()):
            self._record(self._event(ev.GuardTripped, **finding))
        self._record(self._event(ev.Tick))
        if self.state is not known:
            self._carry_out()

    def _headline(self) -> str:
        """Return one line for `systemctl status`."""
        running = sum(game.status == "RUNNING" for game in self.state.games)
        return f"{self.version}: mode {self.state.mode}, {running} trainers run"

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
        if self._unwritten and not isinstance(event, ev.JournalBack):
            self._record(self._event(ev.JournalBack))
        before = self.state
        after, decisions = step(before, event)
        if not decisions and isinstance(event, ev.OBSERVATIONS) and not self._changed(before, after):
            return ()
        stamp = msgspec.structs.replace(self.now(), t=event.t, wall=event.wall)
        try:
            self._journal.append(stamp, event, decisions, after)
        except JournalDamagedError as damage:
            aside = recovery.keep(self._paths.journal)
            self._journal.close()
            self._journal = recovery.rebuild(self._paths.journal, aside, damage.fault, self._known(), live=before)
            self._journal.append(stamp, event, decisions, after)
        except JournalError:
            self._unwritten = True
            raise
        self._unwritten = False
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

    def _wait(self, selector: selectors.BaseSelector) -> None:
        """Sleep until the next tick, or until a trainer ends or a signal comes; answer requests meanwhile."""
        tick_s = self._config.agent.tick_s
        # The end of a trainer wakes us; how it ended stands in its shim's record a moment later.
        pause_s = min(tick_s, ENDING_TICK_S) if self._supervisor.is_ending else tick_s
        # A hang is noticed when its timeout is over, not up to a tick later.
        hang_s = self._senses.hangs_in_s + HANG_TICK_S if self._senses.hangs_in_s > 0 else math.inf
        deadline = self._world.monotonic() + min(pause_s, hang_s, self._notifier.pause_s or math.inf)
        ended = False
        while self._ending is None and not ended and self._world.monotonic() < deadline:
            ready, ended = self._select(selector, deadline - self._world.monotonic())
            for key, events in ready:
                key.data(events)

    def _select(
        self, selector: selectors.BaseSelector, timeout_s: float
    ) -> tuple[list[tuple[selectors.SelectorKey, int]], bool]:
        """Wait for requests, signals and the end of a trainer; returns what is to be served, and whether one ended.

        A trainer's descriptor is registered only while we wait: serving a request may close it.
        """
        # A trainer's end that can't be journaled yet would wake us without a pause.
        watched = [] if "journal" in self._troubles else self._supervisor.filenos()
        for descriptor in watched:
            selector.register(descriptor, selectors.EVENT_READ)
        try:
            ready = selector.select(timeout_s)
        finally:
            for descriptor in watched:
                selector.unregister(descriptor)
        served = [(key, events) for key, events in ready if key.fd not in watched]
        return served, len(served) < len(ready)

    def _catch_signals(self, selector: selectors.BaseSelector) -> None:
        """SIGTERM and SIGINT end the agent after the present turn, and wake it from its sleep."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        selector.register(reader, selectors.EVENT_READ, lambda _events: os.read(reader, 64))

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
        known, seen = self.state.boot, self._world.host.boot_identity()
        if known is None or known == seen or not self._supervisor.any_alive():
            return seen
        log.warning("the boot identity changed from %s to %s under living trainers: not a reboot", known, seen)
        return known

    def _known(self) -> recovery.Known:
        """Return what a journal can be rebuilt from."""
        now = Stamp(
            t=0.0, wall=self._world.wall(), monotonic=self._world.monotonic(), boot=self._world.host.boot_identity()
        )
        return recovery.Known(
            now=now,
            rules=self._rules,
            told=summary.read(self._paths.state_toml),
            attempts=self._supervisor.used_attempts(self._paths.runs),
        )

    def _kept(self) -> list[Path]:
        return recovery.kept(self._paths.journal)

    def _host_uuid(self) -> str:
        """Return this host's identity, made at the agent's first start. Raises OSError."""
        path = self._paths.host_uuid
        with contextlib.suppress(FileNotFoundError, ValueError):
            return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
        made = str(uuid.uuid4())
        files.replace(path, f"{made}\n".encode())
        return made
