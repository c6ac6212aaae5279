"""What Ansible and OpenSSH said is remembered while nothing that they depend on changes, and not a moment longer."""

import os
import subprocess

import pytest

from rlctl import inventory, inventory_cache, remembered, sshanswers, sshconfig
from rlctl.errors import UnknownHostError
from rlctl.hosts import Host


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def fleet(tmp_path):
    folder = tmp_path / "fleet"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text("gpu_servers: {hosts: {tnr-0: {ansible_port: 23}, tnr-1: {}}}\n")
    (folder / "group_vars" / "gpu_servers.yml").write_text("rlfleet_root: /srv/{{ 'a' }}\n")
    return folder


@pytest.fixture
def load(fleet, monkeypatch):
    """Return a function that loads the inventory, and says whether Ansible had to."""
    real = inventory.load

    def loaded(*patterns):
        asked = []
        monkeypatch.setattr(inventory, "load", lambda *words: asked.append(words) or real(*words))
        return inventory_cache.load(str(fleet), patterns), bool(asked)

    return loaded


def test_an_inventory_is_read_by_ansible_once(load):
    hosts, asked = load()
    assert ([(host.name, host.port, host.root) for host in hosts], asked) == (
        [("tnr-0", 23, "/srv/a"), ("tnr-1", None, "/srv/a")],
        True,
    )
    assert load() == (hosts, False)
    assert load("tnr-1") == (hosts[1:], True)
    assert load("tnr-1") == (hosts[1:], False)
    assert load() == (hosts, False)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("hosts.yml", "gpu_servers: {hosts: {tnr-0: {ansible_port: 24}, tnr-1: {}}}\n"),
        ("group_vars/gpu_servers.yml", "rlfleet_root: /srv/{{ 'b' }}\n"),
        ("host_vars/tnr-1.yml", "ansible_port: 5\n"),
    ],
)
def test_a_changed_file_is_read_again_even_within_the_same_instant(load, fleet, file, text):
    load()
    times = (fleet / "hosts.yml").stat()
    (fleet / file).parent.mkdir(exist_ok=True)
    (fleet / file).write_text(text)
    os.utime(fleet / file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load()[1]


def test_another_setting_of_ansible_is_another_answer(load, monkeypatch):
    load()
    monkeypatch.setenv("ANSIBLE_HASH_BEHAVIOUR", "merge")
    assert load()[1]


@pytest.mark.parametrize(
    "text",
    [
        "rlfleet_root: \"{{ lookup('env', 'HOME') }}\"\n",
        "rlfleet_root: \"{{ 'a' | upper }}\"\n",
        "x: '$ANSIBLE_VAULT;1'\n",
    ],
)
def test_what_may_say_something_else_next_time_is_not_remembered(load, fleet, text):
    (fleet / "group_vars" / "gpu_servers.yml").write_text(text)
    assert [load()[1], load()[1]] == [True, True]


def test_a_script_is_run_each_time(load, fleet):
    script = fleet / "more.sh"
    script.write_text('#!/bin/sh\necho \'{"gpu_servers": {"hosts": ["tnr-9"]}}\'\n')
    script.chmod(0o755)
    assert [load()[1], load()[1]] == [True, True]


def test_an_error_is_not_remembered(load, fleet):
    for _ in range(2):
        with pytest.raises(UnknownHostError):
            load("tnr-5")


def test_a_broken_memory_is_as_good_as_none(load, tmp_path):
    hosts, _ = load()
    (tmp_path / "cache" / "rlfleet" / "inventory.json").write_text('{"stamp": 1')
    assert load() == (hosts, True)
    assert load() == (hosts, False)


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Return a function that looks a host up as a new run would; it says the port, and whether OpenSSH was asked."""

    def asked(text=None):
        config = tmp_path / "config"
        if text is not None:
            config.write_text(text)
        for cached in (sshconfig._effective, sshanswers._known, sshanswers._stamp):
            cached.cache_clear()
        runs = []
        real = subprocess.run
        monkeypatch.setattr(subprocess, "run", lambda *words, **more: runs.append(words) or real(*words, **more))
        settings = sshconfig.lookup(Host("box", "box", ssh_args=("-F", str(config))))
        monkeypatch.setattr(subprocess, "run", real)
        sshanswers.keep()
        return settings.port, bool(runs)

    return asked


def test_openssh_is_asked_once_while_its_configuration_stays(ask):
    assert [ask("Host box\n Port 23\n"), ask(), ask("Host box\n Port 24\n"), ask()] == [
        (23, True),
        (23, False),
        (24, True),
        (24, False),
    ]


def test_included_files_count_as_well(ask, tmp_path):
    text = f"Include {tmp_path}/more/*\n"
    (tmp_path / "more").mkdir()
    assert [ask(text), ask()] == [(22, True), (22, False)]
    (tmp_path / "more" / "one").write_text("Port 23\n")
    assert [ask(), ask()] == [(23, True), (23, False)]
    (tmp_path / "more" / "one").write_text("Port 24\n")
    assert ask() == (24, True)


@pytest.mark.parametrize("text", ['Match exec "true"\n Port 23\n', "Port 23\nIdentityFile ${HOME}/x\n"])
def test_what_depends_on_more_than_files_is_asked_each_time(ask, text):
    assert [ask(text), ask()] == [(23, True), (23, True)]


def test_answers_of_another_stamp_are_forgotten():
    remembered.save("x", "one", {"a": 1})
    remembered.save("x", "one", {"b": 2})
    assert remembered.load("x", "one") == {"a": 1, "b": 2}
    remembered.save("x", "two", {"c": 3})
    assert (remembered.load("x", "one"), remembered.load("x", "two")) == ({}, {"c": 3})
