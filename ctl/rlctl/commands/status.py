"""`rlctl status` and `rlctl watch`: how the hosts are."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from rlctl import context as ctx
from rlctl.exits import of
from rlctl.options import HostsArgument, Output, OutputOption

if TYPE_CHECKING:
    from rlctl.render import Renderable

DetailsOption = Annotated[
    bool | None, typer.Option("--details/--no-details", help="Each host in full; default: with up to 3 hosts.")
]


def status(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    output: OutputOption = Output.TABLE,
    details: DetailsOption = None,
) -> int:
    """Show how the hosts are.

    Mode, trainers, GPU, incidents, alerts, the next automatic action and when, time and cost left.
    """
    from rlagent.protocol.messages import GetStatus  # noqa: PLC0415
    from rlagent.protocol.status import AgentStatus  # noqa: PLC0415
    from rlctl import health  # noqa: PLC0415

    fleet = ctx.fleet(context, hosts or [])
    with ctx.working("asking the hosts"):
        outcomes = fleet.ask(GetStatus(), AgentStatus, meanwhile=lambda: _load(output))
    if output is Output.JSON:
        from rlctl import report  # noqa: PLC0415

        sys.stdout.write(report.text(report.status(outcomes)))
    else:
        from rlctl import pages, render  # noqa: PLC0415

        render.show(pages.status(outcomes, pages.now(), details=details))
    return of(outcomes, health.degraded)


def _load(output: Output) -> None:
    """Load what the answers will be shown with while the hosts are asked: it takes as long as one of them."""
    name = "rlctl.report" if output is Output.JSON else "rlctl.pages"
    importlib.import_module(name)


def watch(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    interval: Annotated[float, typer.Option("--interval", "-n", min=0.5, help="Seconds between two looks.")] = 3.0,
    details: DetailsOption = None,
) -> None:
    """Show the status again every few seconds, until Ctrl-C."""
    from rlagent.protocol.messages import GetStatus  # noqa: PLC0415
    from rlagent.protocol.status import AgentStatus  # noqa: PLC0415
    from rlctl import pages, render  # noqa: PLC0415

    fleet = ctx.fleet(context, hosts or [])

    def draw() -> Renderable:
        outcomes = fleet.ask(GetStatus(), AgentStatus)
        at = pages.now()
        page = pages.status(outcomes, at, details=details)
        return page if sys.stdout.isatty() else render.group([f"{at:%H:%M:%S}", page, ""])

    render.watch(draw, lambda: time.sleep(interval), f"every {interval:g} s, Ctrl-C ends")
