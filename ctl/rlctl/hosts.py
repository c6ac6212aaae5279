"""What `rlctl` knows of a host before it talks to it."""

from __future__ import annotations

import dataclasses
import shlex

DEFAULT_ROOT = "/opt/rlfleet"
SOCKET_PATH_MAX_BYTES = 107
"""The kernel's limit."""


@dataclasses.dataclass(frozen=True)
class Host:
    """One host of the inventory."""

    name: str
    """Its name in the inventory."""
    address: str
    """What SSH is asked to connect to: `ansible_host`, else the name, which may be an alias of ~/.ssh/config."""
    local: bool = False
    """This machine: no SSH."""
    user: str | None = None
    port: int | None = None
    key_file: str | None = None
    ssh_args: tuple[str, ...] = ()
    """`ansible_ssh_common_args` and `ansible_ssh_extra_args`, split."""
    root: str = DEFAULT_ROOT
    """`rlfleet_root`: everything of rlfleet on the host lies below it."""
    price_per_hour: float | None = None
    """In dollars; None: not known."""
    inventory: str | None = dataclasses.field(default=None, compare=False)
    """Where it was read from; None: the playbooks' default."""

    @property
    def agent(self) -> str:
        """The agent's command on the host."""
        return f"{self.root.rstrip('/')}/bin/rlagent"

    @property
    def agent_socket(self) -> str | None:
        """Where a deployed agent listens on the host; None: only a shell there can tell."""
        path = f"{self.root.rstrip('/')}/var/agent.sock"
        return path if path.startswith("/") and len(path.encode()) <= SOCKET_PATH_MAX_BYTES else None

    @property
    def deploy_hint(self) -> str:
        """The next step when the agent is missing or does not answer."""
        return f"deploy it: {self.deploy_command}"

    @property
    def deploy_command(self) -> str:
        """What a person types to install or upgrade this host."""
        usual = self.inventory is None or self.inventory.endswith("inventory/fleet")
        which = "" if usual else f"-i {shlex.quote(self.inventory or '')} "
        return f"cd playbooks && ansible-playbook {which}deploy.yml --limit {self.name}"

    @property
    def ssh_command(self) -> str:
        """What a person types to reach this host by hand."""
        words = ["ssh", *self.ssh_args]
        if self.port is not None:
            words += ["-p", str(self.port)]
        if self.key_file is not None:
            words += ["-i", self.key_file]
        words.append(self.address if self.user is None else f"{self.user}@{self.address}")
        return " ".join(words)
