"""`rlctl accept`: the machine that answers to a name now is the right one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rlctl import context as ctx
from rlctl import exits
from rlctl.errors import NotConfirmedError, UsageError
from rlctl.options import YesOption

if TYPE_CHECKING:
    from rlctl.fleet import Fleet
    from rlctl.hosts import Host


def accept(
    context: typer.Context,
    hosts: Annotated[list[str], typer.Argument(metavar="HOST...", help="Names, groups or Ansible patterns.")],
    *,
    yes: YesOption = False,
) -> int:
    """Take the machine that answers now as the right one for its name.

    A host's UUID is remembered at first contact; when another machine answers, commands warn, and those that change
    something are refused until this is said.
    """
    from rlagent.protocol.messages import Ping  # noqa: PLC0415
    from rlctl.agent import Alive  # noqa: PLC0415

    fleet = ctx.fleet(context, hosts, warn=lambda _: None)
    with ctx.working("asking the hosts"):
        outcomes = fleet.ask(Ping(), Alive)
    ctx.say_errors(outcomes)
    met = {o.host: o.value.host_uuid for o in outcomes if o.value is not None and o.warning is not None}
    for outcome in outcomes:
        if outcome.value is not None and outcome.host not in met:
            sys.stdout.write(f"{outcome.host.name}: is the machine it was: host UUID {outcome.value.host_uuid}\n")
    if met:
        _ask(fleet, met, yes=yes)
        fleet.identities.accept(met)
        for host, uuid in met.items():
            sys.stdout.write(f"{host.name}: accepted: host UUID {uuid}\n")
    return exits.of([outcome for outcome in outcomes if outcome.error is not None or outcome.host not in met])


def _ask(fleet: Fleet, met: dict[Host, str], *, yes: bool) -> None:
    for host, uuid in met.items():
        change = fleet.identities.change(host, uuid)
        if change is not None:
            ctx.say(f"  {change}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("accept asks first, and nobody can answer here", "add --yes")
    sys.stderr.write(f"Accept {', '.join(host.name for host in met)}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise NotConfirmedError
