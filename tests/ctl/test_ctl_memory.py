"""What rlctl writes down for its next run: whose it is, how much it may be, and when it is as good as nothing."""

import os
import stat

import pytest

from rlctl import inventory, inventory_cache, remembered, sshaliases, sshanswers, sshconfig
from rlctl.hosts import Host


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Return the folder of what is remembered in this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rlfleet"


def mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_what_is_remembered_is_the_users_alone_whatever_the_umask(cache, umask):
    before = os.umask(umask)
    try:
        remembered.save("x", "stamp", {"a": 1})
    finally:
        os.umask(before)
    assert (mode(cache), mode(cache / "x.json")) == ("0o700", "0o600")
    assert [path.name for path in cache.iterdir()] == ["x.json"]


@pytest.mark.parametrize("home", ["", "relative"])
def test_it_lies_in_the_users_cache_unless_a_whole_path_says_otherwise(tmp_path, monkeypatch, home):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path))
    remembered.save("x", "stamp", {"a": 1})
    assert (tmp_path / ".cache" / "rlfleet" / "x.json").exists()


def test_a_place_that_can_not_be_written_is_no_fault_and_leaves_nothing(cache, tmp_path, monkeypatch):
    cache.parent.write_text("no folder")
    remembered.save("x", "stamp", {"a": 1})
    assert remembered.load("x", "stamp") == {}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    (tmp_path / "other" / "rlfleet" / "x.json").mkdir(parents=True)
    remembered.save("x", "stamp", {"a": 1})
    assert [path.name for path in (tmp_path / "other" / "rlfleet").iterdir()] == ["x.json"]


def test_a_stamp_stands_for_names_and_contents_and_for_what_is_missing():
    one = [[("a", b"x")], [("b", b"x")], [("a", b"y")], [("a", b"")], [("a", None)], [("a", b"x"), ("b", b"")]]
    stamps = [remembered.stamp(parts) for parts in one]
    assert len(set(stamps)) == len(stamps)
    assert remembered.stamp([("a", b"x")]) == stamps[0]


def test_a_program_that_is_installed_anew_is_another_one(tmp_path):
    program = tmp_path / "ssh"
    assert remembered.installed(str(program)) == (str(program), None)
    program.write_text("one")
    first = remembered.installed(str(program))
    program.write_text("other")
    os.utime(program, ns=(0, 5))
    assert len({first, remembered.installed(str(program)), (str(program), None)}) == 3
    same_size = remembered.installed(str(program))
    os.utime(program, ns=(0, 6))
    assert remembered.installed(str(program)) != same_size


@pytest.fixture
def asked(monkeypatch):
    """Note how often Ansible is asked; it knows one host."""
    calls = []
    host = Host("tnr-0", "tnr-0")
    monkeypatch.setattr(inventory, "load", lambda *words: calls.append(words) or [host])
    return calls


def times_asked(asked, source):
    del asked[:]
    for _ in range(2):
        inventory_cache.load(str(source), [])
    return len(asked)


@pytest.mark.parametrize(("files", "times"), [(200, 1), (201, 2)])
def test_an_inventory_of_very_many_files_is_not_remembered(asked, tmp_path, files, times):
    folder = tmp_path / "fleet"
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.yml").write_text("a: 1\n")
    assert times_asked(asked, folder) == times


@pytest.mark.parametrize(("size", "times"), [(4 * 2**20, 1), (4 * 2**20 + 1, 2)])
def test_a_very_large_inventory_is_not_remembered(asked, tmp_path, size, times):
    source = tmp_path / "hosts.yml"
    source.write_bytes(b"#" * size)
    assert times_asked(asked, source) == times


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("a: '{{ b }}'\n", 1),
        ("a: '{{ b() }}'\n", 2),
        ("a: '{{ b | upper }}'\n", 2),
        ("a: '{% if b %}'\n", 2),
        ("x: $ANSIBLE_VAULT;1\n", 2),
        ("plugin: aws_ec2\n", 2),
        ("  plugin : aws_ec2\n", 2),
        ("a: the plugin\n", 1),
    ],
)
def test_what_may_say_something_else_next_time_is_asked_anew_and_not_written_down(asked, tmp_path, cache, text, times):
    (tmp_path / "hosts.yml").write_text("all: {hosts: {a: }}\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "a.yml").write_text(text)
    assert times_asked(asked, tmp_path / "hosts.yml") == times
    assert (cache / "inventory.json").exists() is (times == 1)


def test_a_program_beside_the_inventory_is_run_each_time(asked, tmp_path):
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "hosts.yml").write_text("all: {hosts: {a: }}\n")
    (folder / "hosts.yml").chmod(0o700)
    assert times_asked(asked, folder) == 2


@pytest.mark.parametrize("change", ["cwd", "ANSIBLE_CONFIG", "ansible.cfg", ".ansible.cfg", "group_vars"])
def test_whatever_ansible_reads_beside_the_inventory_counts_too(asked, tmp_path, monkeypatch, change):
    for folder in ("cwd", "other", "home"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    source = tmp_path / "hosts.yml"
    source.write_text("all: {hosts: {a: }}\n")
    assert times_asked(asked, source) == 1
    match change:
        case "cwd":
            monkeypatch.chdir(tmp_path / "other")
        case "ANSIBLE_CONFIG":
            (tmp_path / "x.cfg").write_text("[defaults]\n")
            monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "x.cfg"))
        case "ansible.cfg":
            (tmp_path / "cwd" / "ansible.cfg").write_text("[defaults]\n")
        case ".ansible.cfg":
            (tmp_path / "home" / ".ansible.cfg").write_text("[defaults]\n")
        case "group_vars":
            (tmp_path / "group_vars").mkdir()
            (tmp_path / "group_vars" / "all.yml").write_text("a: 1\n")
    assert times_asked(asked, source) == 1


def test_the_configuration_that_the_environment_names_is_read_too(asked, tmp_path, monkeypatch):
    (tmp_path / "x.cfg").write_text("[defaults]\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "x.cfg"))
    assert times_asked(asked, "a,b") == 1
    (tmp_path / "x.cfg").write_text("[defaults]\nhash_behaviour = merge\n")
    assert times_asked(asked, "a,b") == 1


@pytest.mark.parametrize("module", ["ansible", "rlctl/inventory", "rlctl/hosts"])
def test_another_release_of_what_reads_inventories_is_another_answer(asked, monkeypatch, module):
    assert times_asked(asked, "a,b") == 1
    real = remembered.installed

    def upgraded(path):
        return (path, b"new") if f"/{module}" in path.removesuffix(".py") else real(path)

    monkeypatch.setattr(remembered, "installed", upgraded)
    assert times_asked(asked, "a,b") == 1


def test_a_list_of_names_has_no_files(asked):
    assert times_asked(asked, "a,b") == 1


@pytest.fixture
def openssh(tmp_path, monkeypatch):
    """Return a function that looks a host up as a new run would, and says whether OpenSSH was asked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sshanswers, "_SYSTEM", tmp_path / "etc")
    (tmp_path / "etc").mkdir()
    (tmp_path / ".ssh").mkdir()
    runs = []

    def run(words, **_options):
        runs.append(words)
        return sshconfig.subprocess.CompletedProcess(words, 0, "hostname box\nport 22\nciphers all\n", "")

    monkeypatch.setattr(sshconfig.subprocess, "run", run)

    def asked(*ssh_args):
        for cached in (sshconfig._effective, sshanswers._known, sshanswers._stamp):
            cached.cache_clear()
        del runs[:]
        sshconfig.lookup(Host("box", "box", ssh_args=ssh_args))
        sshanswers.keep()
        return len(runs) == 1

    return asked


@pytest.mark.parametrize(
    "text",
    [
        "Match exec true\n",
        'Match host a exec "true"\n',
        "Match localnetwork 10.0.0.0/8\n",
        "Match canonical\n",
        "match tagged x\n",
        "CanonicalizeHostname yes\n",
        "IdentityFile ${KEYS}/x\n",
    ],
)
@pytest.mark.parametrize("file", [".ssh/config", "etc/ssh_config"])
def test_openssh_is_asked_each_time_where_its_answer_depends_on_more_than_files(openssh, tmp_path, file, text):
    (tmp_path / file).write_text(text)
    assert [openssh(), openssh()] == [True, True]


@pytest.mark.parametrize("place", [".ssh/config", "etc/ssh_config", ".ssh/more/a", "etc/ssh_config.d/a", "named"])
def test_a_change_of_any_file_that_it_reads_is_a_reason_to_ask_again(openssh, tmp_path, place):
    (tmp_path / ".ssh" / "config").write_text("Include more/*\n")
    (tmp_path / "etc" / "ssh_config").write_text("Match all\nInclude=ssh_config.d/*\n")
    named = ("-F", str(tmp_path / "named")) if place == "named" else ()
    assert [openssh(*named), openssh(*named)] == [True, False]
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("Port 23\n")
    assert [openssh(*named), openssh(*named)] == [True, False]


def test_a_file_that_is_named_is_read_alone_however_it_is_named(openssh, tmp_path):
    (tmp_path / "named").write_text("Port 23\n")
    for words in (("-F", str(tmp_path / "named")), (f"-F{tmp_path}/named",)):
        (tmp_path / ".ssh" / "config").write_text("Match exec true\n")
        assert [openssh(*words), openssh(*words)] == [True, False]


@pytest.mark.parametrize("name", ["HOME", "USER", "LOGNAME"])
def test_another_user_is_another_answer(openssh, tmp_path, monkeypatch, name):
    (tmp_path / "named").write_text("Port 23\n")
    words = ("-F", str(tmp_path / "named"))
    assert [openssh(*words), openssh(*words)] == [True, False]
    monkeypatch.setenv(name, str(tmp_path / "somebody"))
    assert openssh(*words)


def chain(folder, links, last="Host deepest\nHost deepest\n"):
    """Write configurations that include one another so many times."""
    for number in range(links):
        (folder / f"c{number}").write_text(f"Include {folder}/c{number + 1}\n")
    (folder / f"c{links}").write_text(last)
    return folder / "c0"


def test_configurations_are_followed_as_deep_as_openssh_does(openssh, tmp_path):
    assert list(sshaliases.repeated(chain(tmp_path, 16))) == ["deepest"]
    assert openssh("-F", str(chain(tmp_path, 16, "Match exec true\n")))
    assert openssh("-F", str(tmp_path / "c0"))
    assert list(sshaliases.repeated(chain(tmp_path, 17))) == []
    assert [openssh("-F", str(chain(tmp_path, 17, "Match exec true\n"))) for _ in range(2)] == [True, False]
