"""Names that can be mistaken: the same alias twice in ~/.ssh/config, and two hosts of the inventory in one place."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlctl.errors import ConnectError
from rlctl.hosts import Host
from rlctl.sshconfig import lookup

_DEPTH_MAX = 16
"""As OpenSSH follows Include."""


def repeated(config: Path) -> dict[str, list[tuple[Path, int]]]:
    """Return each alias that has more than one Host line, with the files and lines; patterns are no aliases."""
    found: dict[str, list[tuple[Path, int]]] = {}
    for name, path, line in _aliases(config, 0):
        found.setdefault(name, []).append((path, line))
    return {name: places for name, places in found.items() if len(places) > 1}


def _aliases(config: Path, depth: int) -> Iterator[tuple[str, Path, int]]:
    if depth > _DEPTH_MAX:
        return
    try:
        lines = config.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, start=1):
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() == "host":
            yield from ((name, config, number) for name in rest.split() if not set(name) & set("*?!"))
        elif keyword.lower() == "include":
            for pattern in _words(rest):
                path = Path(pattern).expanduser()
                # Relative ones mean ~/.ssh, whatever file they stand in.
                for file in sorted(glob.glob(str(path if path.is_absolute() else Path.home() / ".ssh" / path))):  # noqa: PTH207  # a pattern with folders
                    yield from _aliases(Path(file), depth + 1)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def shared_places(hosts: Sequence[Host]) -> dict[str, list[str]]:
    """Return each address, port and root that more than one host has, with their names."""
    found: dict[str, list[str]] = {}
    for host in hosts:
        try:
            settings = None if host.local else lookup(host)
        except ConnectError:
            continue  # told by its own connection
        address = "this machine" if settings is None else f"{settings.hostname}:{settings.port}"
        via = "" if settings is None or settings.proxy_command is None else f" by {settings.proxy_command}"
        found.setdefault(f"{address}{via}, {host.root}", []).append(host.name)
    return {place: names for place, names in found.items() if len(names) > 1}
