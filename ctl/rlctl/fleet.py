"""The hosts of one command with their connections: asks all of their agents at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rlagent.protocol.messages import Request
from rlctl.agent import ask
from rlctl.channel import Channel, Completed, open_channel
from rlctl.fanout import Deadline, Outcome, gather
from rlctl.hosts import Host

T = TypeVar("T")


class Fleet:
    """Hosts, and a connection to each that lasts as long as the command."""

    def __init__(self, hosts: Sequence[Host], timeout_s: float) -> None:
        self.hosts = tuple(hosts)
        self.timeout_s = timeout_s
        self._channels: dict[str, Channel] = {}

    def ask(self, request: Request, result: type[T], hosts: Sequence[Host] | None = None) -> list[Outcome[T]]:
        """Ask the agents of all hosts (or of these) and return an outcome for each, in order."""
        asked = self.hosts if hosts is None else hosts

        def one(host: Host, deadline: Deadline) -> T:
            return ask(host, self.channel(host), request, result, deadline)

        outcomes = gather(asked, one, self.timeout_s)
        for outcome in outcomes:
            if outcome.error is not None:  # its thread may still hold the connection: the next request gets a new one
                self._channels.pop(outcome.host.name, None)
        return outcomes

    def run(self, host: Host, argv: Sequence[str]) -> Outcome[Completed]:
        """Run the agent's command on one host, to its end, within the deadline."""

        def one(host: Host, deadline: Deadline) -> Completed:
            return self.channel(host).run(argv, b"", deadline)

        return gather([host], one, self.timeout_s)[0]

    def channel(self, host: Host) -> Channel:
        """Return the host's connection."""
        return self._channels.get(host.name) or self._channels.setdefault(host.name, open_channel(host))
