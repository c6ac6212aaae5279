"""Connections of rlctl that note what they are asked, and answer as a test says: no process, no network."""

from __future__ import annotations

import json

from ctl_statuses import status
from rlagent.protocol import messages
from rlagent.protocol.status import AgentInfo
from rlctl.channel import Completed


class Line:
    """A connection to a host whose answers a test can change."""

    def __init__(self, world, host) -> None:
        self._world, self._host = world, host

    def call(self, request, deadline):
        asked = json.loads(request)
        self._world.asked.append((self._host.name, asked["verb"]))
        self._world.requests.append(asked)
        answer = self._world.answer(self._host, asked["verb"])
        if isinstance(answer, Exception):
            raise answer
        return Completed(0, messages.encode(messages.Reply(ok=True, result=answer)), b"")

    def run(self, argv, stdin, deadline):
        self._world.asked.append((self._host.name, tuple(argv)))
        return self._world.ran

    def abandon(self):
        self._world.abandoned.append(self._host.name)


class World:
    """All hosts, their answers, and what was asked of them."""

    def __init__(self) -> None:
        self.uuids = {"tnr-0": "uuid-0", "tnr-1": "uuid-1", "here": "uuid-here"}
        self.faults = {}
        """Errors of (host, verb), oldest first; when none is left the host answers."""
        self.asked, self.requests, self.opened, self.abandoned, self.said = [], [], [], [], []
        self.alerts = []
        self.ran = Completed(0, b"", b"")

    def open(self, host):
        self.opened.append(host.name)
        return Line(self, host)

    def answer(self, host, verb):
        waiting = self.faults.get((host.name, verb), [])
        if waiting:
            return waiting.pop(0)
        uuid = self.uuids[host.name]
        if verb == "ping":
            return {"version": "0.1.0", "host_uuid": uuid}
        if verb == "status":
            agent = AgentInfo(version="0.1.0", pid=1, host_uuid=uuid, uptime_s=1.0)
            return status(agent=agent, alerts=self.alerts)
        return {"decisions": [f"{verb} done"]}
