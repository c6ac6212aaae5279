"""What all commands share: the global options, the hosts they mean, who asks, and messages to the person."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rlctl.errors import UsageError

if TYPE_CHECKING:
    from rlctl.fanout import Outcome
    from rlctl.fleet import Fleet
    from rlctl.hosts import Host

DEFAULT_TIMEOUT_S = 10.0


@dataclasses.dataclass
class Settings:
    """The global options, given before or after the verb."""

    inventory: str | None = None
    timeout: float | None = None
    """Seconds."""

    def take(self, given: dict[str, Any]) -> None:
        """Remember what was given."""
        for name, value in given.items():
            if value is not None:
                setattr(self, name, value)

    @property
    def timeout_s(self) -> float:
        """The deadline of one look at all hosts."""
        timeout = DEFAULT_TIMEOUT_S if self.timeout is None else self.timeout
        if not 0 < timeout <= 3600:
            raise UsageError(f"--timeout {timeout:g}: out of range", "give seconds, more than 0 and at most 3600")
        return timeout


def hosts(context: typer.Context, patterns: Sequence[str]) -> list[Host]:
    """Return the hosts of the inventory that the patterns mean."""
    from rlctl import inventory, inventory_cache  # noqa: PLC0415

    settings: Settings = context.ensure_object(Settings)
    return inventory_cache.load(inventory.find(settings.inventory, *inventory.default()), patterns)


def fleet(context: typer.Context, patterns: Sequence[str], warn: Callable[[str], None] | None = None) -> Fleet:
    """Return the hosts with connections; warnings go to stderr unless told otherwise."""
    settings: Settings = context.ensure_object(Settings)
    timeout_s = settings.timeout_s
    found = hosts(context, patterns)
    from rlctl import identity  # noqa: PLC0415
    from rlctl.fleet import Fleet  # noqa: PLC0415

    path = identity.default_path(os.environ, Path.home())
    return Fleet(found, timeout_s, identity.Identities(path), warn or say)


def one_host(fleet: Fleet, what: str) -> Host:
    """Return the only host; raises UsageError when there are more."""
    if len(fleet.hosts) != 1:
        names = ", ".join(host.name for host in fleet.hosts)
        raise UsageError(f"{what} is about one host, not {len(fleet.hosts)} ({names})", "name it")
    return fleet.hosts[0]


def working(message: str) -> contextlib.AbstractContextManager[None]:
    """Show on stderr that something is going on, where a person looks."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from rlctl import render  # noqa: PLC0415

    return render.spinner(message)


def say(message: str) -> None:
    """Tell the person something that is no data."""
    sys.stderr.write(f"{message}\n")


def say_errors(outcomes: Sequence[Outcome[Any]]) -> None:
    """Name each host without a result, with its reason, on stderr."""
    for outcome in outcomes:
        if outcome.error is not None:
            say(f"{outcome.host.name}: {outcome.error}")


def who() -> str:
    """Return who asks: user@laptop."""
    import getpass  # noqa: PLC0415
    import socket  # noqa: PLC0415

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
