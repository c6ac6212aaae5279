"""Puts views together to the whole of what a command prints for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TypeVar

from rlagent.protocol.status import AgentStatus
from rlctl import render, view_fleet, view_host
from rlctl.fanout import Outcome
from rlctl.render import Renderable
from rlctl.styled import Line, Piece

DETAILS_UP_TO = 3
"""So many hosts are shown in full unless the command line says otherwise."""

T = TypeVar("T")


def now() -> dt.datetime:
    """Return the time, in this laptop's zone."""
    return dt.datetime.now().astimezone()


def status(outcomes: Sequence[Outcome[AgentStatus]], at: dt.datetime, *, details: bool | None) -> Renderable:
    """Return the fleet's table where there are several hosts, then each host in full where asked or where few."""
    parts: list[Renderable] = []
    full = len(outcomes) <= DETAILS_UP_TO if details is None else details
    several = len(outcomes) > 1
    if several or not full:
        parts += [
            render.text(view_fleet.summary(outcomes, at)),
            "",
            render.grid(view_fleet.table(outcomes, at), indent=0),
        ]
    if full:
        for outcome in outcomes:
            parts += [""] if parts else []
            parts.append(_host(outcome, at, brief=several))
    return render.group(parts)


def _host(outcome: Outcome[AgentStatus], at: dt.datetime, *, brief: bool) -> Renderable:
    host, value = outcome.host, outcome.value
    if value is None:
        if outcome.error is None:
            raise AssertionError(outcome)
        head, after = view_host.failed(host, outcome.error)
        return render.group([render.text(head), *([] if brief or not after else [render.lines(after)])])
    parts: list[Renderable] = [] if outcome.warning is None else [render.text(((outcome.warning, "bad"),))]
    parts += [render.text(view_host.header(host, value)), render.lines(view_host.facts(value, at))]
    parts += ["", render.grid(view_host.trainers(value, at))] if value.trainers else []
    parts.append("")
    parts.append(render.lines(view_host.outlook(host, value, at)))
    return render.group(parts)


def each(outcomes: Sequence[Outcome[T]], lines: Callable[[T], list[Line]], label_width: int = 6) -> Renderable:
    """Return a section for each host that answered; the name stands above it where there are several hosts."""
    parts: list[Renderable] = []
    for outcome in outcomes:
        if outcome.value is None:
            continue
        if len(outcomes) > 1:
            name: tuple[Piece, ...] = ((outcome.host.name, "strong"),)
            parts += [*([""] if parts else []), render.text(name)]
        parts.append(render.lines(lines(outcome.value), indent=2 if len(outcomes) > 1 else 0, label_width=label_width))
    return render.group(parts)
