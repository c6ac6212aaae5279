"""The verbs that change something: rollback, hold, release, stop, start. Each carries who and why to the agent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rlctl import context as ctx
from rlctl import exits
from rlctl.errors import NotConfirmedError, UnknownHostError, UsageError
from rlctl.options import HostsArgument, Output, OutputOption, WhyOption, YesOption

if TYPE_CHECKING:
    from rlagent.protocol.messages import Request
    from rlagent.protocol.status import AgentStatus
    from rlctl.fleet import Fleet


def rollback(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    to: Annotated[str | None, typer.Option("--to", metavar="MODE", help="Default: one rung down.")] = None,
    why: WhyOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> int:
    """Go down the ladder now, checkpoints first.

    Counts as a failed try of the mode left: the agent waits for the cooldown before it tries that mode again.
    """
    from rlagent.protocol.messages import Rollback  # noqa: PLC0415
    from rlctl import plans  # noqa: PLC0415

    fleet = ctx.fleet(context, hosts or [])
    if not yes:
        fleet = _confirmed(fleet, "Roll back", lambda status: plans.rollback(status, to))
    return _send(fleet, Rollback(to=to, who=ctx.who(), why=why), output)


def hold(
    context: typer.Context,
    mode: Annotated[str, typer.Argument(metavar="MODE", help="The mode to go to and stay in.")],
    *,
    hosts: HostsArgument = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="For example 90m, 2h; default: until released.")
    ] = None,
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="Not even crashes demote.")] = False,
    why: WhyOption = "",
    output: OutputOption = Output.TABLE,
) -> int:
    """Go to MODE and stay there until released.

    No promotion in the meantime; crashes still demote unless --no-fallback. The mode comes first, then the hosts:
    rlctl hold light tnr-0 tnr-1 --for 2h
    """
    from rlagent.protocol.messages import Hold  # noqa: PLC0415
    from rlctl import durations  # noqa: PLC0415

    for_s = None if for_ is None else durations.parse(for_)
    try:
        fleet = ctx.fleet(context, hosts or [])
    except UnknownHostError as error:
        raise _swapped(context, mode, error) or error from None
    return _send(fleet, Hold(mode=mode, for_s=for_s, no_fallback=no_fallback, who=ctx.who(), why=why), output)


def release(
    context: typer.Context, *, hosts: HostsArgument = None, why: WhyOption = "", output: OutputOption = Output.TABLE
) -> int:
    """End a hold."""
    from rlagent.protocol.messages import Release  # noqa: PLC0415

    return _send(ctx.fleet(context, hosts or []), Release(who=ctx.who(), why=why), output)


def stop(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    why: WhyOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> int:
    """Stop all trainers gracefully and keep them stopped.

    Each writes a checkpoint first; they stay stopped across reboots, until `rlctl start`.
    """
    from rlagent.protocol.messages import Stop  # noqa: PLC0415
    from rlctl import plans  # noqa: PLC0415

    fleet = ctx.fleet(context, hosts or [])
    if not yes:
        fleet = _confirmed(fleet, "Stop", plans.stop)
    return _send(fleet, Stop(who=ctx.who(), why=why), output)


def start(
    context: typer.Context, *, hosts: HostsArgument = None, why: WhyOption = "", output: OutputOption = Output.TABLE
) -> int:
    """End a stop, and try FATAL games again."""
    from rlagent.protocol.messages import Start  # noqa: PLC0415

    return _send(ctx.fleet(context, hosts or []), Start(who=ctx.who(), why=why), output)


def _confirmed(fleet: Fleet, action: str, plan: Callable[[AgentStatus], str]) -> Fleet:
    """Say on stderr what would happen on each host and ask; raises `NotConfirmedError`."""
    if not sys.stdin.isatty():
        raise UsageError(f"{action.lower()} asks first, and nobody can answer here", "add --yes")
    from rlagent.protocol.messages import GetStatus  # noqa: PLC0415
    from rlagent.protocol.status import AgentStatus  # noqa: PLC0415

    with ctx.working("asking the hosts"):
        outcomes = fleet.ask(GetStatus(), AgentStatus)
    for outcome in outcomes:
        ctx.say(f"  {outcome.host.name}: {outcome.error if outcome.value is None else plan(outcome.value)}")
    reachable = sum(outcome.value is not None for outcome in outcomes)
    unknown = len(outcomes) - reachable
    rest = f" ({unknown} did not answer and will be tried again)" if unknown else ""
    if not _yes(f"{action} on {len(outcomes)} host{'' if len(outcomes) == 1 else 's'}{rest}? [y/N] "):
        raise NotConfirmedError
    return fleet


def _yes(question: str) -> bool:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _send(fleet: Fleet, request: Request, output: Output) -> int:
    """Send a request to all hosts and show what each agent decided."""
    from rlagent.protocol.messages import Done  # noqa: PLC0415

    with ctx.working("telling the hosts"):
        outcomes = fleet.ask(request, Done)
    if output is Output.JSON:
        from rlctl import report  # noqa: PLC0415

        sys.stdout.write(report.text(report.done(outcomes)))
    else:
        for outcome in outcomes:
            if outcome.value is not None:
                _print_decisions(outcome.host.name, outcome.value.decisions)
        ctx.say_errors(outcomes)
    return exits.of(outcomes)


def _print_decisions(host: str, decisions: Sequence[str]) -> None:
    for decision in decisions or ["nothing to do: it is so already"]:
        sys.stdout.write(f"{host}: {decision}\n")


def _swapped(context: typer.Context, mode: str, error: UnknownHostError) -> UsageError | None:
    """Return the error for `hold HOST MODE`, where the other order was meant."""
    try:
        ctx.hosts(context, [mode])
    except UnknownHostError:
        return None
    return UsageError(
        f"'{mode}' is a host and '{error.pattern}' is not", f"the mode comes first: rlctl hold {error.pattern} {mode}"
    )
