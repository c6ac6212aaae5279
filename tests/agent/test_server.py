"""The agent's socket and its callers, over real sockets."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import pytest

from rlagent import client, server
from rlagent.protocol import messages
from rlagent.server import REQUEST_BYTES_MAX, Server, short_address

LARGE = 3_000_000
"""More than any socket's buffer holds."""
NOBODY = 65534


def handle(line: bytes) -> bytes:
    """Answer `large` with a large reply, everything else with itself."""
    if line == b"large":
        return b"x" * LARGE + b"\n"
    return messages.encode(messages.Reply(ok=True, result=line.decode(errors="replace")))


class Loop:
    """A server in a thread, looked after as the daemon does."""

    def __init__(self, path) -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.server = Server(path, self.selector, handle)
        self.calls = 0
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.ending.is_set():
            for key, events in self.selector.select(0.01):
                self.calls += 1
                key.data(events)

    def close(self) -> None:
        self.ending.set()
        self.thread.join()
        self.server.close()
        self.selector.close()


@pytest.fixture
def loop(tmp_path):
    running = Loop(tmp_path / "agent.sock")
    yield running
    running.close()


@pytest.fixture
def connect(loop):
    sockets = []

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sockets.append(sock)
        sock.settimeout(60)
        with short_address(loop.path) as address:
            sock.connect(address)
        return sock

    yield make
    for sock in sockets:
        sock.close()


def lines(sock, count):
    with sock.makefile("rb") as stream:
        return [json.loads(stream.readline())["result"] for _ in range(count)]


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_answers_a_request(loop):
    assert client.call(loop.path, b"hello") == messages.Reply(ok=True, result="hello")


def test_a_request_may_be_laid_out_over_several_lines(loop):
    assert client.call(loop.path, b'{\n "verb":\n "ping"}\n').result == '{  "verb":  "ping"}'


def test_the_socket_is_for_its_owner_alone(loop):
    assert oct(loop.path.stat().st_mode & 0o777) == "0o600"


def test_paths_longer_than_the_kernel_allows(tmp_path):
    folder = tmp_path.joinpath(*["a-rather-long-folder-name"] * 8)
    folder.mkdir(parents=True)
    path = folder / "agent.sock"
    assert len(os.fsencode(path)) > 108
    running = Loop(path)
    try:
        assert client.call(path, b"far").result == "far"
    finally:
        running.close()
    assert not path.exists()


def test_a_stale_socket_file_is_replaced(tmp_path):
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    running = Loop(path)
    try:
        assert client.call(path, b"again").result == "again"
    finally:
        running.close()


def test_a_request_may_come_in_parts(connect):
    sock = connect()
    for part in (b"he", b"l", b"lo\nwor"):
        sock.sendall(part)
        time.sleep(0.03)
    assert lines(sock, 1) == ["hello"]
    sock.sendall(b"ld\n")
    assert lines(sock, 1) == ["world"]


def test_several_requests_on_one_connection_are_answered_in_order(connect):
    sock = connect()
    sock.sendall(b"".join(b"%d\n" % number for number in range(500)))
    assert lines(sock, 500) == [str(number) for number in range(500)]


def test_part_of_a_request_is_never_carried_out(loop, connect):
    sock = connect()
    sock.sendall(b'{"verb": "stop"}')
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(100) == b""


def test_a_caller_that_has_said_all_still_gets_every_reply(connect):
    sock = connect()
    sock.sendall(b"large\nlast\n")
    sock.shutdown(socket.SHUT_WR)
    with sock.makefile("rb") as stream:
        assert len(stream.readline()) == LARGE + 1
        assert json.loads(stream.readline())["result"] == "last"
        assert stream.readline() == b""


@pytest.mark.parametrize("size", [REQUEST_BYTES_MAX + 1, 20 * REQUEST_BYTES_MAX])
def test_a_line_without_end_closes_the_connection(loop, connect, size):
    sock = connect()
    try:
        sock.sendall(b"x" * size)
        ended = sock.recv(100)
    except (BrokenPipeError, ConnectionResetError):
        ended = b""
    assert ended == b""
    assert client.call(loop.path, b"next").ok


def test_a_request_of_the_largest_size_is_answered(connect):
    sock = connect()
    sock.sendall(b"x" * (REQUEST_BYTES_MAX - 1) + b"\n")
    assert lines(sock, 1) == ["x" * (REQUEST_BYTES_MAX - 1)]


def test_a_line_of_65536_bytes_may_still_end(connect):
    sock = connect()
    sock.sendall(b"x" * 65_536)
    time.sleep(0.05)
    sock.sendall(b"\n")
    assert len(lines(sock, 1)[0]) == 65_536


def test_binary_garbage_is_handed_on_as_it_is_and_hurts_nobody(loop, connect):
    sock = connect()
    sock.sendall(bytes(range(11, 256)) + b"\0\n")
    assert len(lines(sock, 1)) == 1
    assert client.call(loop.path, b"next").ok


def test_a_slow_reader_gets_a_large_reply_and_blocks_nobody(loop, connect):
    slow = connect()
    slow.sendall(b"large\nsecond\n")
    for number in range(20):
        assert client.call(loop.path, b"%d" % number).ok
    received = 0
    while received < LARGE + 1:
        received += len(slow.recv(min(100_000, LARGE + 1 - received)))
    assert lines(slow, 1) == ["second"]


def test_replies_of_a_caller_that_does_not_read_do_not_pile_up(loop, connect):
    greedy = connect()
    greedy.sendall(b"large\n" * 1000)
    wait_until(lambda: any(connection.to_send for connection in list(loop.server._connections.values())))
    time.sleep(0.1)
    (held,) = [connection for connection in loop.server._connections.values() if connection.to_send]
    assert len(held.to_send) <= LARGE + 1
    assert client.call(loop.path, b"next").ok


def test_many_requests_at_once_let_others_in_between(loop, connect):
    busy = connect()
    seen = []
    loop.server._handler = lambda line: seen.append(line) or messages.encode(messages.Reply(ok=True, result="r"))
    other = connect()
    busy.sendall(b"busy\n" * 5000)
    other.sendall(b"other\n")
    assert lines(other, 1) == ["r"]
    assert seen.index(b"other") < 5000
    assert lines(busy, 5000) == ["r"] * 5000


def test_an_idle_server_does_nothing(loop, connect):
    silent, half = connect(), connect()
    half.sendall(b"half a requ")
    client.call(loop.path, b"a")
    wait_until(lambda: len(loop.server._connections) == 2)
    before = loop.calls
    time.sleep(0.3)
    assert loop.calls == before
    assert silent.fileno() != half.fileno()


def test_a_silent_caller_blocks_nobody_and_is_dropped_after_half_a_minute(loop, connect, monkeypatch):
    silent = connect()
    assert client.call(loop.path, b"a").ok
    wait_until(lambda: len(loop.server._connections) == 1)
    loop.server.drop_idle()
    assert len(loop.server._connections) == 1
    (connection,) = loop.server._connections.values()
    now = connection.last_active + 30.0
    monkeypatch.setattr(server, "time", types.SimpleNamespace(monotonic=lambda: now))
    loop.server.drop_idle()
    assert len(loop.server._connections) == 1
    now += 0.1
    loop.server.drop_idle()
    assert silent.recv(100) == b""
    assert client.call(loop.path, b"b").ok


def test_more_callers_than_allowed_cost_only_the_longest_silent_one(loop, connect):
    callers = [connect() for _ in range(64)]
    wait_until(lambda: len(loop.server._connections) == 64)
    callers[0].sendall(b"alive\n")
    assert lines(callers[0], 1) == ["alive"]
    late = connect()
    late.sendall(b"late\n")
    assert lines(late, 1) == ["late"]
    assert callers[1].recv(100) == b""
    callers[2].sendall(b"third\n")
    assert lines(callers[2], 1) == ["third"]
    assert len(loop.server._connections) == 64


def test_callers_that_vanish_leave_no_descriptor(loop):
    def held():
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # the kernel's view

    client.call(loop.path, b"a")
    wait_until(lambda: not loop.server._connections)
    before = held()
    for number in range(100):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(loop.path))
        sock.sendall((b"large\n", b"par", b"")[number % 3])
        sock.close()
    client.call(loop.path, b"a")  # accepted in order: all of them have been
    wait_until(lambda: not loop.server._connections)
    wait_until(lambda: held() <= before)


def test_close_ends_connections_and_removes_the_socket(tmp_path):
    running = Loop(tmp_path / "agent.sock")
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(running.path))
    wait_until(lambda: running.server._connections)
    running.close()
    assert sock.recv(10) == b""
    sock.close()
    assert not running.path.exists()


def test_a_folder_that_can_not_be_written_is_an_os_error(tmp_path):
    with selectors.DefaultSelector() as selector, pytest.raises(OSError, match="missing"):
        Server(tmp_path / "missing" / "agent.sock", selector, handle)
    assert not list(tmp_path.iterdir())


CALL_AS_NOBODY = """
import os, sys
from pathlib import Path
from rlagent import client
from rlagent.protocol import messages
os.setgid({nobody}); os.setuid({nobody})
sys.stdout.write(client.call(Path(sys.argv[1]), b"x").error.code)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["socket", "folder"])
def test_another_users_agent_is_no_permission(closed):
    # Not tmp_path: pytest's folders are closed to others anyway.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755 if closed == "socket" else 0o700)
    running = Loop(folder / "agent.sock")
    try:
        program = CALL_AS_NOBODY.format(nobody=NOBODY)
        done = subprocess.run(
            [sys.executable, "-c", program, running.path], capture_output=True, text=True, check=False, timeout=120
        )
    finally:
        running.close()
        folder.rmdir()
    assert (done.stdout, done.stderr) == ("no-permission", "")


@pytest.mark.skipif(not shutil.which("nc"), reason="needs nc")
def test_netcat_is_enough_to_ask(loop):
    command = ["nc", "-N", "-U", str(loop.path)]
    done = subprocess.run(command, input=b"hello\n", capture_output=True, check=False, timeout=60)
    if done.returncode != 0 and b"nvalid option" in done.stderr:
        pytest.skip("this nc knows no Unix sockets")
    assert json.loads(done.stdout)["result"] == "hello"


def test_the_limits_fit_together():
    """A caller's timeout ends before the server drops it."""
    assert client.call.__defaults__[0] < server.IDLE_S_MAX
