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
    Column("FOR", right=True, dropped=5),
    Column("RUNNING", right=True),
    Column("STEPS/S", right=True),
    Column("GAMES", right=True, dropped=1),
    Column("INC/H", right=True, dropped=2),
    Column("GPU", right=True, dropped=3),
    Column("NEXT", dropped=4),
    Column("LEFT", right=True, dropped=6),
    Column("COST", right=True, dropped=7),
)


def table(outcomes: Sequence[Outcome[AgentStatus]], now: dt.datetime) -> Grid:
    """Return a row for each host; one without an answer has its reason and next step below it."""
    rows = []
    notes: dict[int, tuple[Piece, ...]] = {}
    for index, outcome in enumerate(outcomes):
        if outcome.value is not None:
            rows.append(_row(outcome.host, outcome.value, now))
            if outcome.warning is not None:
                notes[index] = ((outcome.warning, "bad"),)
            elif outcome.value.alerts:
                notes[index] = ((outcome.value.alerts[-1], "warn"),)
        elif outcome.error is not None:
            rows.append(_failed_row(outcome.host, outcome.error.kind))
            hint = f"; {outcome.error.hint}" if outcome.error.hint else ""
            notes[index] = ((outcome.error.reason, "bad"), (hint, ""))
    return Grid(_COLUMNS, tuple(rows), notes)


def summary(outcomes: Sequence[Outcome[AgentStatus]], now: dt.datetime) -> tuple[Piece, ...]:
    """Return the fleet in one line."""
    totals = health.totals(outcomes)
    parts: list[Piece] = [(show.plural(totals.hosts, "host"), "strong")]
    counts: tuple[tuple[int, str, Style], ...] = (
        (totals.up, "up", "good"),
        (totals.degraded, "degraded", "warn"),
        (totals.down, "down", "bad"),
    )
    parts += [(f"{number} {name}", style) for number, name, style in counts if number]
    parts.append((f"{show.plural(totals.trainers_running, 'trainer')} running", ""))
    parts.append((f"{show.compact(totals.sps)} steps/s", ""))
    parts.append((f"{totals.games_done} of {show.plural(totals.games, 'game')} done", ""))
    if totals.price_per_hour is not None:
        unpriced = show.plural(totals.hosts_without_price, "host")
        without = f" ({unpriced} without a price)" if totals.hosts_without_price else ""
        parts.append((f"{show.money(totals.price_per_hour)} an hour{without}", ""))
    parts.append((_end(totals, now), ""))
    return joined(parts)


def _end(totals: health.Totals, now: dt.datetime) -> str:
    """Return when every game of every host is done, as far as the hosts know."""
    if totals.hours_left is None:
        return f"end {show.NA}"
    end = show.ahead(totals.hours_left * 3600, now)
    return f"all done {end}" if not totals.hosts_without_projection else f"all done {end} at the earliest"


def _row(host: Host, status: AgentStatus, now: dt.datetime) -> tuple[Piece, ...]:
    dot: Style = "warn" if health.degraded(status) else "good"
    left = status.projection.hours_left
    return (
        ("●", dot),
        (host.name, "strong"),
        _mode(status),
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


def _mode(status: AgentStatus) -> Piece:
    """Return a host's mode, with the one thing about it that a person should know."""
    if status.reboot_announced_until is not None:
        return (f"{status.mode} reboot", "warn")
    if status.stopped:
        return (f"{status.mode} stopped", "warn")
    if status.changing_to is not None:
        return (f"{status.mode} → {status.changing_to}", "busy")
    if status.games and all(game.state == "EXITED" for game in status.games):
        return (f"{status.mode} done", "good")
    return (f"{status.mode} held", "warn") if status.hold is not None else (status.mode, "")


def _gpus(status: AgentStatus) -> str:
    """Return the mean utilisation of the GPUs that give one."""
    known = [gpu.utilization_percent for gpu in status.gpu if gpu.utilization_percent is not None]
    return show.percent(sum(known) / len(known)) if known else show.NA


def _failed_row(host: Host, kind: str) -> tuple[Piece, ...]:
    empty: Piece = (show.NA, "dim")
    return (("✗", "bad"), (host.name, "strong"), (kind, "bad"), *(empty for _ in _COLUMNS[3:]))
