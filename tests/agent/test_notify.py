"""What systemd hears of the agent, at a socket of our own in systemd's place."""

from __future__ import annotations

import os
import queue
import socket
import threading
import types

import pytest

from rlagent import notify
from rlagent.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """Listen as systemd does; gives the environment it would set, and a way to hear."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@rlfleet-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.settimeout(10)
        yield {"NOTIFY_SOCKET": name}, lambda: listener.recv(4096).decode()


def test_ready_alive_and_ending_are_told(systemd, monkeypatch):
    environment, hear = systemd
    now = [1000.0]
    monkeypatch.setattr(notify, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    notifier = Notifier({**environment, "WATCHDOG_USEC": "3000000"}, pid=7)
    notifier.ready("0.1.0: mode light, 2 trainers run")
    assert hear() == "READY=1\nSTATUS=0.1.0: mode light, 2 trainers run\n"
    notifier.alive("well")
    assert hear() == "WATCHDOG=1\nSTATUS=well\n"
    now[0] += 0.9
    notifier.alive("again too soon: not needed, so not sent")
    now[0] += 0.1
    notifier.alive("still well")
    assert hear() == "WATCHDOG=1\nSTATUS=still well\n"
    notifier.ending()
    assert hear() == "STOPPING=1\n"


@pytest.mark.parametrize(
    ("watchdog", "expected"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 1.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "6"}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_USEC": "3"}, 1e-6),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-3"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_signs_of_life_are_sent_three_times_as_often_as_needed_and_only_when_meant_for_us(watchdog, expected):
    assert Notifier({"NOTIFY_SOCKET": "/nowhere", **watchdog}, pid=7).pause_s == expected


def test_a_systemd_that_does_not_listen_any_more_does_not_hold_up_the_agent(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, pid=7)
        for _ in range(2000):  # far more than the kernel keeps
            notifier.ready("x")
        assert listener.recv(100) == b"READY=1\nSTATUS=x\n"


def test_the_first_sign_of_life_is_sent_at_once_however_young_the_host_is(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setattr(notify, "time", types.SimpleNamespace(monotonic=lambda: 1.0))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}, pid=7)
        notifier.alive("caf\udce9")
        assert listener.recv(100) == b"WATCHDOG=1\nSTATUS=caf?\n"


def test_without_a_watchdog_no_sign_of_life_is_sent(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}, pid=7)
        notifier.alive("well")
        notifier.ending()
        assert listener.recv(100) == b"STOPPING=1\n"
    assert Notifier({"WATCHDOG_USEC": "3000000"}, pid=7).pause_s is None


def test_without_systemd_and_with_a_deaf_one_nothing_happens(tmp_path):
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier(environment, pid=7)
        notifier.ready("")
        notifier.alive("")
        notifier.ending()


def _hear_until_the_end(listener, heard) -> None:
    message = b""
    while message != b"STOPPING=1\n":
        try:
            message = listener.recv(4096)
        except OSError:  # nothing comes any more, or the test is over
            return
        heard.put(message)


def test_a_real_agent_tells_and_its_trainers_never_see_the_line(make_host, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
        heard: queue.Queue[bytes] = queue.Queue()
        # At once, as systemd does: the kernel keeps ten messages, and the agent doesn't wait with more.
        reader = threading.Thread(target=_hear_until_the_end, args=(listener, heard))
        reader.start()
        host = make_host(agent={"tick_s": 60.0, "journal_tick_s": 60.0}).start(environment=environment)
        assert heard.get(timeout=60).startswith(b"READY=1\n")
        # Its own ticks are a minute apart, longer than this waits for each: the watchdog sets the pace.
        assert [heard.get(timeout=50).partition(b"\n")[0] for _ in range(3)] == [b"WATCHDOG=1"] * 3
        host.wait_for(lambda: len(host.trainer_processes()) == 2, "two trainers")
        trainers = [p for p in host.processes() if "RLFLEET_ATTEMPT_ID" in p.environ()]
        assert len(trainers) == 2
        assert not [p for p in trainers if {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(p.environ())]
        assert host.end_agent() == 0
        said = list(iter(lambda: heard.get(timeout=60), b"STOPPING=1\n"))
        assert all(message.startswith(b"WATCHDOG=1\n") for message in said)
        reader.join()
