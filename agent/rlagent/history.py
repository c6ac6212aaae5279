"""Journal entries as lines for people. Pure."""

from __future__ import annotations

import datetime as dt

from rlagent.journal import Entry, Foreign
from rlagent.policy import events as ev
from rlagent.policy.text import by, duration
from rlagent.protocol.messages import HistoryEntry

WALL_MAX = 253_402_300_799.0
"""The last second of the year 9999."""


def iso(wall: float) -> str:
    """Return a wall-clock time as ISO 8601 in UTC, to the second; beyond the calendar's ends, its ends."""
    at = dt.datetime.fromtimestamp(min(max(wall, 0.0), WALL_MAX), tz=dt.timezone.utc)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def entry(journaled: Entry) -> HistoryEntry:
    """Return one journal entry for a person."""
    event = journaled.event
    if isinstance(event, Foreign):
        kind, said = event.kind, "written by another version of rlagent"
    else:
        kind, said = str(type(event).__struct_config__.tag), summary(event)
    return HistoryEntry(
        seq=journaled.seq,
        at=iso(journaled.stamp.wall),
        kind=kind,
        summary=said,
        decisions=[decision.reason for decision in journaled.decisions],
    )


def summary(event: ev.Event) -> str:  # noqa: C901, PLR0911, PLR0912  # a table of events, one line each
    """Return an event in one line."""
    match event:
        case ev.Configured():
            ladder = " < ".join(mode.name for mode in event.rules.modes)
            return f"configuration read: {ladder}; {len(event.rules.games)} games"
        case ev.AgentStarted():
            return f"agent {event.version} started"
        case ev.AgentStopping():
            return f"agent stopping: {event.reason}"
        case ev.Tick():
            return "time passed"
        case ev.TrainerStarted():
            return f"{event.game} attempt {event.attempt} {'adopted' if event.adopted else 'started'}, pid {event.pid}"
        case ev.TrainerProgressed():
            return f"{event.game} attempt {event.attempt} makes progress: step {event.global_step}"
        case ev.TrainerStalled():
            return f"{event.game} attempt {event.attempt} stalled: no step for {duration(event.silent_s)}"
        case ev.TrainerHung():
            return f"{event.game} attempt {event.attempt} hangs: no step for {duration(event.silent_s)}"
        case ev.TrainerExited():
            step = "" if event.global_step is None else f" at step {event.global_step}"
            return f"{event.game} attempt {event.attempt} ended{step}: {event.detail}"
        case ev.CheckpointCommitted():
            return f"{event.game} checkpoint at step {event.global_step}"
        case ev.SpeedMeasured():
            return f"all trainers together: {event.steps_per_s:,.0f} steps/s over {duration(event.over_s)}"
        case ev.GpuLost():
            return f"GPU {event.gpu} is lost"
        case ev.GpuBack():
            return f"GPU {event.gpu} is back"
        case ev.GuardTripped():
            return f"guard: {event.evidence}"
        case ev.JournalBack():
            return "the journal can be written again"
        case ev.JournalRecovered():
            return f"journal rebuilt, in mode {event.state.mode or 'none'}"
        case ev.RebootAnnounced():
            return f"reboot announced{by(event.who, event.why)}"
        case ev.RebootWithdrawn():
            return f"reboot withdrawn{by(event.who, event.why)}"
        case ev.ScaleRequested():
            return f"scale to {event.mode} asked for{by(event.who, event.why)}"
        case ev.HoldRequested():
            return f"hold {event.mode} asked for{by(event.who, event.why)}"
        case ev.ReleaseRequested():
            return f"release asked for{by(event.who, event.why)}"
        case ev.RollbackRequested():
            return f"rollback asked for{by(event.who, event.why)}"
        case ev.StopRequested():
            return f"stop asked for{by(event.who, event.why)}"
        case ev.StartRequested():
            return f"start asked for{by(event.who, event.why)}"
