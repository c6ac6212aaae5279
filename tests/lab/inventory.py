"""What clients of a lab read: an SSH configuration, the known host keys, an Ansible inventory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.host import Host
from lab.image import USER


def write_ssh(folder: Path, host_keys: Mapping[Host, str]) -> None:
    """Write `config` and `known_hosts` for hosts with their public keys; the private key is `key` beside them."""
    known = [f"{host.name},{host.address} {' '.join(key.split()[:2])}\n" for host, key in host_keys.items()]
    (folder / "known_hosts").write_text("".join(known))
    aliases = [f"Host {host.name}\n  HostName {host.address}\n\n" for host in host_keys]
    common = (
        f"Host *\n  User {USER}\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  StrictHostKeyChecking yes\n  ConnectTimeout 10\n"
    )
    (folder / "config").write_text("".join(aliases) + common)


def write(folder: Path, hosts: Iterable[Host], lab: Path) -> None:
    """Write an inventory that reaches a lab's hosts by their names through the lab's SSH configuration."""
    (folder / "group_vars").mkdir(parents=True, exist_ok=True)
    hosts = list(hosts)
    groups = {f"{kind}s": [host.name for host in hosts if host.kind == kind] for kind in ("vm", "container")}
    lines = ["---", "# Written by the lab (tests/lab): don't edit.", "gpu_servers:"]
    lines += ["  children:"]
    for group, names in groups.items():
        lines += [
            f"    {group}:",
            "      hosts:" if names else "      hosts: {}",
            *(f"        {name}:" for name in names),
        ]
    (folder / "hosts.yml").write_text("\n".join(lines) + "\n")
    variables = {
        "ansible_ssh_common_args": f"-F {lab}/ssh/config",
        # Ansible's lasting connections are named by the host: another lab's tnr-0 must not be taken for this one.
        "ansible_control_path_dir": f"{lab}/control",
    }
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in variables.items())
    (folder / "group_vars" / "all.yml").write_text(f"---\n{text}")
