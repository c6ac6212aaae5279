"""The agent's Unix socket: one JSON request a line in, one JSON reply a line out.

Single-threaded: the daemon's loop registers the listener and each connection with its selector. Owns framing, size
limits and timeouts; what a request means is decided by the handler that is passed in. Must not block.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

REQUEST_BYTES_MAX: Final = 65536
IDLE_S_MAX: Final = 30.0
"""A connection on which nothing has moved for so long is closed."""
CONNECTIONS_MAX: Final = 64
"""One more, and the one that has been silent for longest is closed: the agent needs its descriptors itself."""

Handler = Callable[[bytes], bytes]


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Give a name of at most a few characters for a socket path: the kernel's limit is 107 bytes. Raises OSError."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


class _Connection:
    """One caller: collects a request, then sends the reply."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.to_send = memoryview(b"")
        self.at_end = False
        """The caller will say no more; it may still be listening."""
        self.last_active = time.monotonic()

    @property
    def has_request(self) -> bool:
        """Whether a whole line waits for its answer."""
        return b"\n" in self.received

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done for this caller, or it says what can't be a request."""
        busy = self.to_send or self.has_request
        return not busy and (self.at_end or len(self.received) > REQUEST_BYTES_MAX)


class Server:
    """Listens on a Unix socket; the caller must hold the agent's lock, a stale socket file is replaced."""

    def __init__(self, path: Path, selector: selectors.BaseSelector, handler: Handler) -> None:
        """Bind and register. Raises OSError."""
        self._path, self._selector, self._handler = path, selector, handler
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        with short_address(path) as address:
            self._listener.bind(address)
        path.chmod(0o600)
        self._listener.listen(64)
        self._connections: dict[int, _Connection] = {}
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Stop listening."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def drop_idle(self) -> None:
        """Close connections of callers that went to sleep."""
        oldest = time.monotonic() - IDLE_S_MAX
        for connection in list(self._connections.values()):
            if connection.last_active < oldest:
                self._drop(connection)

    def _accept(self, _events: int) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            self._drop(min(self._connections.values(), key=lambda connection: connection.last_active))
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # the caller left
        sock.setblocking(False)
        connection = _Connection(sock)
        self._connections[sock.fileno()] = connection
        self._selector.register(sock, selectors.EVENT_READ, lambda _events: self._serve(connection))

    def _serve(self, connection: _Connection) -> None:
        """Move on with a caller by one request at most: others have their turn between two of them."""
        connection.last_active = time.monotonic()
        try:
            self._move_on(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if connection.is_over:
            self._drop(connection)
            return
        # A caller that doesn't take its replies is not read either: they must not pile up here.
        wanted = selectors.EVENT_WRITE if connection.to_send or connection.has_request else selectors.EVENT_READ
        key = self._selector.get_key(connection.sock)
        if key.events != wanted:
            self._selector.modify(connection.sock, wanted, key.data)

    def _move_on(self, connection: _Connection) -> None:
        """Read, answer or send, whatever is next. Raises OSError."""
        if not connection.to_send and not connection.has_request:
            data = connection.sock.recv(REQUEST_BYTES_MAX)
            connection.received += data
            connection.at_end = not data
        if not connection.to_send and connection.has_request:
            line, connection.received = connection.received.split(b"\n", 1)
            connection.to_send = memoryview(self._handler(line))
        if connection.to_send:
            connection.to_send = connection.to_send[connection.sock.send(connection.to_send) :]

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.sock.fileno(), None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()
