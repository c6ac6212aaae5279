"""The cable between a host and the lab's bridge: cut, slow, or whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import cgroup, netns
from lab.commands import LabError

_RELAY = Path(__file__).with_name("relay.py")
_TUN = Path("/dev/net/tun")


class Link:
    """The network of one host, by the lab's namespace and the host's index; failures raise `LabError`."""

    def __init__(self, namespace: str, index: int, group: cgroup.Group) -> None:
        self._namespace = namespace
        self._index = index
        self._group = group
        self._relay: subprocess.Popen[str] | None = None

    def cut(self) -> None:
        """Let packets vanish both ways, silently, as a network between two machines does."""
        netns.cut(self._namespace, self._index)

    def delay(self, milliseconds: float) -> None:
        """Make each round trip so much longer; raises `LabError` where the kernel has no taps."""
        self.restore()
        if not _TUN.exists():
            raise LabError(f"no {_TUN} here: a network can't be delayed")
        taps = netns.detour(self._namespace, self._index)
        command = [*netns.inside(self._namespace), sys.executable, _RELAY, *taps, milliseconds / 2]
        self._relay = subprocess.Popen(self._group.entering(*command), stdout=subprocess.PIPE, text=True)
        if self._relay.stdout is None or self._relay.stdout.readline() != "ready\n":
            raise LabError(f"{taps[0]}: the relay that delays the network did not start")

    def restore(self) -> None:
        """Let packets through, at once; does nothing if they do."""
        netns.mend(self._namespace, self._index)
        if self._relay is not None:
            netns.end_detour(self._namespace, self._index)
            self._relay.kill()
            self._relay.communicate()
            self._relay = None
