"""Breaks a running host on purpose: `python tests/faults inject NAME [--home DIR] [--game GAME]`.

Exit codes: 0 done, 1 it can't be done here, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import difflib
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults import catalogue  # found through the line above
from faults.inject import heal
from faults.target import FaultError, Target

DEMO = Path("~/.local/share/rlfleet-demo/var")


def main(argv: list[str]) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="faults", description="Breaks a running host on purpose.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="print every fault and what follows from it")
    commands.add_parser("table", help="print the same as the documentation's table")
    for name, text in (("inject", "break something"), ("heal", "take away a full disk, a read-only folder, a shift")):
        command = commands.add_parser(name, help=text)
        if name == "inject":
            command.add_argument("name", help="a fault of `list`, or `any`")
            command.add_argument("--game", help="whose trainer; default: the first that runs")
        command.add_argument("--home", type=Path, default=DEMO, help=f"the agent's state directory (default: {DEMO})")
    args = parser.parse_args(argv)
    if args.command == "table":
        sys.stdout.write(catalogue.table())
        return 0
    if args.command == "list":
        for fault in catalogue.FAULTS:
            sys.stdout.write(f"{fault.name:22} {fault.what}: {fault.end}\n")
        return 0
    home = args.home.expanduser().absolute()
    if not home.is_dir():
        parser.error(f"--home {home}: no such folder; it is the agent's state_dir (`make demo` makes one)")
    try:
        return _heal(home) if args.command == "heal" else _inject(args.name, Target(home, args.game))
    except (FaultError, OSError) as error:
        sys.stderr.write(f"faults: {error}\n")
        return 1


def _heal(home: Path) -> int:
    heal(Target(home))
    sys.stdout.write(f"healed {home}\n")
    return 0


def _inject(name: str, target: Target) -> int:
    usable = [fault.name for fault in catalogue.FAULTS if fault.inject is not None]
    if name == "any":
        name = random.choice([n for n in usable if n.startswith("trainer-")])
    if name not in usable:
        close = difflib.get_close_matches(name, usable, n=1)
        hint = f"did you mean {close[0]}?" if close else "see: python tests/faults list"
        sys.stderr.write(f"faults: {name}: no fault that can be injected ({hint})\n")
        return 2
    fault = catalogue.named(name)
    assert fault.inject is not None
    fault.inject(target)
    sys.stdout.write(f"injected {name}: {fault.what}\nexpect: {fault.end}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
