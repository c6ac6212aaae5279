"""A lab: hosts that boot on this machine, and the controller's place among them.

    with Lab([Spec("vm"), Spec("container")]) as lab:
        lab.hosts["tnr-0"].power_cut()
        lab.run("rlctl", "status", check=False)

`Lab.run` runs a command where the hosts can be reached; nothing else on the machine can reach them.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import cgroup, image, inventory, needs, netns, record
from lab.commands import LabError, completed, run
from lab.host import UP_S, Host
from lab.spec import Spec

_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_INSTANCES = 8192
"""Each systemd takes several of a number that all hosts share; the default is enough for about 20 hosts."""


class Lab:
    """Hosts tnr-0, tnr-1 ...; failures raise `LabError`.

    Args:
        specs: What the hosts are like, in their order.
        name: The lab's name on this machine, made up by default. One of the same name is replaced.
        kept: Whether it outlives this process; if not, the next start of any lab removes it once this process is gone.
    """

    def __init__(self, specs: Sequence[Spec], *, name: str | None = None, kept: bool = False) -> None:
        reason = needs.missing()
        if reason:
            raise LabError(reason)
        self.name = name or secrets.token_hex(3)
        self.namespace = record.namespace(self.name)
        self.folder = record.folder(self.name)
        self._kept = kept
        self._controller = cgroup.Group(f"{self.name}/controller")
        hosts = [Host(self.namespace, self.folder, index, spec, self._controller) for index, spec in enumerate(specs)]
        self.hosts = {host.name: host for host in hosts}

    @property
    def ssh_config(self) -> Path:
        """The SSH configuration that knows the hosts by their names, for `ssh -F`."""
        return self.folder / "ssh" / "config"

    @property
    def inventory(self) -> Path:
        """The inventory of the hosts, for `ansible-playbook -i` and `rlctl -i`; more variables can be put beside it."""
        return self.folder / "inventory"

    @property
    def own_folders(self) -> dict[str, str]:
        """Where rlctl keeps what it remembers of the lab's hosts: it goes with them."""
        return {"XDG_STATE_HOME": f"{self.folder}/state", "XDG_CACHE_HOME": f"{self.folder}/cache"}

    def start(self) -> None:
        """Boot all hosts and wait until they can be logged in to; what dead labs left is removed first."""
        record.sweep()
        base = image.ensure()
        try:
            with record.alone():
                record.create(self.name, kept=self._kept)
            self._create(base)
            for host in self.hosts.values():
                host.power_on(wait=False)
            for host in self.hosts.values():
                host.wait_up(timeout=UP_S + 4 * len(self.hosts))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Remove the lab with all that belongs to it; does nothing if there is none."""
        with record.alone():
            record.remove(self.name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def words(self, *words: object) -> list[str]:
        """Return a command that runs another one at the controller's place: for `subprocess.Popen` and friends."""
        return self._controller.entering(*netns.inside(self.namespace), *words)

    def run(
        self,
        *words: object,
        check: bool = True,
        timeout: float = 180,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command at the controller's place; this Python's programs (ansible, rlctl) are found first."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **self.own_folders, **(env or {})}
        return completed(self.words(*words), timeout=timeout, check=check, env=environment, cwd=cwd)

    def _create(self, base: Path) -> None:
        """Make all that the hosts need to be started."""
        if int(_INOTIFY.read_text()) < _INOTIFY_INSTANCES:
            _INOTIFY.write_text(str(_INOTIFY_INSTANCES))
        self._controller.create()
        netns.create_lab(self.namespace)
        key = self.ssh_config.parent / "key"
        key.parent.mkdir(mode=0o700)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", key)
        public = key.with_suffix(".pub").read_text()
        hosts = list(self.hosts.values())
        host_keys = {host: host.create(base, public) for host in hosts}
        inventory.write_ssh(self.ssh_config.parent, host_keys)
        inventory.write(self.inventory, hosts, self.folder)
