"""`status.json` for tools and `state.toml` for people, replaced atomically; nothing is ever read back from them."""

from __future__ import annotations

from typing import Any

import msgspec
import tomli_w

from rlagent import files
from rlagent.paths import Paths
from rlagent.policy import State
from rlagent.protocol.status import AgentStatus


class Publisher:
    """Writes both files when they have something new to say."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._last_toml = b""

    def publish(self, status: AgentStatus, state: State) -> None:
        """Write the files. Raises OSError."""
        files.replace(self._paths.status_json, msgspec.json.encode(status) + b"\n", durable=False)
        toml = tomli_w.dumps(summary(status, state)).encode()
        if toml != self._last_toml:
            files.replace(self._paths.state_toml, toml)
            self._last_toml = toml


def summary(status: AgentStatus, state: State) -> dict[str, Any]:
    """Return what `state.toml` says: where the policy stands, without anything that changes each second."""
    said: dict[str, Any] = _without_none(
        {
            "mode": state.mode,
            "ladder": status.ladder,
            "changing_to": status.changing_to,
            "stopped": state.stopped,
            "held_in": None if state.hold is None else state.hold.mode,
            "agent_version": status.agent.version,
            "host_uuid": status.agent.host_uuid,
            "failed_tries": state.failed_tries,
            "incidents": [{"at": i.at, "mode": i.mode, "what": i.what, "counts": i.counts} for i in status.incidents],
            "games": [
                {"game": g.name, "state": g.status, "attempt": g.attempt, "last_error": g.last_error}
                for g in state.games
            ],
        }
    )
    return said


def _without_none(value: Any) -> Any:  # noqa: ANN401  # any TOML value; TOML has no null
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
