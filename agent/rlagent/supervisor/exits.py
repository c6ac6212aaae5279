"""How a trainer ended, as a kind the policy understands and a sentence for people. Pure."""

from __future__ import annotations

import signal as signals

import msgspec

from rlagent.policy.events import ExitKind
from rlagent.protocol.contract import EXIT_WRONG_CONFIGURATION


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the shim recorded in exit.json."""

    attempt_id: str
    code: int | None
    signal: int | None
    sigterm_seen: bool = False
    """The shim itself was told to end, as everybody is at a shutdown."""
    max_rss_kib: int | None = None
    error: str | None = None
    """The command could not even be run."""
    ended_at: float = 0.0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What else is known about an exit."""

    finished: bool | None = None
    """The last report's `finished`."""
    stopped_by_us: bool = False
    killed_for_hang: bool = False
    oom_killed: bool = False
    """The kernel killed something for memory during this attempt."""
    last_line: str | None = None
    """The last line of the trainer's log."""


def classify(record: ExitRecord | None, evidence: Evidence) -> tuple[ExitKind, str]:  # noqa: PLR0911  # a table
    """Return the kind of an exit and a sentence that says how; no record means that the keeper vanished."""
    if record is None:
        if evidence.stopped_by_us:
            return "stopped", "stopped; its keeper was gone"
        return "lost", "vanished: its keeper was killed, or the host went down"
    if record.code == 0 and evidence.finished:
        return "done", "it reached its target"
    if evidence.killed_for_hang:
        return "hang", "killed because it hung"
    if evidence.stopped_by_us:
        return "stopped", "stopped" if record.code == 0 else f"stopped with {_how(record)}"
    if record.error is not None:
        return ("config", record.error)
    if record.signal is not None:
        if record.signal == signals.SIGKILL and evidence.oom_killed:
            return "oom", "killed by the kernel: out of memory"
        if record.signal == signals.SIGTERM:
            return "outside", "stopped by somebody else (SIGTERM)"
        return "signal", _how(record)
    return _by_code(record, evidence)


def _by_code(record: ExitRecord, evidence: Evidence) -> tuple[ExitKind, str]:
    if record.code == 0:
        if record.sigterm_seen or evidence.finished is False:
            # Its own report says that the target is not reached: somebody asked it to stop, or it gave up politely.
            kind: ExitKind = "outside" if record.sigterm_seen else "error"
            return kind, "stopped by somebody else" if record.sigterm_seen else "exit code 0 before its target"
        return "done", "it ended by itself with exit code 0"
    last = f": {evidence.last_line}" if evidence.last_line else ""
    kind = "config" if record.code in EXIT_WRONG_CONFIGURATION else "error"
    return kind, f"{_how(record)}{last}"


def _how(record: ExitRecord) -> str:
    if record.signal is None:
        return f"exit code {record.code}"
    try:
        return signals.Signals(record.signal).name
    except ValueError:
        return f"signal {record.signal}"
