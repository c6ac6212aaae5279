"""Follows many logs at once: in the order of time, going on after each interruption, until the person has enough."""

from __future__ import annotations

import dataclasses
import queue
import time
from collections.abc import Callable, Sequence
from typing import Final

from rlagent.protocol.logs import LogBeat, LogLine, LogNotice, LogStart
from rlctl.errors import AgentError, ConnectError, HostError
from rlctl.fanout import Outcome
from rlctl.hosts import Host
from rlctl.logfeed import Ended, Feed, Said
from rlctl.reorder import Reorder

HOLD_S: Final = 0.4
"""A line waits so long for an earlier one of another host: longer than a host takes to notice a new line."""
SILENT_S: Final = 12.0
"""A host whose stream says nothing for so long, although it beats every 2 s, is connected to anew."""
RETRY_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
_POLL_S: Final = 0.1


@dataclasses.dataclass
class _State:
    feed: Feed
    heard: float
    """When something was heard last, or asked for; monotonic."""
    worked: bool = False
    """Something was heard since the command began."""
    error: HostError | None = None
    """Why it is not connected now; None: it is, or is about to be."""
    told: bool = False
    """The person knows of the error."""
    failures: int = 0
    retry_at: float | None = None
    final: bool = False
    """It can't be followed at all."""


class Follower:
    """All feeds of one command."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        timeout_s: float,
        show: Callable[[Host, LogLine], None],
        tell: Callable[[str], None],
        met: Callable[[Host, str], None],
    ) -> None:
        """Make it ready to run.

        timeout_s: for a host's first sign. show: gets each line. tell: gets what is to be said beside them. met: gets
        the UUID by which a host presents itself.
        """
        now = time.monotonic()
        self._states = {feed.host.name: _State(feed, now) for feed in feeds}
        self._timeout_s, self._show, self._tell, self._met = timeout_s, show, tell, met
        self._events: queue.SimpleQueue[Said | Ended] = queue.SimpleQueue()
        self._buffer: Reorder[tuple[Host, LogLine]] = Reorder(HOLD_S)

    def run(self) -> list[Outcome[None]]:
        """Follow until interrupted; returns only when no host can be followed, with the reasons."""
        for state in self._states.values():
            state.feed.start(self._events)
        try:
            while not self._is_hopeless():
                self._hear()
                now = time.monotonic()
                for host, line in self._buffer.due(now):
                    self._show(host, line)
                for state in self._states.values():
                    self._look_after(state, now)
        finally:
            for host, line in self._buffer.rest():
                self._show(host, line)
        return [Outcome(state.feed.host, error=state.error) for state in self._states.values()]

    def _is_hopeless(self) -> bool:
        """Whether no host was reached at all, or none can be followed any more."""
        states = self._states.values()
        if any(state.worked for state in states):
            return all(state.final for state in states)
        return all(state.error is not None for state in states)

    def _hear(self) -> None:
        """Take what has come, waiting a moment for the first of it."""
        timeout_s = _POLL_S
        while True:
            try:
                event = self._events.get(timeout=timeout_s) if timeout_s else self._events.get_nowait()
            except queue.Empty:
                return
            timeout_s = 0.0
            state = self._states[event.feed.host.name]
            if event.generation != event.feed.generation:
                continue
            if isinstance(event, Said):
                self._said(state, event)
            else:
                self._lose(state, event.error or AgentError("ended", "the stream of its logs ended"))

    def _said(self, state: _State, said: Said) -> None:
        now = time.monotonic()
        if state.error is not None and state.told:
            self._tell(f"{state.feed.host.name}: connected again")
        state.heard, state.worked, state.error, state.told, state.failures = now, True, None, False, 0
        match said.record:
            case LogLine() as line:
                state.feed.taken(line)
                self._buffer.push(now, said.at, (state.feed.host, line))
            case LogStart() as start:
                state.feed.taken(start)
            case LogBeat(host_uuid=str(uuid)):
                self._met(state.feed.host, uuid)
            case LogNotice(text=text):
                self._tell(f"{state.feed.host.name}: {text}")

    def _lose(self, state: _State, error: HostError) -> None:
        """Try again where that can help: what was no matter of the way from the beginning stays wrong."""
        state.error = error
        state.final = not (state.worked or isinstance(error, ConnectError))
        if not state.final:
            state.retry_at = time.monotonic() + RETRY_S[min(state.failures, len(RETRY_S) - 1)]
            state.failures += 1

    def _look_after(self, state: _State, now: float) -> None:
        if state.error is None:
            limit_s = SILENT_S if state.worked else self._timeout_s
            if now - state.heard > limit_s:
                state.feed.give_up()
                self._lose(state, ConnectError("timeout", f"silent for {now - state.heard:.0f} s"))
        elif not state.told and any(other.worked for other in self._states.values()):
            again = f"{state.error.reason}; trying again until it is back"
            self._tell(f"{state.feed.host.name}: {state.error if state.final else again}")
            state.told = True
        if state.retry_at is not None and now >= state.retry_at:
            state.retry_at, state.heard = None, now
            state.feed.start(self._events)
