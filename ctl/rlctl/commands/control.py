"""The verbs that change something: rollback, hold, release, scale, stop, start. Each carries who and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rlctl import context as ctx
from rlctl.errors import UnknownHostError, UsageError
from rlctl.options import (
    DryRunOption,
    HostsArgument,
    Output,
    OutputOption,
    RequestIdOption,
    WhyOption,
    YesManyOption,
    YesOption,
)

if TYPE_CHECKING:
    from rlctl.fleet import Fleet


def rollback(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    to: Annotated[str | None, typer.Option("--to", metavar="MODE", help="Default: one rung down.")] = None,
    why: WhyOption = "",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Go down the ladder now, checkpoints first.

    Counts as a failed try of the mode left: the agent waits for the cooldown before it tries that mode again.
    """
    from rlagent.protocol.messages import Rollback  # noqa: PLC0415
    from rlctl.wishes import Manner, carry_out  # noqa: PLC0415

    manner = Manner(yes, dry_run, request_id, output, always_ask=True)
    return carry_out(ctx.fleet(context, hosts or []), "Roll back", Rollback(to=to, who=ctx.who(), why=why), manner)


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
    yes: YesManyOption = False,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Go to MODE and stay there until released.

    No promotion in the meantime; crashes still demote unless --no-fallback. The mode comes first, then the hosts:
    rlctl hold light tnr-0 tnr-1 --for 2h
    """
    from rlagent.protocol.messages import Hold  # noqa: PLC0415
    from rlctl import durations  # noqa: PLC0415
    from rlctl.wishes import Manner, carry_out  # noqa: PLC0415

    for_s = None if for_ is None else durations.parse(for_)
    wish = Hold(mode=mode, for_s=for_s, no_fallback=no_fallback, who=ctx.who(), why=why)
    return carry_out(
        _fleet(context, "hold", mode, hosts), f"Hold {mode}", wish, Manner(yes, dry_run, request_id, output)
    )


def release(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    why: WhyOption = "",
    yes: YesManyOption = False,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """End a hold."""
    from rlagent.protocol.messages import Release  # noqa: PLC0415
    from rlctl.wishes import Manner, carry_out  # noqa: PLC0415

    manner = Manner(yes, dry_run, request_id, output)
    return carry_out(ctx.fleet(context, hosts or []), "Release", Release(who=ctx.who(), why=why), manner)


def scale(
    context: typer.Context,
    mode: Annotated[str, typer.Argument(metavar="MODE", help="The mode to go to, up or down the ladder.")],
    *,
    hosts: HostsArgument = None,
    why: WhyOption = "",
    yes: YesManyOption = False,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Go to MODE now and let automation go on from there.

    Unlike hold it does not stay: the next promotion or demotion comes as ever. Unlike rollback it is no failed try.
    The mode comes first, then the hosts: rlctl scale medium tnr-0 tnr-1
    """
    from rlagent.protocol.messages import Scale  # noqa: PLC0415
    from rlctl.wishes import Manner, carry_out  # noqa: PLC0415

    wish = Scale(mode=mode, who=ctx.who(), why=why)
    manner = Manner(yes, dry_run, request_id, output)
    return carry_out(_fleet(context, "scale", mode, hosts), f"Scale to {mode}", wish, manner)


def stop(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    why: WhyOption = "",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Stop all trainers gracefully and keep them stopped.

    Each writes a checkpoint first; they stay stopped across reboots, until `rlctl start`.
    """
    from rlagent.protocol.messages import Stop  # noqa: PLC0415
    from rlctl.wishes import Manner, carry_out  # noqa: PLC0415

    manner = Manner(yes, dry_run, request_id, output, always_ask=True)
    return carry_out(ctx.fleet(context, hosts or []), "Stop", Stop(who=ctx.who(), why=why), manner)


def start(
    context: typer.Context,
    *,
    hosts: HostsArgument = None,
    why: WhyOption = "",
    yes: YesManyOption = False,
    dry_run: DryRunOption = False,
    request_id: RequestIdOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """End a stop, and try FATAL games again."""
    from rlagent.protocol.messages import Start  # noqa: PLC0415
    from rlctl.wishes import Manner, carry_out  # noqa: PLC0415

    manner = Manner(yes, dry_run, request_id, output)
    return carry_out(ctx.fleet(context, hosts or []), "Start", Start(who=ctx.who(), why=why), manner)


def _fleet(context: typer.Context, verb: str, mode: str, hosts: list[str] | None) -> Fleet:
    """Return the hosts of a verb whose mode comes first; raises `UsageError` where the other order was meant."""
    try:
        return ctx.fleet(context, hosts or [])
    except UnknownHostError as error:
        raise _swapped(context, verb, mode, error) or error from None


def _swapped(context: typer.Context, verb: str, mode: str, error: UnknownHostError) -> UsageError | None:
    try:
        ctx.hosts(context, [mode])
    except UnknownHostError:
        return None
    return UsageError(
        f"'{mode}' is a host and '{error.pattern}' is not",
        f"the mode comes first: rlctl {verb} {error.pattern} {mode}",
    )
