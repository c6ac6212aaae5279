"""`rlctl doctor`: what is wrong, or will be, here and on the hosts; each finding with its fix."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rlctl import context as ctx
from rlctl import exits
from rlctl.errors import InventoryError
from rlctl.options import HostsArgument, Output, OutputOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rlagent.protocol.checks import Check
    from rlctl.doctor import Found
    from rlctl.fanout import Outcome


def doctor(context: typer.Context, *, hosts: HostsArgument = None, output: OutputOption = Output.TABLE) -> int:
    """Look for what is wrong, here and on the hosts, and say how to mend it.

    SSH, Python, driver, disk, clock, agent, boot hook, ambiguous aliases, configuration. Without an inventory: here
    alone. Exit code 3 when anything was found.
    """
    from rlctl import doctor  # noqa: PLC0415

    checks = doctor.laptop(Path.home())
    outcomes: list[Outcome[Found]] = []
    try:
        fleet = ctx.fleet(context, hosts or [])
    except InventoryError as error:
        if hosts:
            raise
        checks.append(doctor.no_inventory(error))
    else:
        with ctx.working("looking at the hosts"):
            outcomes = doctor.examine(fleet)
        known = {o.host.name: o.value.host_uuid for o in outcomes if o.value is not None}
        checks += doctor.aliases(fleet.hosts, {name: uuid for name, uuid in known.items() if uuid is not None})
    if output is Output.JSON:
        from rlctl import report  # noqa: PLC0415

        sys.stdout.write(report.text(report.doctor(checks, outcomes)))
    else:
        _show(checks, outcomes)
    lost = exits.of(outcomes) if outcomes else exits.HEALTHY
    everything = [*checks, *(check for outcome in outcomes if outcome.value for check in outcome.value.checks)]
    return lost or (exits.DEGRADED if any(check.verdict != "good" for check in everything) else exits.HEALTHY)


def _show(checks: Sequence[Check], outcomes: Sequence[Outcome[Found]]) -> None:
    from rlagent.protocol.checks import fault  # noqa: PLC0415
    from rlctl import render, view_doctor  # noqa: PLC0415

    parts: list[render.Renderable] = [render.text((("here", "strong"),)), render.lines(view_doctor.checks(checks))]
    for outcome in outcomes:
        parts += ["", render.text(((outcome.host.name, "strong"),))]
        if outcome.value is not None:
            parts.append(render.lines(view_doctor.checks(outcome.value.checks), label_width=10))
        elif outcome.error is not None:
            broken = fault("connection", outcome.error.reason, outcome.error.hint or "is it up?")
            parts.append(render.lines(view_doctor.checks([broken]), label_width=10))
    render.show(*parts)
