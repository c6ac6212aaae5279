"""Several hosts at a glance: a row each, reasons below, and a line that sums up. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from rlagent.protocol.status import AgentStatus
from rlctl import health, show
from rlctl.durations import brief
from rlctl.fanout import Outcome
from rlctl.hosts import Host
from rlctl.styled import Column, Grid, Piece, Style, joined, plain
from rlctl.view_host import next_action

_COLUMNS = (
    Column(""),
    Column("HOST"),
    Column("MODE"),
    Column("FOR", right=True),
    Column("RUNNING", right=True),
    Column("STEPS/S", right=True),
    Column("GAMES", right=True),
    Column("INC/H", right=True),
    Column("GPU", right=True),
    Column("NEXT"),
    Column("LEFT", right=True),
    Column("COST", right=True),
)


def table(outcomes: Sequence[Outcome[AgentStatus]], now: dt.datetime) -> Grid:
    """Return a row for each host; one without an answer has its reason and next step below it."""
    rows = []
    notes: dict[int, tuple[Piece, ...]] = {}
    for index, outcome in enumerate(outcomes):
        if outcome.value is not None:
            rows.append(_row(outcome.host, outcome.value, now))
            if outcome.value.alerts:
                notes[index] = ((outcome.value.alerts[-1], "warn"),)
        elif outcome.error is not None:
            rows.append(_failed_row(outcome.host, outcome.error.kind))
            hint = f"; {outcome.error.hint}" if outcome.error.hint else ""
            notes[index] = ((outcome.error.reason, "bad"), (hint, ""))
    return Grid(_COLUMNS, tuple(rows), notes)


def summary(outcomes: Sequence[Outcome[AgentStatus]]) -> tuple[Piece, ...]:
    """Return the fleet in one line."""
    totals = health.totals(outcomes)
    parts: list[Piece] = [(show.plural(totals.hosts, "host"), "strong")]
    counts: tuple[tuple[int, str, Style], ...] = (
        (totals.healthy, "healthy", "good"),
        (totals.degraded, "degraded", "warn"),
        (totals.unreachable, "unreachable", "bad"),
    )
    parts += [(f"{number} {name}", style) for number, name, style in counts if number]
    parts.append((f"{show.plural(totals.trainers_running, 'trainer')} running", ""))
    parts.append((f"{show.compact(totals.sps)} steps/s", ""))
    parts.append((f"{totals.games_done} of {show.plural(totals.games, 'game')} done", ""))
    if totals.price_per_hour is not None:
        parts.append((f"{show.money(totals.price_per_hour)} an hour", ""))
    if totals.hours_left is not None:
        parts.append((f"all done in {show.hours(totals.hours_left)}", ""))
    return joined(parts)


def _row(host: Host, status: AgentStatus, now: dt.datetime) -> tuple[Piece, ...]:
    dot: Style = "warn" if health.degraded(status) else "good"
    mode: Piece = (status.mode, "")
    if status.stopped:
        mode = (f"{status.mode} stopped", "warn")
    elif status.changing_to is not None:
        mode = (f"{status.mode} → {status.changing_to}", "busy")
    elif status.hold is not None:
        mode = (f"{status.mode} held", "warn")
    left = status.projection.hours_left
    return (
        ("●", dot),
        (host.name, "strong"),
        mode,
        (brief(status.in_mode_s), ""),
        (f"{health.running(status)}/{len(status.trainers)}", ""),
        (show.compact(health.sps(status)), ""),
        (f"{len(health.games_in(status, 'EXITED'))}/{len(status.games)}", ""),
        (str(status.incidents_last_hour), "warn" if status.incidents_last_hour else ""),
        (_gpus(status), ""),
        (plain(next_action(status, now, brief=True)), ""),
        (show.NA if left is None else brief(left * 3600), ""),
        (show.money(health.cost_left(status, host.price_per_hour)), ""),
    )


def _gpus(status: AgentStatus) -> str:
    """Return the mean utilisation of the GPUs that give one."""
    known = [gpu.utilization_percent for gpu in status.gpu if gpu.utilization_percent is not None]
    return show.percent(sum(known) / len(known)) if known else show.NA


def _failed_row(host: Host, kind: str) -> tuple[Piece, ...]:
    empty: Piece = (show.NA, "dim")
    return (("✗", "bad"), (host.name, "strong"), (kind, "bad"), *(empty for _ in _COLUMNS[3:]))
