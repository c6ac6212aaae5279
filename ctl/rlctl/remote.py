"""Hosts over SSH: the only importer of fabric. Host keys are checked against known_hosts and never added.

Fabric makes the connection; commands run on plain channels of it, because its `run` feeds stdin a byte at a time.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence

import fabric
import paramiko

from rlctl.channel import Completed
from rlctl.errors import AgentError, HostError
from rlctl.fanout import Deadline
from rlctl.hosts import Host
from rlctl.proxy import Proxy
from rlctl.sshconfig import SshSettings, lookup
from rlctl.sshfaults import explain, proxy_failed, unknown_host_key

OUTPUT_MAX_BYTES = 16 * 2**20
"""More than this is no answer of an agent."""
KEEPALIVE_S = 15

# Its threads log tracebacks to stderr; each fault reaches the caller as an exception anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


class SshChannel:
    """One host over SSH; connects at the first command and stays connected."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._connection: fabric.Connection | None = None
        self._proxy: Proxy | None = None

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run a command to its end; raises `ConnectError` or `AgentError`."""
        with self._faults(deadline):
            channel = self._open(deadline).open_session(timeout=deadline.left_s())
            with contextlib.closing(channel):
                channel.settimeout(max(deadline.left_s(), 0.01))
                channel.exec_command(command_line(argv))
                # An agent that is missing or ends early does not read: its exit code says more than a broken pipe.
                with contextlib.suppress(OSError):
                    channel.sendall(stdin)
                    channel.shutdown_write()
                stdout = _read(channel, deadline)
                stderr = channel.makefile_stderr("rb").read()
                if not channel.status_event.wait(deadline.left_s()):
                    raise TimeoutError
                return Completed(channel.recv_exit_status(), stdout, stderr)

    def stream(self, argv: Sequence[str], sink: Callable[[str], None], *, follow: bool) -> Completed:
        """Hand each line to the sink until the command ends; a followed one ends with this connection.

        A command on a terminal gets SIGHUP when its channel closes; without one it would wait for its next line.
        """
        deadline = Deadline(60.0)
        with self._faults(deadline):
            channel = self._open(deadline).open_session(timeout=deadline.left_s())
            with contextlib.closing(channel):
                if follow:
                    channel.get_pty(width=4096)
                channel.exec_command(command_line(argv))
                for line in channel.makefile("rb"):
                    text = line if isinstance(line, str) else line.decode("utf-8", "replace")
                    sink(text.replace("\r\n", "\n"))
                stderr = channel.makefile_stderr("rb").read()
                return Completed(channel.recv_exit_status(), b"", stderr)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None

    def _open(self, deadline: Deadline) -> paramiko.Transport:
        if self._connection is None or not self._connection.is_connected:
            self.close()
            settings = lookup(self._host)
            if settings.proxy_command is not None:
                self._proxy = Proxy(settings.proxy_command, settings)
            self._connection = connect(
                self._host, settings, deadline, None if self._proxy is None else self._proxy.sock
            )
        transport: paramiko.Transport = self._connection.transport
        return transport

    @contextlib.contextmanager
    def _faults(self, deadline: Deadline) -> Iterator[None]:
        try:
            yield
        except (HostError, BrokenPipeError):
            raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            said = self._proxy.said() if self._proxy is not None and self._connection is None else ""
            if said:
                raise proxy_failed(self._host, said) from error
            raise explain(error, self._host, deadline) from error


def connect(
    host: Host, settings: SshSettings, deadline: Deadline, sock: socket.socket | None = None
) -> fabric.Connection:
    """Return an open connection, through the socket if one is given.

    Raises what paramiko raises, and `ConnectError` for an unknown host key.
    """
    left = max(deadline.left_s(), 0.01)
    connection = fabric.Connection(
        settings.hostname,
        user=settings.user,
        port=settings.port,
        # OpenSSH has been asked already, and nobody's fabric.yml decides here.
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        gateway=False,
        connect_kwargs={
            "timeout": left,
            "banner_timeout": left,
            "auth_timeout": left,
            "channel_timeout": left,
            "key_filename": list(settings.identity_files),
            "allow_agent": not settings.identities_only,
            "look_for_keys": False,
            "sock": sock,
        },
    )
    for name in settings.known_hosts:
        connection.client.load_system_host_keys(name)
    connection.client.set_missing_host_key_policy(_KnownHostsOnly(host, settings))
    connection.open()
    connection.transport.set_keepalive(KEEPALIVE_S)
    return connection


class _KnownHostsOnly(paramiko.MissingHostKeyPolicy):
    """Refuses a key that is not known, unless the user's OpenSSH configuration says not to check this host."""

    def __init__(self, host: Host, settings: SshSettings) -> None:
        self._host = host
        self._settings = settings

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Look under the alias, as OpenSSH does; raise when nothing vouches for the key."""
        del hostname
        alias = self._settings.host_key_alias
        known = client._system_host_keys  # type: ignore[attr-defined]  # noqa: SLF001  # paramiko has no other way
        if alias is not None and known.check(alias, key):
            return
        if self._settings.check_host_key:
            raise unknown_host_key(self._host, key)


def command_line(argv: Sequence[str]) -> str:
    """Return the words for a remote shell; a leading ~/ stays for it to expand."""
    first, *rest = argv
    program = f"~/{shlex.quote(first[2:])}" if first.startswith("~/") else shlex.quote(first)
    return " ".join([program, *map(shlex.quote, rest)])


def _read(channel: paramiko.Channel, deadline: Deadline) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        channel.settimeout(max(deadline.left_s(), 0.01))
        part = channel.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > OUTPUT_MAX_BYTES:
            raise AgentError("garbage", f"it sends without end ({size >> 20} MiB)", "is rlfleet_root right?")
