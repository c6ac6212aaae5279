"""The hosts of one command with their connections: asks all of their agents at once, and knows who they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

from rlagent.protocol.messages import MUTATING, Ping, Request
from rlagent.protocol.status import AgentStatus
from rlctl import skew, sshanswers
from rlctl.agent import Alive, ask, look_at, result_of
from rlctl.channel import Channel, Completed
from rlctl.errors import ChangedHostError, HostError, RlctlError
from rlctl.fanout import Deadline, Outcome, gather
from rlctl.hosts import Host
from rlctl.identity import Change, Identities, accept_command
from rlctl.local import open_channel

T = TypeVar("T")


class Fleet:
    """Hosts, and a connection to each that lasts as long as the command.

    Args:
        hosts: In the order of their rows.
        timeout_s: The deadline of each request to all of them.
        identities: The pinned hosts.
        warn: Tells the person of a host that is not the one it was, or whose agent was dead and has been revived.
    """

    def __init__(
        self, hosts: Sequence[Host], timeout_s: float, identities: Identities, warn: Callable[[str], None]
    ) -> None:
        self.hosts = tuple(hosts)
        self.timeout_s = timeout_s
        self.identities = identities
        self._warn = warn
        self._warned: set[str] = set()
        self._channels: dict[str, Channel] = {}
        self._notices: list[str] = []
        """What hosts said beside their answers, not told yet."""
        self._uuids: dict[Host, str] = {}
        """Who answered, as far as it is known."""

    def ask(
        self,
        request: Request,
        result: type[T],
        hosts: Sequence[Host] | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[Outcome[T]]:
        """Ask the agents of all hosts (or of these) and return an outcome for each, in order.

        What changes something is not sent to a host that is not the pinned one: its outcome is `ChangedHostError`.
        `meanwhile` runs here while the hosts are waited for.
        """

        def one(host: Host, deadline: Deadline) -> T:
            if not isinstance(request, Ping):
                self._meet(host, deadline, ahead=not issubclass(_plain(result), AgentStatus))
            if isinstance(request, MUTATING) and (change := self._change(host)) is not None:
                raise change.refusal()
            value = self._ask(host, request, result, deadline)
            if isinstance(value, AgentStatus):
                self._note(host, value.agent.host_uuid)
            elif isinstance(value, Alive):
                self._note(host, value.host_uuid)
            return value

        for each in (Alive, result):
            look_at(each)
        return self._gather(one, self.hosts if hosts is None else hosts, meanwhile)

    def run(
        self, argv: Callable[[Host], Sequence[str]], hosts: Sequence[Host] | None = None
    ) -> list[Outcome[Completed]]:
        """Run a command on all hosts (or on these), to its end, within the deadline."""

        def one(host: Host, deadline: Deadline) -> Completed:
            return self.channel(host).run(argv(host), b"", deadline)

        return self._gather(one, self.hosts if hosts is None else hosts)

    def met(self, host: Host, uuid: str) -> None:
        """Take note of who a host says it is in another way than by an answer; warns of a change."""
        self._note(host, uuid)
        self._pin()
        change = self._change(host)
        if change is not None:
            self._warn_of(change)

    def ask_command(self, host: Host, argv: Sequence[str], result: type[T]) -> Outcome[T]:
        """Run a command of the agent's that prints a reply, and return its typed result."""
        outcome = self.run(lambda asked: [asked.agent, *argv], [host])[0]
        if outcome.value is None:
            return Outcome(host, error=outcome.error, warning=outcome.warning)
        try:
            return Outcome(host, result_of(host, outcome.value, result, self._warn), warning=outcome.warning)
        except HostError as error:
            return Outcome(host, error=error, warning=outcome.warning)

    def channel(self, host: Host) -> Channel:
        """Return the host's connection."""
        return self._channels.get(host.name) or self._channels.setdefault(host.name, open_channel(host))

    def _gather(
        self,
        work: Callable[[Host, Deadline], T],
        hosts: Sequence[Host],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[Outcome[T]]:
        outcomes = gather(hosts, work, self.timeout_s, meanwhile)
        for outcome in outcomes:
            if outcome.error is not None:  # its thread may still hold the connection: the next request gets a new one
                lost = self._channels.pop(outcome.host.name, None)
                if lost is not None:
                    lost.abandon()
        for notice in sorted(self._notices):
            self._warn(notice)
        self._notices.clear()
        sshanswers.keep()
        self._pin()
        return [self._with_warning(outcome) for outcome in outcomes]

    def _ask(self, host: Host, request: Request, result: type[T], deadline: Deadline) -> T:
        def send(request: Request) -> T:
            return ask(host, self.channel(host), request, result, deadline, hear)

        def hear(text: str) -> None:
            self._notices.append(f"{host.name}: {text}")

        try:
            return send(request)
        except HostError as error:
            # An agent without names of wishes refuses the name before it does anything.
            if skew.unknown_field(error) == "request_id":
                return send(skew.unnamed(request))
            raise skew.explain(host, request, error) from error

    def _meet(self, host: Host, deadline: Deadline, *, ahead: bool = True) -> None:
        """Ask a host who it is, unless its answer will tell; this machine is itself."""
        if ahead and not host.local and host not in self._uuids:
            self._note(host, self._ask(host, Ping(), Alive, deadline).host_uuid)

    def _note(self, host: Host, uuid: str) -> None:
        if uuid and not host.local:
            self._uuids[host] = uuid

    def _change(self, host: Host) -> Change | None:
        uuid = self._uuids.get(host)
        return None if uuid is None else self.identities.change(host, uuid)

    def _pin(self) -> None:
        try:
            self.identities.remember(dict(self._uuids))
        except RlctlError as error:
            self._warn_once("", str(error))

    def _with_warning(self, outcome: Outcome[T]) -> Outcome[T]:
        change = self._change(outcome.host)
        if change is None or isinstance(outcome.error, ChangedHostError):
            return outcome
        self._warn_of(change)
        return dataclasses.replace(outcome, warning=str(change))

    def _warn_of(self, change: Change) -> None:
        self._warn_once(change.host, f"WARNING: {change}; if that is right: {accept_command(change.host)}")

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            self._warn(message)


def _plain(result: object) -> type:
    return result if isinstance(result, type) else object
