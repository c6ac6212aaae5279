"""`status.json` for tools and `state.toml` for people, replaced atomically."""

from __future__ import annotations

import msgspec

from rlagent import files
from rlagent.paths import Paths
from rlagent.policy import State
from rlagent.protocol.status import AgentStatus
from rlagent.summary import summary

STATUS_S = 5.0
"""So old `status.json` may be while nothing happens; who needs it fresher asks the socket."""


class Publisher:
    """Writes both files when they have something new to say."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._last_toml = b""
        self._last: tuple[int, float] | None = None

    def is_due(self, seq: int, now: float) -> bool:
        """Whether something was journaled since the files were written, or they are old; `now`: monotonic seconds."""
        return self._last is None or self._last[0] != seq or now >= self._last[1] + STATUS_S

    def publish(self, status: AgentStatus, state: State, seq: int, now: float) -> None:
        """Write the files; `seq`: the last journaled event. Raises OSError."""
        files.replace(self._paths.status_json, msgspec.json.encode(status) + b"\n", durable=False)
        toml = msgspec.toml.encode(summary(status, state, seq))
        if toml != self._last_toml:
            files.replace(self._paths.state_toml, toml)
            self._last_toml = toml
        self._last = (seq, now)
