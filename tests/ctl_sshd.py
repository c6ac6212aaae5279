"""A real sshd on loopback for the tests of rlctl."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ctl_runs import Agent

SSHD = shutil.which("sshd") or next((p for p in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if os.path.exists(p)), None)  # noqa: PTH110

HOST_KEYS = {"ed25519": "host_key", "ecdsa": "host_key_ecdsa", "rsa": "host_key_rsa"}
"""By type: the file of each key that the server shows to who asks for it; the first is in its `known_hosts`."""

_PORTS: list[socket.socket] = []
"""Keep the ports that were given out, so that nobody else on this machine is given them."""


class Sshd:
    """A real sshd on loopback, for the current user, with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.key = folder / "id"
        self.known_hosts = folder / "known_hosts"
        keygen(folder / "id")
        for kind, name in HOST_KEYS.items():
            keygen(folder / name, ("-t", kind, *(("-b", "2048") if kind == "rsa" else ())))
        (folder / "authorized_keys").write_text((folder / "id.pub").read_text())
        host_key = (folder / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key[0]} {host_key[1]}\n")
        (folder / "ssh_config").write_text(
            f"Host *\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n  IdentitiesOnly yes\n"
            f"  IdentityFile {self.key}\n"
        )

    def configuration(self) -> str:
        """Return sshd's own configuration."""
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
            "LogLevel": "VERBOSE",
        }
        lines = [*settings.items(), *(("HostKey", self.folder / name) for name in HOST_KEYS.values())]
        return "".join(f"{name} {value}\n" for name, value in lines)

    @contextlib.contextmanager
    def running(self) -> Iterator[Sshd]:
        """Run it; its sessions end with their clients."""
        assert SSHD is not None
        if os.geteuid() == 0:  # its privilege separation folder, which an init script makes where one runs
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (self.folder / "sshd_config").write_text(self.configuration())
        log = (self.folder / "sshd.log").open("w")
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=log, stdout=log)
        try:
            _wait_for_port(self.port, server)
            yield self
        finally:
            server.terminate()
            server.wait(timeout=60)
            log.close()

    def host(self, agent: Agent, **more: object) -> dict[str, object]:
        """Return the inventory variables that reach an agent over this sshd."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_common_args": f"-F {self.folder / 'ssh_config'}",
            "rlfleet_root": str(agent.root),
            **more,
        }


def free_port() -> int:
    """Return a port on loopback on which nobody listens, and on which nobody will by chance.

    A socket without a listener refuses connections; a server that asks for the port by its number gets it nevertheless,
    if it sets SO_REUSEADDR, as sshd does.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    _PORTS.append(sock)
    return int(sock.getsockname()[1])


def keygen(path: Path, words: Sequence[str] = ("-t", "ed25519"), passphrase: str = "") -> Path:
    """Make a key pair at a path and return the path."""
    subprocess.run(["ssh-keygen", "-q", *words, "-N", passphrase, "-f", path], check=True)
    return path


def _wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")
