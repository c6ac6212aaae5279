"""Remembers what Ansible read from an inventory: loading Ansible takes half a second, each time.

Only inventories that say the same as long as their files do are remembered: no scripts, no plugins, no vault, and no
templates that call anything. Errors are never remembered, so that Ansible words them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlctl import inventory, remembered
from rlctl.hosts import Host

_NAME = "inventory"
_FILES_MAX = 200
_BYTES_MAX = 4 * 2**20
_VARS_FOLDERS = ("group_vars", "host_vars")
_CHANGEABLE = re.compile(rb"\{%|\{\{[^}]*[(|][^}]*\}\}|\$ANSIBLE_VAULT|^\s*plugin\s*:", re.MULTILINE)


def load(source: str, patterns: Sequence[str]) -> list[Host]:
    """Return what `inventory.load` does, without Ansible where the same was asked before; raises the same."""
    current = _stamp(source)
    key = json.dumps([source, *patterns])
    if current is not None:
        hosts = _hosts(remembered.load(_NAME, current).get(key))
        if hosts is not None:
            return hosts
    found = inventory.load(source, patterns)
    if current is not None:
        remembered.save(_NAME, current, {key: [dataclasses.asdict(host) for host in found]})
    return found


def _hosts(answer: Any) -> list[Host] | None:  # noqa: ANN401  # whatever a file holds
    try:
        return [Host(**{**values, "ssh_args": tuple(values["ssh_args"])}) for values in answer]
    except (TypeError, KeyError):
        return None


def _stamp(source: str) -> str | None:
    """Return what stands for everything that the answer depends on; None: that can't be told."""
    parts: list[remembered.Part] = [("cwd", os.fsencode(Path.cwd())), ("source", os.fsencode(source))]
    parts += [(name, os.fsencode(value)) for name, value in sorted(os.environ.items()) if name.startswith("ANSIBLE_")]
    parts += [remembered.file(path) for path in _configurations()]
    size = 0
    for number, path in enumerate(_files(source)):
        name, content = remembered.file(path)
        size += len(content or b"")
        if content is None or number >= _FILES_MAX or size > _BYTES_MAX or _says_more_than_it_holds(path, content):
            return None
        parts.append((name, content))
    specs = [importlib.util.find_spec(name) for name in ("ansible", "rlctl.inventory", "rlctl.hosts")]
    parts += [remembered.installed(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    return remembered.stamp(parts)


def _says_more_than_it_holds(path: Path, content: bytes) -> bool:
    return os.access(path, os.X_OK) or _CHANGEABLE.search(content) is not None


def _files(source: str) -> Iterator[Path]:
    """Yield the files that Ansible reads for an inventory; a list of names has none."""
    if "," in source:
        return
    place = Path(source)
    folders = [place] if place.is_dir() else [place.parent / name for name in _VARS_FOLDERS]
    if not place.is_dir():
        yield place
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if not path.is_dir())


def _configurations() -> list[Path]:
    named = os.environ.get("ANSIBLE_CONFIG")
    usual = [Path("ansible.cfg"), Path.home() / ".ansible.cfg", Path("/etc/ansible/ansible.cfg")]
    return [*([Path(named)] if named else []), *usual]
