"""Which keys a host is offered, in which order, and what it is never given: as sshd itself writes it down."""

import os
import re
import shutil
import subprocess
import time

import pytest

from ctl_sshd import SSHD, keygen

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="no sshd here: install openssh-server"),
    pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="no ssh-agent here: install openssh-client"),
]


def fingerprint(path):
    printed = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], check=True, capture_output=True, text=True).stdout
    return printed.split()[1]


@pytest.fixture
def trusting(reach, server):
    """Give a way to the server whose host key is known."""
    reach.known.write_text(server.known_hosts.read_text())
    return reach


@pytest.fixture
def offered(server):
    """Return a function that says which keys sshd was offered since the test began, by their file's name."""
    log = server.folder / "sshd.log"
    begin = log.stat().st_size

    def since(*paths, count):
        """Wait until sshd has written so many down: it does so a moment after it has answered."""
        names = {fingerprint(path): path.name for path in paths}
        end = time.monotonic() + 60
        while True:
            said = log.read_bytes()[begin:].decode()
            seen = re.findall(r"(?:Accepted|Failed) publickey .*(SHA256:\S+)", said)
            if len(seen) >= count or time.monotonic() > end:
                return [names.get(one, one) for one in seen]
            time.sleep(0.02)

    return since


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Run a real SSH agent; return a function that gives it keys."""
    sock = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
    process = subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL)

    def add(*paths):
        end = time.monotonic() + 60
        while not sock.exists() and time.monotonic() < end:
            time.sleep(0.02)
        for path in paths:
            subprocess.run(["ssh-add", "-q", path], check=True, capture_output=True)

    yield add
    process.terminate()
    process.wait(timeout=60)


def locked(path):
    """Protect a key, which the SSH agent may have already."""
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", path], check=True, capture_output=True)
    return path


def copied(server, folder, name="mine"):
    """Return a copy of the key that the server accepts."""
    for suffix in ("", ".pub"):
        shutil.copy(f"{server.key}{suffix}", folder / f"{name}{suffix}")
    return folder / name


def test_key_files_are_offered_in_their_order_and_then_the_agents_others(trusting, server, tmp_path, agent, offered):
    one, two, three = (keygen(tmp_path / name) for name in ("one", "two", "three"))
    mine = copied(server, tmp_path)
    agent(three, mine)
    files = (f"IdentityFile {two}", f"IdentityFile {one}")
    assert trusting.kind(*files, "IdentitiesOnly no", key_file=str(tmp_path / "missing")) is None
    # The server's own key is the last of the files, behind those that are named first.
    assert offered(one, two, three, server.key, count=3) == ["two", "one", "id"]


def test_the_inventorys_key_file_is_offered_first(trusting, server, tmp_path, offered):
    one, two = (keygen(tmp_path / name) for name in ("one", "two"))
    assert trusting.kind(f"IdentityFile {one}", key_file=str(two)) is None
    assert offered(one, two, server.key, count=3) == ["two", "one", "id"]


@pytest.fixture
def without_files(trusting):
    """Give a way to the server for which no key file exists."""
    trusting.key = "none"
    return trusting


def test_the_agents_keys_are_offered_in_their_order(without_files, server, tmp_path, agent, offered):
    one, mine = keygen(tmp_path / "one"), copied(server, tmp_path)
    agent(one, mine)
    assert without_files.kind("IdentitiesOnly no") is None
    assert offered(one, server.key, count=2) == ["one", "id"]


@pytest.mark.parametrize("setting", ["IdentitiesOnly yes", "IdentityAgent none"])
def test_the_agents_keys_are_left_alone_where_the_configuration_says_so(
    without_files, server, tmp_path, agent, offered, setting
):
    agent(copied(server, tmp_path))
    error = without_files.error(setting, "IdentitiesOnly no")
    assert (error.kind, error.reason.endswith("no key was accepted")) == ("auth", True)
    assert offered(count=0) == []


def test_a_locked_key_is_taken_from_the_agent_before_others_and_alone_where_only_named_ones_may_be(
    without_files, server, tmp_path, agent, offered
):
    one, mine = keygen(tmp_path / "one"), copied(server, tmp_path)
    agent(one, mine)
    locked(mine)
    assert without_files.kind(f"IdentityFile {mine}", "IdentitiesOnly no") is None
    assert without_files.kind(f"IdentityFile {mine}", "IdentitiesOnly yes") is None
    assert offered(one, server.key, count=2) == ["id", "id"]
    assert without_files.error(f"IdentityFile {locked(one)}", "IdentitiesOnly yes").kind == "auth"
    assert offered(one, server.key, count=3) == ["id", "id", "one"]


def test_a_locked_key_that_the_agent_does_not_have_is_told(without_files, server, tmp_path, agent):
    agent(keygen(tmp_path / "one"))
    error = without_files.error(f"IdentityFile {locked(copied(server, tmp_path))}", "IdentitiesOnly no")
    assert (error.kind, error.hint) == ("auth", "load it with: ssh-add")
    assert error.reason.endswith("@127.0.0.1 needs its passphrase")


def test_a_key_file_that_is_none_is_passed_over(trusting, tmp_path):
    (tmp_path / "broken").write_text("no key\n")
    assert trusting.kind(f"IdentityFile {tmp_path}/broken") is None


def test_no_host_gets_at_the_agent_even_where_the_configuration_forwards_it(trusting, agent):
    """It could log in elsewhere with the person's keys; nothing that rlctl does there needs them."""
    agent()
    host = trusting.host("ForwardAgent yes")
    assert os.environ["SSH_AUTH_SOCK"]
    done = trusting.run(host, "sh", "-c", "echo agent: ${SSH_AUTH_SOCK:-none}")
    assert (done.exit_code, done.stdout) == (0, b"agent: none\n")
