"""Hosts over SSH, against a real sshd on loopback: what works, and each way in which it may not."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

import ctl_inside
from ctl_runs import Agent, Terminal, gone, inventory, rlctl
from ctl_sshd import SSHD, free_port
from ctl_statuses import status

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="no sshd here: install openssh-server"),
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here: install openssh-client"),
]


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "root of 'all'")  # blanks and quotes survive the remote shell


@pytest.fixture
def ask(tmp_path):
    """Return a function that asks a host and returns exit code, error kind, reason and hint."""

    def ask(variables, *words):
        done = ctl_inside.rlctl("-i", inventory(tmp_path, {"tnr-0": variables}), *words, "status", "-o", "json")
        assert done.stderr == ""
        host = json.loads(done.stdout)["hosts"][0]
        return done.returncode, host["error_kind"], host["error"], host["hint"]

    return ask


def with_config(server, agent, folder, text, **more):
    """Return a host whose SSH configuration begins with a text."""
    config = folder / "ssh_config"
    config.write_text(text + "\n" + (server.folder / "ssh_config").read_text())
    return server.host(agent, ansible_ssh_common_args=f"-F {config}", **more)


def test_status_over_ssh(server, agent, tmp_path):
    agent.answer("status", status(mode="heavy"))
    done = rlctl("-i", inventory(tmp_path, {"tnr-0": server.host(agent)}), "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("● tnr-0  heavy for 2 h 14 min")


def test_a_request_arrives_whole_over_ssh(server, agent, tmp_path):
    why = 'it\'s "late"; $(touch x) ünïcode ' * 50
    done = rlctl("-i", inventory(tmp_path, {"tnr-0": server.host(agent)}), "hold", "light", "--why", why)
    assert (done.returncode, done.stdout) == (0, "tnr-0: hold done\n")
    assert agent.requests()[0]["why"] == why


def test_an_alias_of_the_ssh_configuration_is_honoured(server, agent, tmp_path, ask):
    variables = with_config(server, agent, tmp_path, f"Host box\n  HostName 127.0.0.1\n  Port {server.port}")
    del variables["ansible_port"]
    assert ask(variables | {"ansible_host": "box"})[0] == 0


def test_includes_and_matches_of_the_ssh_configuration_are_honoured(server, agent, tmp_path, ask):
    (tmp_path / "included").write_text(f"Match host box\n  HostName 127.0.0.1\n  Port {server.port}\n")
    variables = with_config(server, agent, tmp_path, f"Include {tmp_path}/included")
    del variables["ansible_port"]
    assert ask(variables | {"ansible_host": "box"})[0] == 0


def test_the_key_file_of_the_inventory_is_used(server, agent, tmp_path, ask):
    config = tmp_path / "ssh_config"
    config.write_text(f"Host *\n  UserKnownHostsFile {server.known_hosts}\n  IdentityFile none\n  IdentitiesOnly yes\n")
    variables = server.host(agent, ansible_ssh_common_args=f"-F {config}", ansible_ssh_private_key_file=str(server.key))
    assert ask(variables)[0] == 0


def test_a_jump_host_is_gone_through(server, agent, tmp_path, ask):
    known = tmp_path / "known"
    known.write_text(
        server.known_hosts.read_text().replace("[127.0.0.1]", "[localhost]") + server.known_hosts.read_text()
    )
    (tmp_path / "ssh_config").write_text(
        f"Host inner\n  HostName localhost\n  ProxyJump 127.0.0.1:{server.port}\n"
        + (server.folder / "ssh_config").read_text().replace(str(server.known_hosts), str(known))
    )
    args = f"-F {tmp_path / 'ssh_config'}"
    variables = server.host(agent, ansible_host="inner", ansible_ssh_common_args=args)
    before = (server.folder / "sshd.log").read_text().count("Accepted publickey")
    assert ask(variables) == (0, None, None, None)
    assert (server.folder / "sshd.log").read_text().count("Accepted publickey") == before + 2


def test_a_jump_host_that_does_not_let_us_through_says_why(server, agent, tmp_path, ask):
    variables = with_config(server, agent, tmp_path, f"Host 127.0.0.1\n  ProxyJump localhost:{free_port()}")
    code, kind, reason, _ = ask(variables)
    assert (code, kind) == (5, "proxy")
    assert reason.startswith("the way through its jump host failed: ")
    assert "refused" in reason


def test_a_proxy_command_is_used_as_a_shell_would(server, agent, tmp_path, ask):
    marker = tmp_path / "used"
    command = f"ssh -v -F {server.folder}/ssh_config -p {server.port} -W %h:%p 127.0.0.1 2>>{marker}"
    variables = with_config(server, agent, tmp_path, f"Host 127.0.0.1\n  ProxyCommand {command}")
    assert ask(variables)[0] == 0
    assert f"127.0.0.1:{server.port}" in marker.read_text()


def test_a_missing_agent_over_ssh(server, tmp_path, ask, agent):
    code, kind, reason, hint = ask(server.host(agent, rlfleet_root="/nonexistent"))
    assert (code, kind) == (5, "no-agent")
    assert reason == "no agent is installed (/nonexistent/bin/rlagent not found)"
    assert hint.startswith("deploy it: cd playbooks && ansible-playbook -i ")


def test_an_agent_that_may_not_be_run_over_ssh(server, agent, ask):
    agent.program.chmod(0o644)
    assert ask(server.host(agent))[1] == "no-permission"


def test_garbage_over_ssh(server, agent, ask):
    agent.say("status", "Segmentation fault\n")
    assert ask(server.host(agent))[:2] == (5, "garbage")


def test_an_unknown_host_key_is_refused_and_not_added(server, agent, tmp_path, ask):
    empty = tmp_path / "known_hosts"
    empty.touch()
    config = tmp_path / "ssh_config"
    config.write_text((server.folder / "ssh_config").read_text().replace(str(server.known_hosts), str(empty)))
    code, kind, reason, hint = ask(server.host(agent, ansible_ssh_common_args=f"-F {config}"))
    printed = subprocess.run(
        ["ssh-keygen", "-lf", server.folder / "host_key.pub"], check=True, capture_output=True, text=True
    )
    assert (code, kind) == (5, "host-key-unknown")
    assert reason == f"its host key is not known (ssh-ed25519 {printed.stdout.split()[1]})"
    assert hint.startswith("compare it and accept it once: ssh -F ")
    assert empty.read_text() == ""
    assert agent.requests() == []


def test_a_changed_host_key_is_refused_loudly(server, agent, tmp_path, ask):
    subprocess.run(["ssh-keygen", "-t", "ed25519", "-N", "", "-q", "-f", tmp_path / "other"], check=True)
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'other.pub').read_text()}")
    config = tmp_path / "ssh_config"
    config.write_text((server.folder / "ssh_config").read_text().replace(str(server.known_hosts), str(known)))
    code, kind, reason, hint = ask(server.host(agent, ansible_ssh_common_args=f"-F {config}"))
    assert (code, kind) == (5, "host-key-changed")
    assert reason.startswith("its host key has CHANGED to ssh-ed25519 SHA256:")
    assert f"ssh-keygen -f {known} -R '[127.0.0.1]:{server.port}'" in hint
    assert agent.requests() == []


def test_a_key_that_is_not_accepted(server, agent, tmp_path, ask):
    subprocess.run(["ssh-keygen", "-t", "ed25519", "-N", "", "-q", "-f", tmp_path / "other"], check=True)
    config = tmp_path / "ssh_config"
    config.write_text((server.folder / "ssh_config").read_text().replace(str(server.key), str(tmp_path / "other")))
    code, kind, reason, hint = ask(server.host(agent, ansible_ssh_common_args=f"-F {config}"))
    assert (code, kind) == (5, "auth")
    assert reason.endswith("@127.0.0.1: no key was accepted")
    assert hint.startswith("try by hand: ssh -F ")


def test_a_key_with_a_passphrase_and_no_ssh_agent(server, agent, tmp_path, ask):
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-t", "ed25519", "-N", "secret", "-q", "-f", key], check=True)
    config = tmp_path / "ssh_config"
    config.write_text((server.folder / "ssh_config").read_text().replace(str(server.key), str(key)))
    _, kind, reason, hint = ask(server.host(agent, ansible_ssh_common_args=f"-F {config}"))
    assert (kind, hint) == ("auth", "load it with: ssh-add")
    assert "needs its passphrase" in reason


def test_a_name_that_does_not_resolve(agent, ask):
    code, kind, reason, _ = ask({"ansible_host": "no-such-host.invalid"})
    assert (code, kind, reason) == (5, "name", "the name no-such-host.invalid can't be resolved")


def test_a_refused_connection(ask):
    port = free_port()
    code, kind, reason, _ = ask({"ansible_host": "127.0.0.1", "ansible_port": port})
    assert (code, kind, reason) == (5, "refused", f"127.0.0.1:{port} refused the connection")


def test_a_broken_ssh_configuration(tmp_path, ask):
    (tmp_path / "bad").write_text("Nonsense yes\n")
    code, kind, reason, hint = ask({"ansible_host": "127.0.0.1", "ansible_ssh_common_args": f"-F {tmp_path}/bad"})
    assert (code, kind, hint) == (5, "ssh", "mend ~/.ssh/config")
    assert "Bad configuration option: nonsense" in reason


@pytest.fixture
def listener():
    """Return a function that listens on a port, says something to each caller, and then nothing more."""
    sockets = []

    def listen(greeting):
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                sockets.append(connection)
                with contextlib.suppress(OSError):  # the caller hangs up when it has heard enough
                    connection.sendall(greeting)

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    yield listen
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("greeting", "stage"),
    [
        (b"", "takes the connection and says nothing"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "its SSH server greets and then hangs"),
    ],
    ids=["silent", "hangs-after-its-greeting"],
)
def test_a_host_that_hangs_ends_at_the_deadline(ask, listener, greeting, stage):
    variables = {"ansible_host": "127.0.0.1", "ansible_port": listener(greeting)}
    code, kind, reason, _ = ask(variables, "--timeout", "10")
    assert (code, kind) == (5, "timeout")
    assert reason.startswith("no answer within 10 s: ")
    assert reason.endswith(stage)


def test_something_else_than_ssh_on_the_port(ask, listener):
    variables = {"ansible_host": "127.0.0.1", "ansible_port": listener(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)}
    code, kind, reason, hint = ask(variables)
    assert (code, kind, hint) == (5, "ssh", "is ansible_port right?")
    assert reason == "127.0.0.1 answers, but not with SSH"


@pytest.mark.parametrize("greeting", [b"x" * 100_000, b"SSH-2.0-" + b"x" * 100_000], ids=["noise", "endless-version"])
def test_noise_without_end_is_no_ssh_and_takes_no_time(ask, listener, greeting):
    variables = {"ansible_host": "127.0.0.1", "ansible_port": listener(greeting)}
    code, kind, reason, _ = ask(variables)
    assert (code, kind, reason) == (5, "ssh", "127.0.0.1 answers, but not with SSH")


def test_noise_after_the_greeting_is_an_error_of_ssh(ask, listener):
    variables = {"ansible_host": "127.0.0.1", "ansible_port": listener(b"SSH-2.0-x\r\n" + os.urandom(100_000))}
    code, kind, reason, _ = ask(variables)
    assert (code, kind) == (5, "ssh")
    assert reason.startswith("SSH failed: ")


def test_an_answer_that_never_comes_names_who_is_silent(server, agent, ask):
    agent.slow(60)
    code, kind, reason, _ = ask(server.host(agent), "--timeout", "15")
    assert (code, kind) == (5, "timeout")
    assert reason == f"no answer within 15 s: SSH works, {agent.program} is silent"


@pytest.fixture
def agent_socket(agent):
    """Return a function that listens where an agent would, and says something to each request."""
    folder = agent.root / "var"
    folder.mkdir()
    listening = socket.socket(socket.AF_UNIX)
    heard = []

    def answer(reply):
        listening.bind(str(folder / "agent.sock"))
        listening.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    heard.append(caller.makefile("rb").readline())
                    caller.sendall(reply(heard[-1]))
                    caller.close()

        threading.Thread(target=serve, daemon=True).start()
        return heard

    yield answer
    listening.close()


def test_the_agents_socket_is_asked_without_starting_a_program_there(server, agent, agent_socket, ask):
    answers = {"ping": "ping", "status": "status"}
    heard = agent_socket(lambda line: (agent.root / "answers" / answers[json.loads(line)["verb"]]).read_bytes())
    agent.program.unlink()
    assert ask(server.host(agent)) == (0, None, None, None)
    assert [json.loads(line) for line in heard] == [{"verb": "status"}]


def test_what_was_sent_is_sent_again_only_under_its_name_when_the_answer_is_lost(server, agent, agent_socket, tmp_path):
    """Else a rollback could go down two rungs: only the agent, by the wish's name, knows whether it was done."""
    ping = (agent.root / "answers" / "ping").read_bytes()
    heard = agent_socket(lambda line: ping if b"ping" in line else b"")
    done = rlctl("-i", inventory(tmp_path, {"tnr-0": server.host(agent)}), "rollback", "-y")
    assert (done.returncode, done.stdout) == (5, "")
    name = json.loads(heard[-1])["request_id"]
    assert done.stderr == (
        "tnr-0: its agent ended the call without an answer; it may have been done: the same command with "
        f"--request-id {name} does it once\n"
    )
    sent = [json.loads(line) for line in heard if b"rollback" in line]
    assert {wish["request_id"] for wish in sent} == {name}
    assert agent.requests() == []


def test_accept_new_adds_a_key_once(server, agent, tmp_path, ask):
    known = tmp_path / "known_hosts"
    args = f"-F {server.folder}/ssh_config -o UserKnownHostsFile={known} -o StrictHostKeyChecking=accept-new"
    for _ in range(2):
        assert ask(server.host(agent, ansible_ssh_common_args=args))[0] == 0
    assert known.read_text() == server.known_hosts.read_text()


def test_a_host_that_the_tnr_tool_wrote_down_is_reached(server, agent, tmp_path, ask):
    """Thunder Compute's tool writes a block like this for each instance (its thunder-cli, utils/sshconfig.go).

    Assumed, not seen there: a null UserKnownHostsFile, as people add it where addresses are used again.
    """
    (tmp_path / "tnr").write_text(
        f"Host tnr-0\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentityFile {server.key}\n  IdentitiesOnly yes\n"
        "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  ServerAliveInterval 30\n  LogLevel ERROR\n"
    )
    (tmp_path / "ssh_config").write_text("Include tnr\n".replace("tnr", str(tmp_path / "tnr")))
    variables = {"rlfleet_root": str(agent.root), "ansible_ssh_common_args": f"-F {tmp_path / 'ssh_config'}"}
    assert ask(variables) == (0, None, None, None)


def test_the_dead_do_not_hide_the_living(server, agent, tmp_path, listener):
    hosts = {
        "up": server.host(agent),
        "dead": {"ansible_host": "127.0.0.1", "ansible_port": free_port()},
        "hangs": {"ansible_host": "127.0.0.1", "ansible_port": listener(b"")},
        "local": Agent(tmp_path / "here").local(),
    }
    done = rlctl("-i", inventory(tmp_path, hosts), "--timeout", "15", "status", "-o", "json")
    kinds = {host["host"]: host["error_kind"] for host in json.loads(done.stdout)["hosts"]}
    assert (done.returncode, kinds) == (4, {"up": None, "dead": "refused", "hangs": "timeout", "local": None})


def test_logs_over_ssh(server, agent, tmp_path):
    agent.log("Pong", "".join(f"Ep {n}\n" for n in range(3000)))
    source = inventory(tmp_path, {"tnr-0": server.host(agent)})
    done = rlctl("-i", source, "logs", "tnr-0", "Pong", "-n", "2500")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"Ep {n}" for n in range(500, 3000)]
    unknown = rlctl("-i", source, "logs", "tnr-0", "Pnog")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "rlctl: tnr-0: logs Pnog: no such game; the configuration has Pong, MsPacman\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_log_followed_over_ssh_ends_with_rlctl_on_both_sides(server, agent, tmp_path, number, code):
    agent.log("Pong", "Ep 0\n")
    source = inventory(tmp_path, {"tnr-0": server.host(agent)})
    terminal = Terminal("-i", source, "logs", "tnr-0", "Pong", "-f")
    terminal.read_until("Ep 0\r\n")
    agent.log("Pong", "Ep 1\n")
    terminal.read_until("Ep 1\r\n")
    os.kill(terminal.process.pid, number)
    assert terminal.finish() == code
    assert "Traceback" not in terminal.output
    assert gone(int((agent.root / "logs.pid").read_text()))


def test_watch_over_ssh_connects_once(server, agent, tmp_path):
    before = (server.folder / "sshd.log").read_text().count("Accepted publickey")
    terminal = Terminal("-i", inventory(tmp_path, {"tnr-0": server.host(agent)}), "watch", "--interval", "0.5")
    for mode in ("light", "heavy"):
        agent.answer("status", status(mode=mode))
        terminal.read_until(f"{mode} for")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert (server.folder / "sshd.log").read_text().count("Accepted publickey") == before + 1
