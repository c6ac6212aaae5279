"""The command line's shape: the app, its global options and its verbs. What the verbs do is in `rlctl.commands`."""

from __future__ import annotations

from typing import Annotated

import typer

from rlctl.commands import accept, control, doctor, events, logs, reboot, replay, simulate, status
from rlctl.context import Settings
from rlctl.exits import EPILOG
from rlctl.options import Command, InventoryOption, TimeoutOption

app = typer.Typer(
    name="rlctl",
    help="Look after Atari training on rented GPU servers: what runs, what happened, what comes next, and why.",
    epilog=EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:  # noqa: FBT001  # typer's callback for a flag
    if asked:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"rlctl {version('rlfleet')}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    *,
    inventory: InventoryOption = None,
    timeout: TimeoutOption = None,
    version: Annotated[  # noqa: ARG001  # its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.ensure_object(Settings).take({"inventory": inventory, "timeout": timeout})


for _verb in (
    *(status.status, status.watch),
    *(logs.logs, events.history, events.explain, replay.replay),
    simulate.simulate,
    *(control.rollback, control.hold, control.release, control.scale, control.stop, control.start, reboot.reboot),
    *(doctor.doctor, accept.accept),
):
    app.command(cls=Command)(_verb)
