"""Finds the inventory and reads hosts from it with Ansible's own code, so that all means what it means there.

The only importer of ansible. Only the variables `rlctl` needs are templated, so that others may need facts.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rlctl.errors import InventoryError, UnknownHostError
from rlctl.hosts import DEFAULT_ROOT, Host

DEFAULT_GROUP: Final = "gpu_servers"
ENVIRONMENT_VARIABLE: Final = "RLFLEET_INVENTORY"
_CONNECTIONS: Final = ("local", "ssh", "smart", "paramiko", "paramiko_ssh")
_NAMES: Final = (
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_ssh_private_key_file",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "rlfleet_root",
    "rlfleet_price_per_hour",
)


def find(given: str | None, environment: Mapping[str, str], cwd: Path, home: Path) -> str:
    """Return the inventory: given, $RLFLEET_INVENTORY, inventory/fleet here or above, ~/.config/rlfleet/inventory."""
    named = given or environment.get(ENVIRONMENT_VARIABLE)
    if named:
        if "," in named or Path(named).expanduser().exists():
            return str(Path(named).expanduser()) if "," not in named else named
        source = "-i" if given else f"${ENVIRONMENT_VARIABLE}"
        raise InventoryError(named, f"not found (from {source})", "give an existing file or folder with -i")
    places = [folder / "inventory" / "fleet" for folder in (cwd, *cwd.parents)]
    places.append(home / ".config" / "rlfleet" / "inventory")
    for place in places:
        if place.exists():
            return str(place)
    raise InventoryError(
        "inventory/fleet",
        f"not found here or above, nor {places[-1]}",
        f"copy inventory/example to inventory/fleet, or name one with -i or ${ENVIRONMENT_VARIABLE}",
    )


def load(source: str, patterns: Sequence[str]) -> list[Host]:
    """Return the hosts that match any of the patterns (names, groups, Ansible patterns), each once, in inventory order.

    Without patterns: the group gpu_servers, or all hosts where there is no such group. Raises `InventoryError` and
    `UnknownHostError`.
    """
    said = io.StringIO()
    with contextlib.redirect_stderr(said):  # Ansible speaks in boxes of its own; what matters is raised below
        try:
            from ansible.errors import AnsibleError  # noqa: PLC0415  # 0.2 s: only for commands that need hosts
        except Exception as error:  # a broken ansible.cfg is raised while importing, by types that can't be imported
            raise InventoryError(source, f"Ansible does not start: {_first_line(str(error))}") from error
        try:
            return _load(source, patterns, said)
        except AnsibleError as error:
            raise _broken(source, str(error), _tagged_place(error)) from error


def _load(source: str, patterns: Sequence[str], said: io.StringIO) -> list[Host]:
    from ansible.inventory.manager import InventoryManager  # noqa: PLC0415
    from ansible.parsing.dataloader import DataLoader  # noqa: PLC0415
    from ansible.template import Templar  # noqa: PLC0415
    from ansible.vars.manager import VariableManager  # noqa: PLC0415

    _init_plugins()
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[source])
    if "Failed to parse inventory" in said.getvalue():
        raise _parse_failure(said.getvalue(), source)
    if not inventory.hosts:
        raise InventoryError(source, "it has no hosts", "add one: see inventory/example")
    variables = VariableManager(loader=loader, inventory=inventory)
    found = []
    for matched in _matching(inventory, source, patterns):
        values = variables.get_vars(host=matched, include_hostvars=False)
        templar = Templar(loader=loader, variables=values)
        found.append(_host(matched.name, _templated(templar, values, source, matched.name), source))
    return found


@functools.cache
def _init_plugins() -> None:
    """Let lookups be found by their full names, such as ansible.builtin.env; Ansible wants this once."""
    from ansible.plugins.loader import init_plugin_loader  # noqa: PLC0415

    init_plugin_loader()


def _matching(inventory: Any, source: str, patterns: Sequence[str]) -> list[Any]:  # noqa: ANN401  # ansible has no types
    if not patterns:
        group = DEFAULT_GROUP if DEFAULT_GROUP in inventory.groups else "all"
        found: list[Any] = inventory.get_hosts(group)
        if not found:
            raise InventoryError(source, f"group {group} has no hosts", f"add one below {group}, or name a HOST")
        return found
    for pattern in patterns:
        if pattern[:1] in "!&" or inventory.get_hosts(pattern):
            continue
        if pattern in inventory.groups:
            raise InventoryError(source, f"group {pattern} has no hosts", f"add one below {pattern}")
        known = sorted({*inventory.hosts, *inventory.groups} - {"ungrouped"})
        raise UnknownHostError(pattern, source, difflib.get_close_matches(pattern, known, n=2), sorted(inventory.hosts))
    found = inventory.get_hosts(list(patterns))
    if not found:
        raise InventoryError(source, f"nothing is left of '{' '.join(patterns)}'")
    return found


def _templated(templar: Any, values: Mapping[str, Any], source: str, host: str) -> dict[str, Any]:  # noqa: ANN401
    from ansible.errors import AnsibleError  # noqa: PLC0415

    result = {}
    for name in _NAMES:
        try:
            result[name] = templar.template(values.get(name))
        except AnsibleError as error:
            raise InventoryError(source, f"host {host}: {name}: {_first_line(str(error))}") from error
    return result


def _host(name: str, values: Mapping[str, Any], source: str) -> Host:
    connection = values["ansible_connection"] or "ssh"
    if connection not in _CONNECTIONS:
        raise InventoryError(source, f"host {name}: ansible_connection: '{connection}'", "rlctl knows ssh and local")
    args = f"{values['ansible_ssh_common_args'] or ''} {values['ansible_ssh_extra_args'] or ''}"
    return Host(
        name=str(name),  # plain: Ansible tags its strings with their place, and tagged ones do not encode
        address=str(values["ansible_host"] or name),
        local=connection == "local",
        user=_text(values["ansible_user"]),
        port=_number(values, "ansible_port", int, name, source),
        key_file=_text(values["ansible_ssh_private_key_file"]),
        ssh_args=tuple(shlex.split(args)),
        root=str(values["rlfleet_root"] or DEFAULT_ROOT),
        price_per_hour=_number(values, "rlfleet_price_per_hour", float, name, source),
        inventory=source if "," in source else str(Path(source).absolute()),
    )


def _text(value: object) -> str | None:
    return str(value) if value else None


def _number(values: Mapping[str, Any], name: str, kind: type, host: str, source: str) -> Any:  # noqa: ANN401
    value = values[name]
    if value is None or value == "":
        return None
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise InventoryError(source, f"host {host}: {name}: '{value}' is no number") from None


def _parse_failure(said: str, source: str) -> InventoryError:
    """Return the message of the plugin that the file was meant for; each tries and each complains."""
    failures = re.split(r"(?=\[WARNING\]: Failed to parse inventory)", said)[1:]
    place = _origin(said)
    meant = "'yaml'" if re.search(r"\.(ya?ml|json)(:\d+)*$", place or source) else "'ini'"
    chosen = next((text for text in failures if f"with {meant} plugin" in text), failures[-1])
    return _broken(source, re.sub(r"^.*?plugin: ", "", chosen, count=1), place)


def _broken(source: str, text: str, place: str | None) -> InventoryError:
    fault = _first_line(text).rstrip(".")
    return InventoryError(place or source, fault, f"mend it, then check with: ansible-inventory -i {source} --list")


def _tagged_place(error: Exception) -> str | None:
    """Return file, line and column that Ansible keeps with the value or file that it stumbled over."""
    chain: BaseException | None = error
    while chain is not None:
        place = _origin(str(getattr(chain, "_formatted_source_context", None)))
        if place is not None:
            return place
        chain = chain.__cause__ or chain.__context__
    return None


def _origin(text: str) -> str | None:
    places = re.findall(r"^Origin: ([^<\s]\S*)", text, flags=re.MULTILINE)
    return max(places, key=len, default=None)  # the longest has line and column


def _first_line(text: str) -> str:
    return " ".join((text.strip().splitlines() or ["unknown error"])[0].split())


def default() -> tuple[Mapping[str, str], Path, Path]:
    """Return where `find` looks without an argument: environment, working directory, home."""
    return os.environ, Path.cwd(), Path.home()
