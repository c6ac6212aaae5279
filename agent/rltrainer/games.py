"""Names of games: what people write (`MsPacman`, `QBert`, `ms_pacman`) and what ale_py calls the ROM (`ms_pacman`)."""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path

from rltrainer.errors import ConfigurationError


def plain(name: str) -> str:
    """Return a name without case and punctuation, so that all spellings of a game are equal."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def camel_case(rom: str) -> str:
    """Return the usual spelling of a ROM's name: `ms_pacman` -> `MsPacman`."""
    return "".join(word.capitalize() for word in rom.split("_"))


def find_rom(name: str, roms: Sequence[str]) -> str:
    """Return the ROM that a game's name means.

    Raises:
        ConfigurationError: none does; the message suggests the nearest names.
    """
    by_plain = {plain(rom): rom for rom in roms}
    rom = by_plain.get(plain(name))
    if rom is not None:
        return rom
    near = [camel_case(by_plain[match]) for match in difflib.get_close_matches(plain(name), by_plain, n=3)]
    hint = f"did you mean {' or '.join(near)}?" if near else "names are as in MsPacman, Pong, SpaceInvaders"
    raise ConfigurationError(f"--game {name}: no such Atari game in ale_py ({hint})")


def installed_roms() -> list[str]:
    """Return the names of all ROMs that ale_py brings."""
    # From its own list: importing it would cost each start and `--help` a seventh of a second.
    package = importlib.util.find_spec("ale_py")
    folder = Path(package.submodule_search_locations[0]) if package and package.submodule_search_locations else Path()
    return [name.partition(".")[0] for name in json.loads((folder / "roms" / "md5.json").read_bytes())]
