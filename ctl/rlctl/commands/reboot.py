"""`rlctl reboot`: a reboot that trainers are prepared for, and that is no incident."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from rlctl import context as ctx
from rlctl import exits
from rlctl.errors import HostError
from rlctl.options import DryRunOption, WhyOption, YesOption

if TYPE_CHECKING:
    from rlagent.protocol.messages import Request
    from rlctl.channel import Completed
    from rlctl.fanout import Outcome
    from rlctl.fleet import Fleet
    from rlctl.hosts import Host

T = TypeVar("T")


def reboot(
    context: typer.Context,
    hosts: Annotated[list[str], typer.Argument(metavar="HOST...", help="Names, groups or Ansible patterns.")],
    *,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="You restart it, for example in its provider's console.")
    ] = False,
    wait: Annotated[str, typer.Option("--wait", metavar="DURATION", help="For each host's return.")] = "10m",
    why: WhyOption = "",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
) -> int:
    """Reboot hosts, announced: drain, checkpoint, reboot, not counted.

    One after the other; one that does not come back ends it. Whatever fails before a host goes down withdraws the
    announcement, and its trainers start again; so does half an hour without a reboot.
    """
    from rlagent.protocol.messages import AnnounceReboot  # noqa: PLC0415
    from rlctl import durations, wishes  # noqa: PLC0415
    from rlctl.fanout import Outcome as Result  # noqa: PLC0415
    from rlctl.options import Output  # noqa: PLC0415
    from rlctl.reboots import Reboot, Wanted  # noqa: PLC0415

    wait_s = durations.parse(wait)
    fleet = ctx.fleet(context, hosts)
    wish = AnnounceReboot(who=ctx.who(), why=why)
    if dry_run:
        return wishes.carry_out(fleet, "Reboot", wish, wishes.Manner(yes, dry_run, None, Output.TABLE))
    if not yes:
        wishes.confirm(fleet, "Reboot", wish)
    outcomes: list[Outcome[str]] = []
    for host in fleet.hosts:
        wanted = Wanted(wish.who, why, by_hand, wait_s, wishes.new_id())
        job = Reboot(host, _Line(fleet, host), wanted, functools.partial(_tell, host.name))
        try:
            outcomes.append(Result(host, job.run()))
        except HostError as error:
            outcomes.append(Result(host, error=error))
            break
        typer.echo(f"{host.name}: {outcomes[-1].value}")
    ctx.say_errors(outcomes)
    left = fleet.hosts[len(outcomes) :]
    if left:
        ctx.say(f"not rebooted, because of {outcomes[-1].host.name}: {', '.join(host.name for host in left)}")
    return exits.of(outcomes)


def _tell(host: str, text: str) -> None:
    ctx.say(f"{host}: {text}")


class _Line:
    """One host of a fleet."""

    def __init__(self, fleet: Fleet, host: Host) -> None:
        self._fleet, self._host = fleet, host

    def ask(self, request: Request, result: type[T]) -> T:
        """Ask its agent; raises `HostError`."""
        return _value(self._fleet.ask(request, result, [self._host])[0])

    def run(self, *words: str) -> Completed:
        """Run a command of its `rlagent`; raises `HostError`."""
        return _value(self._fleet.run(lambda host: [host.agent, *words], [self._host])[0])


def _value(outcome: Outcome[T]) -> T:
    if outcome.error is not None:
        raise outcome.error
    if outcome.value is None:
        raise AssertionError(outcome)
    return outcome.value
