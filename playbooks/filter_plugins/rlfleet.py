"""Filters of the playbooks: TOML out of inventory variables, and their faults as sentences for a person.

Owns what may go wrong between an inventory and the agent's configuration; what a configuration may say is decided by
`rlagent.config` of the same checkout alone. Must not touch files of a host.
"""  # noqa: INP001  # Ansible loads it by its path, it is no package

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ansible.errors import AnsibleFilterError

AGENT_SOURCES = Path(__file__).resolve().parents[2] / "agent"
HEADER = "# Written by playbooks/deploy.yml from the inventory; changes made here are lost at the next deploy.\n\n"


def to_toml(tables: Mapping[str, object]) -> str:
    """Return a TOML document of these tables without the empty ones; raises AnsibleFilterError naming the place."""
    try:
        import tomli_w  # noqa: PLC0415  # its absence must become one readable error
    except ModuleNotFoundError:
        raise AnsibleFilterError(_missing("tomli-w")) from None
    plain = {str(name): _plain(table, f"rlfleet_{name}") for name, table in tables.items() if table}
    return HEADER + tomli_w.dumps(plain)


def config_fault(document: str) -> str:
    """Return what the agent would refuse in a configuration, with the variable to mend, or nothing."""
    sys.path.insert(0, str(AGENT_SOURCES))
    try:
        from rlagent.config import ConfigError, parse  # noqa: PLC0415  # found through the path above
    except ModuleNotFoundError as error:
        raise AnsibleFilterError(_missing(str(error.name))) from None
    finally:
        sys.path.remove(str(AGENT_SOURCES))
    try:
        parse(document)
    except ConfigError as error:
        section = re.match(r"\[+(\w+)", error.place)
        return f"rlfleet_{section[1]}: {error.place}: {error.fault}" if section else str(error)
    return ""


def unknown_names(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a sentence for each name that is not known, with the nearest known one."""
    known = sorted(known)
    sentences = []
    for name in sorted(set(names) - set(known)):
        close = difflib.get_close_matches(name, known, n=1)
        sentences.append(f"{name}: unknown variable" + (f" (did you mean {close[0]}?)" if close else ""))
    return sentences


def _plain(value: object, place: str) -> object:
    """Turn Ansible's own kinds of values into Python's; TOML has no null, so an empty value is a fault."""
    if value is None:
        raise AnsibleFilterError(f"{place}: no value; give it one or leave it out")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise AnsibleFilterError(f"{place}: {value!r} can't be written as TOML; use text, numbers, lists or dictionaries")


def _missing(package: str) -> str:
    return f"{package} is not installed for Ansible's Python; mend it with: {sys.executable} -m pip install {package}"


class FilterModule:
    """Tell Ansible the filters' names."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filters by name."""
        return {"to_toml": to_toml, "config_fault": config_fault, "unknown_names": unknown_names}
