"""`rlctl logs`: the logs of agents and games, of one host or of many, in the order of time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rlctl import context as ctx
from rlctl import exits
from rlctl.errors import UnknownHostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rlagent.protocol.logs import LogLine
    from rlctl.fanout import Outcome
    from rlctl.fleet import Fleet
    from rlctl.hosts import Host
    from rlctl.logfeed import Feed


def logs(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST]... [GAME]...", help="Hosts, groups or patterns, then games; default: all hosts."
        ),
    ] = None,
    *,
    game: Annotated[
        list[str] | None,
        typer.Option("--game", "-g", metavar="GAME", help="A game or a pattern ('*'), or agent; may be repeated."),
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many lines of each log.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
) -> int:
    """Print logs of agents or games, merged in the order of time.

    Without a game: the agent's own log. With --follow an interrupted connection is taken up again where it was.
    """
    hosts, games = _split(context, words or [])
    games += game or []
    fleet = ctx.fleet(context, hosts)
    from rlctl.logfeed import Asked, Feed  # noqa: PLC0415
    from rlctl.logfollow import Follower  # noqa: PLC0415

    feeds = [Feed(host, Asked(tuple(games), lines, follow)) for host in fleet.hosts]
    show = _printer(len(fleet.hosts) > 1, len(games) > 1 or any("*" in name or "?" in name for name in games))
    if follow:
        return _finish(Follower(feeds, fleet.timeout_s, show, ctx.say, fleet.met).run())
    return _finish(_print_all(fleet, feeds, show))


def _split(context: typer.Context, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return hosts and games; what the inventory does not know is a game, unless it looks like a mistyped host."""
    hosts, games = [], []
    for word in words:
        try:
            ctx.hosts(context, [word])
        except UnknownHostError as error:
            if error.near:
                raise
            games.append(word)
        else:
            hosts.append(word)
    return hosts, games


def _print_all(fleet: Fleet, feeds: Sequence[Feed], show: Callable[[Host, LogLine], None]) -> list[Outcome[None]]:
    """Print what there is."""
    from rlagent.protocol.logs import LogBeat, LogLine, LogNotice  # noqa: PLC0415
    from rlctl.fanout import Outcome, gather  # noqa: PLC0415

    by_host = {feed.host.name: feed for feed in feeds}
    with ctx.working("asking the hosts"):
        outcomes = gather([feed.host for feed in feeds], lambda host, _: by_host[host.name].read_all(), fleet.timeout_s)
    said = [one for outcome in outcomes for one in outcome.value or []]
    for one in sorted(said, key=lambda one: one.at):
        match one.record:
            case LogLine() as line:
                show(one.feed.host, line)
            case LogNotice(text=text):
                ctx.say(f"{one.feed.host.name}: {text}")
            case LogBeat(host_uuid=str(uuid)):
                fleet.met(one.feed.host, uuid)
    return [Outcome(outcome.host, error=outcome.error) for outcome in outcomes]


def _printer(name_host: bool, name_source: bool) -> Callable[[Host, LogLine], None]:  # noqa: FBT001  # two plain facts
    """Return what prints a line, with a prefix in a colour of its own where lines of several logs are mixed."""
    if not (name_host or name_source):
        return lambda _, line: _write(f"{line.text}\n")
    from rlctl import render  # noqa: PLC0415

    painter = render.Prefixes()

    def show(host: Host, line: LogLine) -> None:
        label = " ".join([host.name] * name_host + [line.source] * name_source)
        _write(f"{painter.paint(label)} {line.text}\n")

    return show


def _finish(outcomes: Sequence[Outcome[None]]) -> int:
    """Return the exit code; one host's fault alone is the command's."""
    from rlctl.logfeed import NO_GAME  # noqa: PLC0415

    first = outcomes[0].error
    if first is not None and all(outcome.error and outcome.error.kind == NO_GAME for outcome in outcomes):
        raise UsageError(f"{outcomes[0].host.name}: {first.reason}")
    if first is not None and len(outcomes) == 1:
        raise first
    ctx.say_errors(outcomes)
    return exits.of(outcomes)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
