"""Which host keys are trusted: real keys of a real sshd under each of OpenSSH's settings about them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ctl_sshd import HOST_KEYS, SSHD, keygen

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="no sshd here: install openssh-server"),
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here: install openssh-client"),
]
CHANGES = ("StrictHostKeyChecking no", "StrictHostKeyChecking off", "StrictHostKeyChecking accept-new")
"""Settings that take unknown keys, and no changed or revoked ones."""


@pytest.fixture
def name(server):
    """Return the server's name in known_hosts."""
    return f"[127.0.0.1]:{server.port}"


@pytest.fixture
def shown(server):
    """Return the server's keys by their type, as `type base64`."""
    return {kind: " ".join((server.folder / f"{file}.pub").read_text().split()[:2]) for kind, file in HOST_KEYS.items()}


@pytest.fixture
def other(tmp_path):
    """Return a function that makes a key of a type which is not the server's."""

    def made(kind="ed25519"):
        path = keygen(tmp_path / f"other-{kind}", ("-t", kind))
        return " ".join(path.with_suffix(".pub").read_text().split()[:2])

    return made


@pytest.mark.parametrize("kind", HOST_KEYS)
def test_a_server_is_asked_for_the_key_that_is_known_of_it_whatever_its_type(reach, name, shown, kind):
    reach.known.write_text(f"{name} {shown[kind]}\n")
    assert reach.kind() is None


def test_of_several_known_keys_one_has_to_fit(reach, name, shown, other):
    reach.known.write_text(f"{name} {other()}\n{name} {shown['ed25519']}\n")
    assert reach.kind() is None


def test_a_server_that_shows_none_of_its_known_keys_has_changed(reach, name, other):
    reach.known.write_text(f"{name} {other('ed25519')}\n{name} {other('ecdsa')}\n")
    assert reach.kind() == "host-key-changed"


@pytest.mark.parametrize("setting", CHANGES)
def test_a_changed_key_is_refused_whatever_the_setting(reach, name, other, setting):
    line = f"{name} {other()}\n"
    reach.known.write_text(line)
    error = reach.error(setting)
    assert (error.kind, error.exit_code) == ("host-key-changed", 5)
    assert reach.known.read_text() == line


@pytest.mark.parametrize("setting", [*CHANGES, "StrictHostKeyChecking yes"])
def test_a_revoked_key_is_refused_whatever_the_setting(reach, name, shown, setting):
    text = f"@revoked * {shown['ed25519']}\n{name} {shown['ed25519']}\n"
    reach.known.write_text(text)
    error = reach.error(setting)
    assert error.kind == "host-key-revoked"
    assert error.reason.endswith(" is marked as @revoked in known_hosts: do not trust it")
    assert error.hint == "give tnr-0 a new host key"
    assert reach.known.read_text() == text


@pytest.mark.parametrize(
    "setting", ["StrictHostKeyChecking yes", "StrictHostKeyChecking ask", "CheckHostIP no"], ids=["yes", "ask", "-"]
)
def test_an_unknown_key_is_refused_and_not_noted_unless_the_user_says_otherwise(reach, setting):
    """Asking is for a person at a terminal: rlctl asks many hosts at once, and says what to do instead."""
    assert reach.kind(setting) == "host-key-unknown"
    assert not reach.known.exists()


@pytest.mark.parametrize("setting", ["StrictHostKeyChecking no", "StrictHostKeyChecking off"])
def test_an_unknown_key_is_taken_and_not_noted_where_checking_is_off(reach, setting):
    assert reach.kind(setting) is None
    assert not reach.known.exists()


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_an_accepted_key_is_noted_in_a_file_of_the_users_alone(reach, name, shown, tmp_path, umask):
    reach.known = tmp_path / "new" / "known_hosts"
    before = os.umask(umask)
    try:
        assert reach.kind("StrictHostKeyChecking accept-new") is None
    finally:
        os.umask(before)
    assert reach.known.read_text() == f"{name} {shown['ed25519']}\n"
    assert [oct(path.stat().st_mode & 0o777) for path in (reach.known, reach.known.parent)] == ["0o600", "0o700"]
    assert reach.kind() is None


def test_an_accepted_key_is_noted_under_its_alias(reach, shown):
    assert reach.kind("HostKeyAlias tnr-0", "StrictHostKeyChecking accept-new") is None
    assert reach.known.read_text() == f"tnr-0 {shown['ed25519']}\n"


def test_an_accepted_key_gets_a_line_of_its_own_behind_one_that_does_not_end(reach, name, shown, other):
    """As editors leave it: a key in the middle of another host's line would be unknown at each contact."""
    unended = f"box {other()} a comment"
    reach.known.write_text(unended)
    assert reach.kind("StrictHostKeyChecking accept-new") is None
    assert reach.known.read_text() == f"{unended}\n{name} {shown['ed25519']}\n"


def test_a_key_that_can_not_be_noted_is_not_accepted(reach, tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "known_hosts"
    error = reach.error(f"UserKnownHostsFile {place}", "StrictHostKeyChecking accept-new")
    assert (error.kind, error.reason.startswith(f"its new host key can't be noted in {place}: ")) == (
        "host-key-unknown",
        True,
    )


def test_the_word_none_is_no_file(reach, name, shown, tmp_path, monkeypatch):
    """A file of that name must neither vouch for a host nor be made."""
    monkeypatch.chdir(tmp_path)
    assert reach.kind("UserKnownHostsFile none", "StrictHostKeyChecking accept-new") is None
    assert not Path("none").exists()
    Path("none").write_text(f"{name} {shown['ed25519']}\n")
    assert reach.kind("UserKnownHostsFile none") == "host-key-unknown"


@pytest.mark.parametrize("setting", ["UserKnownHostsFile {known} {more}", "GlobalKnownHostsFile {more}"])
def test_each_of_the_files_may_know_a_host(reach, name, shown, tmp_path, setting):
    more = tmp_path / "more"
    more.write_text(f"{name} {shown['ed25519']}\n")
    assert reach.kind(setting.format(known=reach.known, more=more)) is None
    more.write_text(f"@revoked {name} {shown['ed25519']}\n")
    reach.known.write_text(f"{name} {shown['ed25519']}\n")
    assert reach.kind(setting.format(known=reach.known, more=more)) == "host-key-revoked"


def test_a_key_that_is_known_by_a_hash_alone_is_known(reach, name, shown, other):
    reach.known.write_text(f"{name} {shown['ed25519']}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", reach.known], check=True, capture_output=True)
    hashed = reach.known.read_text().split()[0]
    assert (hashed[:3], reach.kind()) == ("|1|", None)
    reach.known.write_text(f"{hashed} {other()}\n")
    assert reach.kind() == "host-key-changed"


def test_an_alias_is_looked_up_without_a_port_and_alone(reach, name, shown):
    reach.known.write_text(f"{name} {shown['ed25519']}\n127.0.0.1 {shown['ed25519']}\n")
    assert reach.kind("HostKeyAlias tnr-0") == "host-key-unknown"
    reach.known.write_text(f"tnr-0 {shown['ed25519']}\n")
    assert reach.kind("HostKeyAlias tnr-0") is None
    assert reach.kind() == "host-key-unknown"


def test_what_to_do_about_a_changed_key_names_the_place_where_the_old_one_stands(reach, name, other):
    reach.known.write_text(f"{name} {other()}\ntnr-0 {other('ecdsa')}\n")
    plain, alias = reach.error(), reach.error("HostKeyAlias tnr-0")
    by_hand = f"ssh -F {reach.config} -p {reach.server.port}"
    for error, old in ((plain, name), (alias, "tnr-0")):
        assert error.kind == "host-key-changed"
        assert f": ssh-keygen -f {reach.known} -R '{old}', then {by_hand}" in error.hint


def test_on_the_usual_port_a_host_stands_by_its_name_alone(reach, server, shown, other):
    """Nothing may listen on it here: the way leads through a program, and the name to nowhere."""
    through = f"ProxyCommand ssh -F {server.folder}/ssh_config -p {server.port} -W 127.0.0.1:{server.port} 127.0.0.1"
    box = {"address": "Box.invalid", "port": None}
    assert reach.kind(through, "StrictHostKeyChecking accept-new", **box) is None
    assert reach.known.read_text() == f"box.invalid {shown['ed25519']}\n"
    assert reach.kind(through, **box) is None
    reach.known.write_text(f"box.invalid {other()}\n")
    error = reach.error(through, **box)
    assert error.kind == "host-key-changed"
    assert f"ssh-keygen -f {reach.known} -R 'box.invalid', then ssh -F {reach.config} " in error.hint
