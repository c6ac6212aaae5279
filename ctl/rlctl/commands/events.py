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

    Oldest first, several hosts merged in the order of time; times are local.
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
        if any(outcome.value is not None for outcome in outcomes):
            render.show(render.lines(view_events.history(outcomes, at), indent=0, label_width=8))
        ctx.say_errors(outcomes)
    return of(outcomes)


def explain(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    decision: Annotated[
        int | None, typer.Option("--decision", min=1, metavar="ID", help="A line of the journal: history shows #ID.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Explain what the agent will do next, and why.

    With --decision: why one host decided as it did, and what would have tipped it.
    """
    from rlagent.protocol.messages import Explain, Explanation  # noqa: PLC0415

    fleet = ctx.fleet(context, hosts or [])
    with ctx.working("asking the hosts"):
        if decision is None:
            outcomes = fleet.ask(Explain(), Explanation)
        else:
            host = ctx.one_host(fleet, "--decision")
            outcomes = [fleet.ask_command(host, ["explain", str(decision)], Explanation)]
    if output is Output.JSON:
        from rlctl import report  # noqa: PLC0415

        sys.stdout.write(report.text(report.explanation(outcomes)))
    else:
        from rlctl import pages, render, view_events  # noqa: PLC0415

        render.show(pages.each(outcomes, view_events.explanation))
        ctx.say_errors(outcomes)
    return of(outcomes)
