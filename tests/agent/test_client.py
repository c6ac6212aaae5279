"""What a caller makes of an agent that answers, is slow, is not there, or says what can't be an answer."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from rlagent import client
from rlagent.protocol import messages


@pytest.mark.parametrize("path", ["missing.sock", "missing/agent.sock", "file", "file/agent.sock", "dead.sock"])
def test_nobody_listens(tmp_path, path):
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    reply = client.call(tmp_path / path, b"x")
    assert (reply.error.code, reply.error.message) == ("agent-not-running", f"no agent listens on {tmp_path / path}")
    assert reply.error.hint == client.START_HINT


@pytest.fixture
def frozen(tmp_path):
    """A listener that never accepts, as an agent that was stopped."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "frozen.sock"))
        listener.listen(1)
        yield tmp_path / "frozen.sock"


def test_an_agent_that_does_not_answer_is_a_timeout(frozen):
    reply = client.call(frozen, b"x", timeout_s=0.1)
    assert (reply.error.code, reply.error.message) == ("timeout", "the agent did not answer within 0.1 s")


def test_a_full_queue_of_an_agent_that_does_not_look_is_a_timeout(frozen):
    codes = [client.call(frozen, b"x", timeout_s=0.1).error.code for _ in range(5)]
    assert codes == ["timeout"] * 5


def one_answer(path, *parts, pause_s=0.0):
    """Answer one caller with exactly these bytes, then close."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def answer() -> None:
        sock, _ = listener.accept()
        with sock, listener:
            sock.recv(1000)
            for part in parts:
                try:
                    sock.sendall(part)
                except BrokenPipeError:
                    return
                time.sleep(pause_s)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_the_timeout_is_for_the_whole_answer(tmp_path):
    thread = one_answer(tmp_path / "s", *[b" "] * 10_000, b"{}\n", pause_s=0.02)  # until the caller has gone
    assert client.call(tmp_path / "s", b"x", timeout_s=0.3).error.code == "timeout"
    thread.join()


@pytest.mark.parametrize("answer", [b"", b'{"ok": tr', b"garbage\n", b"[]\n", b'{"ok": "yes"}\n', b"\xff\xfe\n"])
def test_an_answer_that_is_none_is_an_internal_error(tmp_path, answer):
    thread = one_answer(tmp_path / "s", answer)
    reply = client.call(tmp_path / "s", b"x")
    thread.join()
    assert (reply.ok, reply.error.code) == (False, "internal")
    assert reply.error.message.startswith("the agent's answer was cut off")


def test_an_answer_may_come_in_parts(tmp_path):
    thread = one_answer(tmp_path / "s", b'{"ok":', b' true, "result"', b": 5}\n", pause_s=0.02)
    assert client.call(tmp_path / "s", b"x").result == 5
    thread.join()


def test_an_answer_that_ends_without_a_line_s_end_is_taken(tmp_path):
    thread = one_answer(tmp_path / "s", b'{"ok": true, "result": 6}')
    assert client.call(tmp_path / "s", b"x").result == 6
    thread.join()


def test_what_is_asked_is_one_line_whatever_its_layout(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen(1)
    heard = []

    def hear() -> None:
        sock, _ = listener.accept()
        with sock, listener:
            heard.append(sock.recv(1000))
            sock.sendall(messages.encode(messages.Reply(ok=True)))

    thread = threading.Thread(target=hear)
    thread.start()
    assert client.call(tmp_path / "s", b"  {\n1}\n\n").ok
    thread.join()
    assert heard == [b"{ 1}\n"]


def test_a_caller_has_ten_seconds_of_patience_and_holds_no_descriptor_after_it(frozen):
    assert client.call.__defaults__ == (10.0,)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # the kernel's view
    for _ in range(3):
        client.call(frozen, b"x", timeout_s=0.01)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
