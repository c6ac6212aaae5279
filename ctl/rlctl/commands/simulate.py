"""`rlctl simulate`: what policies would do on a host that is only described. Asks no host."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rlctl import exits
from rlctl.options import Output, OutputOption

MODES = ["light:1000:0.1", "medium:1800:1"]


def simulate(  # one for each option
    *,
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", metavar="NAME:STEPS_PER_S:CRASHES_PER_H", help="A rung, lowest first; give several."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A host of the adversarial suite instead of --mode.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of [policy] to try out, e.g. cooldown_factor=2."),
    ] = None,
    reboot: Annotated[str, typer.Option("--reboot", metavar="DURATION", help="A crashed host is away so long.")] = "2m",
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="DURATION", help="Time between two checkpoints.")
    ] = "90s",
    days: Annotated[float, typer.Option("--days", min=0.1, max=365, help="Simulated days.")] = 7.0,
    runs: Annotated[int, typer.Option("--runs", min=1, max=1000, help="Weeks of chance to take the mean over.")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same chance.")] = 1,
    output: OutputOption = Output.TABLE,
) -> int:
    """Try policies on a simulated host: goodput, crashes, mode changes.

    What would cooldown_factor = 2 do on a host that reboots five times an hour in medium?
    rlctl simulate --mode light:1000:0.1 --mode medium:1800:5 --set cooldown_factor=2
    """
    from rlagent.simulation import scenario  # noqa: PLC0415
    from rlctl import context, durations  # noqa: PLC0415
    from rlctl.errors import UsageError  # noqa: PLC0415

    try:
        if model is not None and mode:
            raise UsageError("--model and --mode: give one of them")
        reboot_s, checkpoint_s = durations.parse(reboot), durations.parse(checkpoint)
        host = scenario.named(model) if model else scenario.host(mode or MODES, reboot_s, checkpoint_s)
        policies = {name: scenario.rules(name, []) for name in ("ladder", "goodput")}
        if settings:
            wanted = [s.partition("=")[2].strip().strip("\"'") for s in settings if s.partition("=")[0] == "policy"]
            rest = [s for s in settings if s.partition("=")[0] != "policy"]
            label = ", ".join(settings)
            policies[label] = scenario.rules(wanted[-1] if wanted else "ladder", rest)
    except scenario.ScenarioError as error:
        raise UsageError(str(error)) from None
    with context.working("simulating"):
        rows = scenario.compare(host, policies, days, runs, seed)
    if output is Output.JSON:
        from rlctl import report  # noqa: PLC0415

        sys.stdout.write(report.text(report.simulation(host.name, days, runs, seed, rows)))
    else:
        from rlctl import render, view_simulation  # noqa: PLC0415

        parts = [render.grid(view_simulation.table(rows), indent=0), ""]
        render.show(*parts, render.lines(view_simulation.curves(rows, days), indent=0))
    return exits.HEALTHY
