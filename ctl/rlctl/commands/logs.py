"""`rlctl logs`: the log of a host's agent or of one of its games."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rlctl import context as ctx
from rlctl.errors import AgentError, UsageError
from rlctl.exits import USAGE

if TYPE_CHECKING:
    from rlctl.channel import Completed
    from rlctl.fanout import Outcome


def logs(
    context: typer.Context,
    host: Annotated[str, typer.Argument(metavar="HOST", help="One host.")],
    game: Annotated[str | None, typer.Argument(metavar="[GAME]", help="A game; default: the agent's own log.")] = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
) -> int:
    """Print the log of an agent or of a game."""
    from rlctl.fanout import Outcome  # noqa: PLC0415

    fleet = ctx.fleet(context, [host])
    if len(fleet.hosts) != 1:
        names = ", ".join(found.name for found in fleet.hosts)
        raise UsageError(f"'{host}' means {len(fleet.hosts)} hosts ({names})", "logs shows one: name it")
    target = fleet.hosts[0]
    command = [target.agent, "logs", *([game] if game else [])]
    # A first look under the deadline finds every fault, so that the stream itself is nothing but lines.
    with ctx.working(f"asking {target.name}"):
        outcome = fleet.run(target, [*command, "-n", "1"])
    _check(outcome)
    arguments = [*command, "-n", str(lines), *(["-f"] if follow else [])]
    done = fleet.channel(target).stream(arguments, _write, follow=follow)
    _check(Outcome(target, done))
    return 0


def _check(outcome: Outcome[Completed]) -> None:
    """Raise the fault of a host, or what the agent's command complains about."""
    from rlctl.channel import last_line, unusable  # noqa: PLC0415

    host, done = outcome.host, outcome.value
    if done is None:
        raise outcome.error or AssertionError(outcome)
    if done.exit_code == 0:
        return
    said = last_line(done.stderr).removeprefix("rlagent: ")
    if done.exit_code == USAGE and said:
        raise UsageError(f"{host.name}: {said}")
    raise unusable(host, done) or AgentError(
        "agent-broken", f"rlagent logs ended with {done.exit_code} and said: {said or 'nothing'}", host.deploy_hint
    )


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
