"""The documented JSON: `{"schema_version": 1, "hosts": [...]}`. Pure; keys are only ever added within a schema version.

Each host has every key; what is not known, as with an unreachable host, is null or an empty list.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rlagent.protocol.checks import Check
from rlagent.protocol.messages import Done, Explanation, HistoryEntry
from rlagent.protocol.status import AgentStatus
from rlctl import health
from rlctl.errors import HostError
from rlctl.fanout import Outcome
from rlctl.hosts import Host

if TYPE_CHECKING:  # most commands must not wait for them
    from rlagent.simulation.scenario import Row
    from rlctl.doctor import Found

SCHEMA_VERSION: Final = 1
_COPIED: Final = (
    *("mode", "mode_since", "in_mode_s", "ladder", "changing_to", "stopped", "hold", "uptime_s", "boot", "gpu_error"),
    *("reboot_announced_until", "policy", "checkpoint"),
    *("stable_s", "stable_needed_s", "incidents_last_hour", "reboots_last_hour", "written_at"),
)
_COPIED_LISTS: Final = ("gpu", "trainers", "games", "incidents", "alerts")
_ALIVE_UNLESS: Final = frozenset({"no-agent", "agent-not-running"})


def status(outcomes: Sequence[Outcome[AgentStatus]]) -> dict[str, Any]:
    """Return the report of `rlctl status -o json`: each host, and `fleet` with the sums over all of them."""
    return {**_document([_status_of(o) for o in outcomes]), "fleet": dataclasses.asdict(health.totals(outcomes))}


def history(outcomes: Sequence[Outcome[list[HistoryEntry]]]) -> dict[str, Any]:
    """Return the report of `rlctl history -o json`: each host with `entries`."""
    return _document([{**_head(o), "entries": msgspec.to_builtins(o.value or [])} for o in outcomes])


def explanation(outcomes: Sequence[Outcome[Explanation]]) -> dict[str, Any]:
    """Return the report of `rlctl explain -o json`: each host with `next_action` and `lines`."""
    return _document(
        [
            {**_head(o), "next_action": o.value and o.value.next_action, "lines": o.value.lines if o.value else []}
            for o in outcomes
        ]
    )


def done(outcomes: Sequence[Outcome[Done]], *, dry_run: bool) -> dict[str, Any]:
    """Return the report of a command that changes something: each host with `decisions`.

    `dry_run`: they were only foreseen. `repeated`: they were taken at an earlier try of the same request.
    """
    return _document(
        [
            {
                **_head(o),
                "dry_run": dry_run,
                "repeated": o.value is not None and o.value.repeated,
                "decisions": o.value.decisions if o.value else [],
            }
            for o in outcomes
        ]
    )


def doctor(checks: Sequence[Check], outcomes: Sequence[Outcome[Found]]) -> dict[str, Any]:
    """Return the report of `rlctl doctor -o json`: `here`, and each host with `checks`."""
    hosts = [{**_head(o), "checks": msgspec.to_builtins(o.value.checks if o.value else [])} for o in outcomes]
    return {**_document(hosts), "here": msgspec.to_builtins(list(checks))}


def simulation(host: str, days: float, runs: int, seed: int, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the report of `rlctl simulate -o json`: `policies`, each with its figures and curve."""
    about = {"host": host, "days": days, "runs": runs, "seed": seed}
    return {"schema_version": SCHEMA_VERSION, **about, "policies": msgspec.to_builtins(list(rows))}


def text(document: dict[str, Any]) -> str:
    """Return a report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _document(hosts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "hosts": hosts}


def _head(outcome: Outcome[Any]) -> dict[str, Any]:
    error = outcome.error
    return {
        "host": outcome.host.name,
        "ok": error is None,
        "error": None if error is None else error.reason,
        "error_kind": None if error is None else error.kind,
        "hint": None if error is None else error.hint,
        "warning": outcome.warning,
    }


def _status_of(outcome: Outcome[AgentStatus]) -> dict[str, Any]:
    value, host = outcome.value, outcome.host
    data: dict[str, Any] = {} if value is None else msgspec.to_builtins(value)
    return {
        **_head(outcome),
        **{name: data.get(name) for name in _COPIED},
        **{name: data.get(name, []) for name in _COPIED_LISTS},
        "degraded": None if value is None else health.degraded(value),
        "host_readings": data.get("host"),
        "agent": _agent(value, outcome.error),
        "next_action": data.get("next_action") or {"kind": None, "at": None, "in_s": None, "reason": None},
        "projection": _projection(value, host),
    }


def _agent(value: AgentStatus | None, error: HostError | None) -> dict[str, Any]:
    if value is not None:
        return {"alive": True, **msgspec.to_builtins(value.agent)}
    alive = False if error is not None and error.kind in _ALIVE_UNLESS else None
    return {"alive": alive, "version": None, "pid": None, "host_uuid": None, "uptime_s": None, "rss_mib": None}


def _projection(value: AgentStatus | None, host: Host) -> dict[str, Any]:
    return {
        "hours_left": None if value is None else value.projection.hours_left,
        "cost_left": None if value is None else health.cost_left(value, host.price_per_hour),
        "price_per_hour": host.price_per_hour,
    }
