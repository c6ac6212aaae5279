"""How a trainer ended, as a kind the policy understands and a sentence for people. Pure."""

from __future__ import annotations

import signal as signals

import msgspec

from rlagent.policy.events import ExitKind
from rlagent.protocol.contract import EXIT_WRONG_CONFIGURATION

_WRONG_COMMAND = frozenset({126, 127})
"""The shim's codes, with an error, for a command that can't be run; a moment's shortage has another one."""


_FAULTS = frozenset({signals.SIGSEGV, signals.SIGABRT, signals.SIGBUS, signals.SIGFPE, signals.SIGILL})


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the shim recorded in exit.json."""

    attempt_id: str
    code: int | None
    signal: int | None
    sigterm_seen: bool = False
    """The shim itself was told to end not long before, as everybody is at a shutdown."""
    core: bool = False
    """A core was dumped."""
    max_rss_kib: int | None = None
    error: str | None = None
    """The trainer could not even be run, or not be kept."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What else is known about an exit."""

    finished: bool | None = None
    """The last report's `finished`."""
    said_stopping: bool = False
    """The last report of this attempt says that it was stopping, as a trainer does when it is told to."""
    stopped_by_us: bool = False
    killed_for_hang: bool = False
    oom_killed: bool = False
    """The kernel killed something for memory in the trainer's control group, just before its end."""
    last_line: str | None = None
    """The last line of the trainer's log."""


def classify(record: ExitRecord | None, evidence: Evidence) -> tuple[ExitKind, str]:
    """Return the kind of an exit and a sentence that says how; no record means that the keeper vanished."""
    if record is not None and record.code == 0 and evidence.finished:
        return "done", "it reached its target"
    if evidence.killed_for_hang:
        return "hang", "killed because it hung"
    if evidence.stopped_by_us and not _crashed_while_stopping(record):
        return "stopped", _how_stopped(record)
    if record is None:
        return "lost", "vanished: its keeper was killed, or the host went down"
    if record.error is not None:
        return ("config" if record.code in _WRONG_COMMAND else "error"), record.error
    return _by_itself(record, evidence)


def _by_itself(record: ExitRecord, evidence: Evidence) -> tuple[ExitKind, str]:
    """Judge an exit that the agent did not cause."""
    if evidence.oom_killed and signals.SIGKILL in (record.signal, _shell_signal(record)):
        return "oom", "killed by the kernel: out of memory"
    if record.code in EXIT_WRONG_CONFIGURATION:
        return "config", _with_last_line(record, evidence)
    if _told_to_end(record) or (record.code == 0 and evidence.said_stopping):
        return "outside", "stopped by somebody else" + ("" if record.code == 0 else f": {_how(record)}")
    if record.code == 0:
        early = evidence.finished is False
        return ("error", "exit code 0 before its target") if early else ("done", "it ended by itself with exit code 0")
    if record.signal is not None:
        return "signal", _how(record)
    return "error", _with_last_line(record, evidence)


def _crashed_while_stopping(record: ExitRecord | None) -> bool:
    """Whether a stop ended in a fault of the trainer's own; our SIGTERM and SIGKILL, and exit codes, are none."""
    return record is not None and record.signal in _FAULTS


def _told_to_end(record: ExitRecord) -> bool:
    """Whether somebody else ended it: by SIGTERM alone, or as part of everything, as at a shutdown."""
    if signals.SIGTERM in (record.signal, _shell_signal(record)):
        return True
    return record.sigterm_seen and (record.signal is None or record.signal == signals.SIGKILL)


def _shell_signal(record: ExitRecord) -> int | None:
    """Return the signal that a shell reports of its child, as 128 + its number."""
    return record.code - 128 if record.code is not None and record.code > 128 else None


def _how_stopped(record: ExitRecord | None) -> str:
    if record is None:
        return "stopped; its keeper was gone"
    return "stopped" if record.code == 0 else f"stopped with {_how(record)}"


def _with_last_line(record: ExitRecord, evidence: Evidence) -> str:
    return _how(record) + (f": {evidence.last_line}" if evidence.last_line else "")


def _how(record: ExitRecord) -> str:
    if record.signal is None:
        return f"exit code {record.code}"
    core = " (core dumped)" if record.core else ""
    try:
        return signals.Signals(record.signal).name + core
    except ValueError:
        return f"signal {record.signal}{core}"
