"""Hosts over SSH: the only importer of fabric. Host keys are checked against known_hosts.

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

from rlctl import knownhosts
from rlctl.channel import Completed
from rlctl.dial import dial
from rlctl.errors import AgentError, HostError
from rlctl.fanout import Deadline
from rlctl.hostkeys import KnownHostsOnly
from rlctl.hosts import Host
from rlctl.proxy import Proxy
from rlctl.sshauth import KeyAuth
from rlctl.sshconfig import SshSettings, lookup
from rlctl.sshfaults import explain, proxy_failed
from rlctl.transport import Transport, factory

OUTPUT_MAX_BYTES = 16 * 2**20
"""More than this is no answer of an agent."""
STDERR_MAX_BYTES = 65536
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

    def call(self, request: bytes, deadline: Deadline) -> Completed:
        """Send a request to the agent's socket, or to its command where that can't be; raises as `run`.

        The command finds an agent wherever its state lies, and can say what is wrong with one that is not there.
        """
        with self._faults(deadline):
            channel = self._open_socket(deadline)
            if channel is not None:
                with contextlib.closing(channel):
                    deadline.waiting_for("SSH works, its agent is silent", f"look: rlctl logs {self._host.name}")
                    channel.settimeout(max(deadline.left_s(), 0.01))
                    channel.sendall(request)
                    # Once it is sent it is never sent again: what changes something must not happen twice.
                    return Completed(0, _read(channel, deadline, until=b"\n"), b"")
        return self.run([self._host.agent, "call"], request, deadline)

    def run(self, argv: Sequence[str], stdin: bytes, deadline: Deadline) -> Completed:
        """Run a command to its end; raises `ConnectError` or `AgentError`."""
        with self._faults(deadline):
            channel = self._open(deadline).open_session(timeout=max(deadline.left_s(), 0.01))
            with contextlib.closing(channel):
                deadline.waiting_for(f"SSH works, {argv[0]} is silent", f"look: {self._host.ssh_command}")
                channel.settimeout(max(deadline.left_s(), 0.01))
                channel.exec_command(command_line(argv))
                # An agent that is missing or ends early does not read: its exit code says more than a broken pipe.
                with contextlib.suppress(OSError):
                    channel.sendall(stdin)
                    channel.shutdown_write()
                stdout = _read(channel, deadline)
                stderr = channel.makefile_stderr("rb").read(STDERR_MAX_BYTES)
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

    def abandon(self) -> None:
        """End what would outlive this program, without waiting: a thread may still be in the middle of a command."""
        if self._proxy is not None:
            self._proxy.kill()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None

    def _open(self, deadline: Deadline) -> Transport:
        if self._connection is None or not self._connection.is_connected:
            self.close()
            settings = lookup(self._host)
            if settings.proxy_command is not None:
                deadline.waiting_for("no way through its jump host yet", f"try by hand: {self._host.ssh_command}")
                self._proxy = Proxy(settings.proxy_command, settings)
            sock = dial(settings.hostname, settings.port, deadline) if self._proxy is None else self._proxy.sock
            deadline.waiting_for("its SSH server greets and then hangs", "is the server overloaded?")
            self._connection = connect(self._host, settings, deadline, sock)
        transport: Transport = self._connection.transport
        return transport

    def _open_socket(self, deadline: Deadline) -> paramiko.Channel | None:
        path, transport = self._host.agent_socket, self._open(deadline)
        if path is None:
            return None
        try:
            return transport.open_unix_socket(path, max(deadline.left_s(), 0.01))
        except paramiko.ChannelException:
            return None

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


def connect(host: Host, settings: SshSettings, deadline: Deadline, sock: socket.socket) -> fabric.Connection:
    """Return an open connection through a socket; raises what paramiko raises, and `ConnectError` for a host key."""
    left = max(deadline.left_s(), 0.01)
    port = None if settings.host_key_alias is not None else settings.port
    known = knownhosts.find(settings.known_hosts, settings.host_key_alias or settings.hostname, port)
    connection = fabric.Connection(
        settings.hostname,
        user=settings.user,
        port=settings.port,
        config=_configuration(),
        gateway=False,
        connect_kwargs={
            "timeout": left,
            "banner_timeout": left,
            "auth_timeout": left,
            "channel_timeout": left,
            "transport_factory": factory(known.key_types),
            "auth_strategy": KeyAuth(settings),
            "sock": sock,
        },
    )
    connection.client.set_missing_host_key_policy(KnownHostsOnly(host, settings, known))
    try:
        connection.open()
    except BaseException:
        connection.client.close()  # else its thread goes on listening
        raise
    connection.transport.set_keepalive(KEEPALIVE_S)
    return connection


def _configuration() -> fabric.Config:
    """Return a connection's own configuration, which no two threads may share: it changes while it is read.

    OpenSSH has been asked already, and nobody's fabric.yml decides here.
    """
    return fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())


def command_line(argv: Sequence[str]) -> str:
    """Return the words for a remote shell; a leading ~/ stays for it to expand."""
    first, *rest = argv
    program = f"~/{shlex.quote(first[2:])}" if first.startswith("~/") else shlex.quote(first)
    return " ".join([program, *map(shlex.quote, rest)])


def _read(channel: paramiko.Channel, deadline: Deadline, until: bytes | None = None) -> bytes:
    """Return what comes up to the end, or up to these bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        left_s = deadline.left_s()
        if left_s <= 0:
            raise TimeoutError
        channel.settimeout(left_s)
        part = channel.recv(65536)
        parts.append(part)
        size += len(part)
        if not part or (until is not None and part.endswith(until)):
            return b"".join(parts)
        if size > OUTPUT_MAX_BYTES:
            raise AgentError("garbage", f"it sends without end ({size >> 20} MiB)", "is rlfleet_root right?")
