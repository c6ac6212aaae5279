"""Options that more than one command has, and the command class that takes the global ones after the verb too."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from rlctl.context import Settings

GLOBAL = ("inventory", "timeout")


class Output(str, enum.Enum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


HostsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[HOST]...", help="Names, groups or Ansible patterns; default: the group gpu_servers."),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people or for programs.")]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, kept in the host's history.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
YesManyOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask, though several hosts are hit.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what each host would do.")]
RequestIdOption = Annotated[
    str | None,
    typer.Option("--request-id", metavar="ID", help="Names this request: given again, it is not done twice."),
]
InventoryOption = Annotated[
    str | None,
    typer.Option(
        "--inventory",
        "-i",
        metavar="PATH",
        help="Ansible inventory; default: $RLFLEET_INVENTORY, inventory/fleet here or above, "
        "~/.config/rlfleet/inventory.",
    ),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="Deadline for all hosts together; default: 10."),
]


class Command(TyperCommand):
    """A verb that also takes the global options: `rlctl status -i x` is `rlctl -i x status`."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  # click's types moved between typer's versions
        """Return the verb's own parameters, the global ones, then --help."""
        *own, last = super().get_params(ctx)
        group = None if ctx.parent is None else ctx.parent.command
        shared = [] if group is None else [param for param in group.params if param.name in GLOBAL]
        return [*own, *shared, last]

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Hand the global options to the settings, and the rest to the verb."""
        given = {name: ctx.params.pop(name, None) for name in GLOBAL}
        ctx.ensure_object(Settings).take(given)
        return super().invoke(ctx)
