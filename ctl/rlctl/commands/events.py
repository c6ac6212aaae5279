"""`rlctl history` and `rlctl explain`: what happened, what comes next, and why."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rlctl import context as ctx
from rlctl.exits import of
from rlctl.options import HostsArgument, Output, OutputOption


def history(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DURATION", help="For example 90s, 2h, 1d.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most the newest so many entries a host.")] = 200,
    output: OutputOption = Output.TABLE,
) -> int:
    """Show what happened, and each decision with its reason.

    Oldest first; times are local.
    """
    from rlagent.protocol.messages import GetHistory, HistoryEntry  # noqa: PLC0415
    from rlctl import durations  # noqa: PLC0415

    since_s = None if since is None else durations.parse(since)
    fleet = ctx.fleet(context, hosts or [])
    with ctx.working("asking the hosts"):
        outcomes = fleet.ask(GetHistory(since_s=since_s, limit=limit), list[HistoryEntry])
    if output is Output.JSON:
        from rlctl import report  # noqa: PLC0415

        sys.stdout.write(report.text(report.history(outcomes)))
    else:
        from rlctl import pages, render, view_events  # noqa: PLC0415

        at = pages.now()
        render.show(pages.each(outcomes, lambda entries: view_events.history(entries, at), label_width=8))
        ctx.say_errors(outcomes)
    return of(outcomes)


def explain(context: typer.Context, *, hosts: HostsArgument = None, output: OutputOption = Output.TABLE) -> int:
    """Explain what the agent will do next, and why."""
    from rlagent.protocol.messages import Explain, Explanation  # noqa: PLC0415

    fleet = ctx.fleet(context, hosts or [])
    with ctx.working("asking the hosts"):
        outcomes = fleet.ask(Explain(), Explanation)
    if output is Output.JSON:
        from rlctl import report  # noqa: PLC0415

        sys.stdout.write(report.text(report.explanation(outcomes)))
    else:
        from rlctl import pages, render, view_events  # noqa: PLC0415

        render.show(pages.each(outcomes, view_events.explanation))
        ctx.say_errors(outcomes)
    return of(outcomes)
