"""TOML text to a `Config`, with one clear error: place, fault, nearest key.

Owns reading and error messages; what is allowed stands in `rlagent.config.schema`.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from rlagent.config.schema import Config, near

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLE = Path(__file__).parent / "example.toml"
"""The commented example: documentation and defaults in one."""


class ConfigError(Exception):
    """A configuration that can't be used: `place: fault (next step)`."""

    def __init__(self, source: str, place: str, fault: str) -> None:
        self.source, self.place, self.fault = source, place, fault
        super().__init__(source, place, fault)

    def __str__(self) -> str:
        """Speak to a person."""
        return f"{self.source} {self.place}: {self.fault}" if self.place else f"{self.source}: {self.fault}"


def load(path: Path) -> Config:
    """Read a configuration file; raises ConfigError with place, fault and next step."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(str(path), "", f"no such file (see {EXAMPLE} for a commented example)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"can't be read: {error}") from None
    return parse(text, source=path.name)


def parse(text: str, source: str = "config.toml") -> Config:
    """Read a configuration from TOML text; raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(source, "", "nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, "", f"not valid TOML: {error}") from None
    _refuse_unusable(raw, Config, source, ())
    try:
        return msgspec.convert(raw, type=Config)
    except msgspec.ValidationError as error:
        fault, _, path = str(error).partition(" - at ")
        raise ConfigError(source, _place(path.strip("`")), fault.replace("`", "")) from None


def _refuse_unusable(raw: object, kind: Any, source: str, path: tuple[str | int, ...]) -> None:  # noqa: ANN401
    """Refuse unknown keys, naming the nearest known one, and numbers that are none: msgspec alone says less."""
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ConfigError(source, _place(_json_path(path)), f"{raw} is not a usable number")
    if get_origin(kind) is tuple and isinstance(raw, list):
        for i, item in enumerate(raw):
            _refuse_unusable(item, get_args(kind)[0], source, (*path, i))
        return
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(raw, dict)):
        return
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in raw.items():
        if key not in fields:
            raise ConfigError(source, _place(_json_path((*path, key))), f"unknown key{near(key, fields)}")
        _refuse_unusable(value, fields[key], source, (*path, key))


def _json_path(path: tuple[str | int, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def _place(path: str) -> str:
    """Turn msgspec's `$.policy.window` into `[policy] window`, `$.modes[0].games` into `[[modes]] 1: games`."""
    match = re.match(r"\$\.(\w+)(?:\[(\d+)\])?\.?(.*)\Z", path)
    if match is None:
        return ""
    section, index, key = match.groups()
    if index is not None:
        return f"[[{section}]] {int(index) + 1}{': ' + key if key else ''}"
    return f"[{section}] {key}".strip() if key else f"[{section}]"
