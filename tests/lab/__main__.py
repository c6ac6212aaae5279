"""The lab on the command line: `python -m lab up|down|shell`. The Makefile is how people call it.

Exit codes: 0 done, 1 failed, 2 wrong use or a machine that can't hold a lab; `shell` exits as what ran in it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from lab import needs, places, record, spec
from lab.commands import LabError
from lab.lab import Lab

HOSTS_MAX = 200


def main(arguments: list[str] | None = None) -> int:
    """Run one command of the lab."""
    options = _parser().parse_args(arguments)
    reason = needs.missing()
    if reason:
        print(f"lab: {reason}", file=sys.stderr)
        return 2
    try:
        return int(options.command(options))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def up(options: argparse.Namespace) -> int:
    """Boot a lab that stays, in place of the one that is there."""
    lab = Lab(spec.mixed(options.hosts), name=options.name, kept=True)
    lab.start()
    shutil.rmtree(options.inventory, ignore_errors=True)
    shutil.copytree(lab.inventory, options.inventory)
    hosts = ", ".join(f"{host.name} ({host.kind})" for host in lab.hosts.values())
    print(f"lab: {hosts}\nlab: {options.inventory} has them; make lab-shell goes where they are; make lab-down ends it")
    return 0


def down(options: argparse.Namespace) -> int:
    """Remove this checkout's lab, and what dead labs of tests left."""
    ours = [options.name] if options.name in record.labs() else []
    with record.alone():
        record.remove(options.name)
    removed = ours + record.sweep()
    shutil.rmtree(options.inventory, ignore_errors=True)
    print(f"lab: {len(removed)} removed" if removed else "lab: nothing to remove")
    return 0


def shell(options: argparse.Namespace) -> NoReturn:
    """Become a shell, or a command, at the controller's place."""
    folder = record.folder(options.name)
    if not (folder / "inventory").is_dir():
        print("lab: none runs here; boot one first: make lab N=3", file=sys.stderr)
        sys.exit(2)
    ours = {"RLFLEET_INVENTORY": str(options.inventory), "ANSIBLE_INVENTORY": str(options.inventory)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    lab = Lab([], name=options.name, kept=True)
    os.environ.update(ours, PATH=path, **lab.own_folders)
    command = options.words or ["bash", "--rcfile", str(_startup(folder))]
    words = lab.words(*command)
    os.execvp(words[0], words)  # noqa: S606  # no shell starts it: it is one


def _startup(folder: Path) -> Path:
    """Write what an interactive shell begins with: plain `ssh tnr-0` works, and the prompt says where one is."""
    handle, name = tempfile.mkstemp(prefix="shell-", dir=folder)
    with os.fdopen(handle, "w") as file:
        file.write(
            "[ ! -f ~/.bashrc ] || . ~/.bashrc\n"
            f'for program in ssh scp sftp; do alias "$program=$program -F {folder}/ssh/config"; done\n'
            "PS1='(lab) \\w\\$ '\n"
        )
    return Path(name)


def _name() -> str:
    """Return the name of this checkout's lab: each checkout may have one."""
    return f"make-{hashlib.sha256(str(places.CHECKOUT).encode()).hexdigest()[:6]}"


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= HOSTS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of hosts from 1 to {HOSTS_MAX}: make lab N=3")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Boots real hosts on this machine.")
    parser.add_argument("--name", default=_name(), help="the lab's name on this machine")
    inventory = places.CHECKOUT / "inventory" / "lab"
    parser.add_argument("--inventory", type=Path, default=inventory, help="the folder for its inventory")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    making = commands.add_parser("up", help="boot hosts that stay: every third is a container")
    making.add_argument("hosts", type=_count, nargs="?", default=3)
    making.set_defaults(command=up)
    commands.add_parser("down", help="remove them, and what dead labs left").set_defaults(command=down)
    entering = commands.add_parser("shell", help="a shell that reaches the hosts, or one command there")
    entering.add_argument("words", nargs=argparse.REMAINDER)
    entering.set_defaults(command=shell)
    return parser


if __name__ == "__main__":
    sys.exit(main())
