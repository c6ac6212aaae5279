"""A way to a host through another program, as OpenSSH's ProxyCommand: its stdin and stdout are one real socket.

paramiko's own ProxyCommand reads pipes byte by byte and hides what the program says when it fails.
"""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile

from rlctl.channel import last_line
from rlctl.sshconfig import SshSettings


class Proxy:
    """A running proxy command."""

    def __init__(self, command: str, settings: SshSettings) -> None:
        self.sock, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the connection
        # OpenSSH hands it to a shell in the same words.
        words = ["sh", "-c", f"exec {expanded(command, settings)}"]
        with theirs:
            self._process = subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._stderr)

    def said(self) -> str:
        """Return the last line of its complaints."""
        self._stderr.seek(0)
        return last_line(self._stderr.read())

    def kill(self) -> None:
        """End it at once; the connection through it fails."""
        self._process.kill()

    def close(self) -> None:
        """End it."""
        self.sock.close()
        self._process.kill()
        self._process.wait()
        self._stderr.close()


def expanded(command: str, settings: SshSettings) -> str:
    """Replace OpenSSH's tokens %h, %n, %p, %r and %% in a proxy command."""
    tokens = {"h": settings.hostname, "n": settings.hostname, "p": str(settings.port), "r": settings.user, "%": "%"}
    return re.sub(r"%([hnpr%])", lambda match: tokens[match.group(1)], command)
