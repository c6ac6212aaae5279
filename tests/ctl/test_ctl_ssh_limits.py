"""Connections over SSH at their limits: what is no SSH, what never ends, what is cut, and what runs beside them."""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from ctl_runs import gone
from ctl_sshd import SSHD
from rlctl import sshconfig
from rlctl.errors import ConnectError, HostError
from rlctl.fanout import Deadline
from rlctl.hosts import Host
from rlctl.local import open_channel

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="no sshd here: install openssh-server"),
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here: install openssh-client"),
]


@pytest.fixture
def trusting(reach, server):
    """Give a way to the server whose host key is known."""
    reach.known.write_text(server.known_hosts.read_text())
    return reach


@pytest.fixture
def listener():
    """Return a function that listens on a port and says these things to the first caller, one after the other."""
    sockets = []

    def listen(*sayings, pause_s=0.0, ends=False):
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def serve():
            with contextlib.suppress(OSError):  # the caller hangs up when it has heard enough
                connection, _ = server.accept()
                sockets.append(connection)
                for saying in sayings:
                    connection.sendall(saying)
                    time.sleep(pause_s)
                if ends:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    yield listen
    for each in sockets:
        each.close()


@pytest.fixture
def fault(reach):
    """Return a function that connects to a port and returns the error."""

    def error(port, timeout_s=60.0, **changes):
        with pytest.raises(HostError) as caught:
            reach.run(reach.host(port=port, **changes), timeout_s=timeout_s)
        return caught.value

    return error


NO_SSH = ("ssh", "127.0.0.1 answers, but not with SSH", "is ansible_port right?")


@pytest.mark.parametrize(
    "sayings",
    [
        [b"HTTP/1.1 400 Bad Request\r\n"],
        [b"\x16\x03\x01\x00"],
        [b"220 mail.example.com\0"],
        [b"x" * 8192],
        [b"x\r\n" * 3000],
    ],
    ids=["a web server", "TLS", "binary", "no end of line", "no end of lines"],
)
def test_what_is_no_ssh_is_found_out_before_the_deadline(fault, listener, sayings):
    error = fault(listener(*sayings))
    assert (error.kind, error.reason, error.hint) == NO_SSH


@pytest.mark.parametrize(
    "sayings",
    [[b"Welcome\r\nto this host\r\nSSH-2.0-x\r\n"], [b"SSH-", b"2.0-x\r\n"], [b"x" * 8191], [b"SSH-2.0-x"]],
    ids=["lines before it", "in pieces", "a long line", "an unended version"],
)
def test_what_may_still_become_ssh_is_waited_for(fault, listener, sayings):
    error = fault(listener(*sayings, pause_s=0.1), timeout_s=0.5)
    assert (error.kind, error.reason.startswith("no answer within 0.5 s: ")) == ("timeout", True)


def test_a_host_that_hangs_up_at_once_is_told(fault, listener):
    error = fault(listener(ends=True))
    assert (error.kind, error.reason) == ("ssh", "SSH failed: the connection was closed before its greeting")
    assert error.hint.startswith("try by hand: ssh -F ")


def test_a_place_that_can_not_be_reached_is_told_with_the_systems_words(fault):
    error = fault(22, address="255.255.255.255")
    assert (error.kind, error.hint) == ("network", "is the network up?")
    assert error.reason.startswith("255.255.255.255:22: ")


def test_a_name_with_several_addresses_is_reached_by_the_one_that_answers(trusting, server):
    """The server listens on 127.0.0.1 alone."""
    entry = server.known_hosts.read_text()
    trusting.known.write_text(entry.replace("127.0.0.1", "localhost"))
    assert trusting.kind(address="localhost") is None


def test_output_of_16_mib_is_taken_and_a_byte_more_is_no_answer(trusting):
    size = 16 * 2**20
    done = trusting.run(trusting.host(), "head", "-c", str(size), "/dev/zero")
    assert (done.exit_code, len(done.stdout)) == (0, size)
    with pytest.raises(HostError) as caught:
        trusting.run(trusting.host(), "head", "-c", str(size + 1), "/dev/zero")
    assert (caught.value.kind, caught.value.hint) == ("garbage", "is rlfleet_root right?")
    assert caught.value.reason == "it sends without end (16 MiB)"


def test_a_command_gets_its_input_with_its_end_and_all_that_it_says_comes_back(trusting):
    script = "cat; echo fault >&2; exit 7"
    done = trusting.run(trusting.host(), "sh", "-c", script, stdin=b"in\n")
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"in\n", b"fault\n")


def test_a_command_that_does_not_read_its_input_is_still_heard(trusting):
    done = trusting.run(trusting.host(), "sh", "-c", "exec <&-; echo heard; exit 3", stdin=b"x" * 2**22)
    assert (done.exit_code, done.stdout) == (3, b"heard\n")


def test_words_reach_the_command_as_they_are_but_for_a_home_in_front(trusting, tmp_path):
    program = tmp_path / "a 'b'"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    words = ["$(id)", "a b", "'", "~/x", ""]
    assert trusting.run(trusting.host(), str(program), *words).stdout == ("|".join(words) + "|").encode()
    assert trusting.run(trusting.host(), "~/../bin/echo", "hi").stdout == b"hi\n"


def test_a_silent_command_ends_at_the_deadline_and_is_named(trusting):
    with pytest.raises(ConnectError) as caught:
        trusting.run(trusting.host(), "sleep", "60", timeout_s=1.5)
    assert caught.value.kind == "timeout"
    assert caught.value.reason.startswith("no answer within 1.5 s: ")


def test_a_cut_connection_is_made_anew_for_the_next_command(trusting):
    trusting.run(trusting.host())
    channel = open_channel(trusting.host())
    try:
        first = channel.run(["sh", "-c", "echo $PPID"], b"", Deadline(60))
        again = channel.run(["sh", "-c", "echo $PPID"], b"", Deadline(60))
        assert first.stdout == again.stdout  # one session's process: it stays connected
        os.kill(int(first.stdout), signal.SIGKILL)
        with contextlib.suppress(HostError):  # the cut may be noticed only now
            channel.run(["true"], b"", Deadline(60))
        assert channel.run(["true"], b"", Deadline(60)).exit_code == 0
    finally:
        channel.close()


def proxied(trusting, tmp_path, script):
    """Return the configuration of a way through a program that writes down its process."""
    program = tmp_path / "way"
    program.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/pids\n{script}\n")
    program.chmod(0o755)
    return f"ProxyCommand {program} %h %n %p %r %%"


def pids(tmp_path):
    """Return the processes that were written down, once there is one."""
    end = time.monotonic() + 60
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text().endswith("\n"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def test_a_proxy_command_is_told_where_to_and_ends_with_its_connection(trusting, server, tmp_path):
    through = f"exec ssh -F {server.folder}/ssh_config -p {server.port} -W $1:$3 127.0.0.1"
    line = proxied(trusting, tmp_path, f'echo "$@" >{tmp_path}/words\n{through}')
    channel = open_channel(trusting.host(line, user=psutil.Process().username()))
    try:
        assert channel.run(["true"], b"", Deadline(60)).exit_code == 0
        (pid,) = pids(tmp_path)
        assert psutil.pid_exists(pid)
    finally:
        channel.close()
    assert gone(pid)
    host = f"127.0.0.1 127.0.0.1 {server.port} {psutil.Process().username()} %\n"
    assert (tmp_path / "words").read_text() == host


def test_a_proxy_command_that_says_nothing_ends_at_the_deadline_and_when_it_is_let_go_of(trusting, tmp_path):
    channel = open_channel(trusting.host(proxied(trusting, tmp_path, "exec sleep 600")))
    with pytest.raises(ConnectError) as caught:
        channel.run(["true"], b"", Deadline(0.8))
    assert caught.value.kind == "timeout"
    (pid,) = pids(tmp_path)
    channel.abandon()
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)
    channel.close()


def test_what_a_proxy_command_complains_of_is_the_reason(trusting, tmp_path):
    line = proxied(trusting, tmp_path, "echo one >&2; echo 'no way today' >&2; exit 1")
    error = trusting.error(line)
    assert (error.kind, error.reason) == ("proxy", "the way through its jump host failed: no way today")


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        (["ProxyJump gate"], "ssh -o BatchMode=yes -F {config} -W [%h]:%p ssh://gate"),
        (["ProxyJump ann@gate:2200"], "ssh -o BatchMode=yes -F {config} -W [%h]:%p ssh://ann@gate:2200"),
        (["ProxyJump a,b,c"], "ssh -o BatchMode=yes -F {config} -J a,b -W [%h]:%p ssh://c"),
        (["ProxyJump none"], None),
        (["ProxyCommand none", "ProxyJump gate"], None),
        (["ProxyCommand nc %h %p", "ProxyJump gate"], "nc %h %p"),
        ([], None),
    ],
)
def test_a_jump_is_made_by_openssh_with_the_same_configuration(reach, lines, command):
    """So that the jump host's key is checked as that configuration says."""
    wanted = None if command is None else command.format(config=reach.config)
    assert sshconfig.lookup(reach.host(*lines)).proxy_command == wanted
    glued = reach.host(*lines)
    joined = Host("tnr-0", "127.0.0.1", port=glued.port, user=glued.user, ssh_args=(f"-F{reach.config}",))
    wanted = None if command is None else command.format(config=reach.config).replace("-F /", "-F/")
    assert sshconfig.lookup(joined).proxy_command == wanted


def test_a_laptop_without_ssh_is_told_what_to_install(reach, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    error = reach.error()
    assert (error.kind, str(error)) == ("ssh", "the command ssh is not installed here; install openssh-client")


def test_a_configuration_that_never_ends_is_given_up(reach, monkeypatch):
    def run(words, **options):
        raise subprocess.TimeoutExpired(words, options["timeout"])

    host = reach.host()
    monkeypatch.setattr(sshconfig.subprocess, "run", run)
    error = reach.error()
    assert str(error) == "ssh -G does not end; look at `Match exec` in ~/.ssh/config"
    assert shlex.split(host.ssh_command)[0] == "ssh"


def test_lines_are_handed_on_as_they_come_and_the_command_may_be_left_early(trusting):
    channel = open_channel(trusting.host())
    script = "echo $$; echo two; exec sleep 600"
    lines = []

    class EnoughError(Exception):
        pass

    def sink(line):
        lines.append(line)
        if len(lines) == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        channel.stream(["sh", "-c", script], sink, follow=True)
    assert lines[1] == "two\n"
    assert gone(int(lines[0]))
    channel.close()


def test_a_stream_that_ends_says_how(trusting):
    channel, lines = open_channel(trusting.host()), []
    done = channel.stream([sys.executable, "-c", "print('ü'); raise SystemExit('why')"], lines.append, follow=False)
    channel.close()
    assert (lines, done.exit_code, done.stderr) == (["ü\n"], 1, b"why\n")
