"""`rlctl replay`: whether a journal, a file here or the one of a host, still leads to the decisions it holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from rlctl import context as ctx
from rlctl.errors import AgentError, UsageError
from rlctl.exits import DEGRADED, HEALTHY, USAGE


def replay(
    context: typer.Context,
    journal: Annotated[str, typer.Argument(metavar="JOURNAL|HOST", help="A journal file, or a host: its own.")],
    *,
    with_config: Annotated[
        Path | None,
        typer.Option("--with-config", metavar="FILE", help="Go by this config.toml's rules: what it would have done."),
    ] = None,
) -> int:
    """Replay a journal: the same decisions, or where they differ.

    A file is replayed by the policy of this installation, a host's journal by its agent's. Exit code 0: the same; 3:
    something is decided otherwise.
    """
    if Path(journal).is_file() or "/" in journal:
        rules = [] if with_config is None else ["--with-config", str(with_config)]
        return subprocess.run(  # noqa: PLW1510  # its exit code is ours
            [sys.executable, "-m", "rlagent", "replay", journal, *rules]
        ).returncode
    if with_config is not None:
        raise UsageError(
            f"--with-config needs a journal file, '{journal}' is a host", "copy its var/journal.sqlite3* here"
        )
    return _on_host(context, journal)


def _on_host(context: typer.Context, name: str) -> int:
    from rlctl.channel import last_line, unusable  # noqa: PLC0415

    fleet = ctx.fleet(context, [name])
    host = ctx.one_host(fleet, "replay")
    with ctx.working(f"replaying on {host.name}"):
        outcome = fleet.run(lambda asked: [asked.agent, "replay"], [host])[0]
    done = outcome.value
    if done is None:
        raise outcome.error or AssertionError(outcome)
    if done.exit_code in (HEALTHY, DEGRADED):
        sys.stdout.write(done.stdout.decode("utf-8", "replace"))
        return done.exit_code
    said = last_line(done.stderr).removeprefix("rlagent: ")
    if done.exit_code == USAGE and "invalid choice" in said:
        raise AgentError("older-agent", "its agent is older and can't replay", f"upgrade it: {host.deploy_command}")
    raise unusable(host, done) or AgentError("agent-broken", f"rlagent replay said: {said or 'nothing'}")
