"""A host's UUID is pinned at first contact; of another machine behind the name one is told, and nothing is sent."""

import datetime as dt
import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ctl_inside import rlctl
from ctl_runs import Agent, inventory
from ctl_sshd import SSHD
from ctl_statuses import status
from rlagent.protocol import status as st
from rlctl.hosts import Host
from rlctl.identity import Identities, IdentityFileError, default_path

pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd here: install openssh-server")

OLD, NEW = "11111111-aaaa", "22222222-bbbb"
CHANGED = "ANOTHER MACHINE answers as tnr-0: host UUID 22222222-bbbb; it was 11111111-aaaa since 20"


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "root")


@pytest.fixture
def run(server, agent, tmp_path):
    """Return a function that runs rlctl on tnr-0, with a state folder of its own."""
    source = inventory(tmp_path, {"tnr-0": server.host(agent)})
    return lambda *words: rlctl("-i", source, *words, XDG_STATE_HOME=str(tmp_path / "state"))


def become(agent, uuid):
    """Let another machine answer."""
    (agent.root / "host_uuid").write_text(uuid)
    agent.answer("ping", {"version": "0.1.0", "pid": 7, "host_uuid": uuid})
    agent.answer("status", status(agent=st.AgentInfo(version="0.1.0", pid=7, host_uuid=uuid, uptime_s=1.0)))


@pytest.fixture
def replaced(agent, run):
    """Meet one machine, then put another in its place."""
    become(agent, OLD)
    first = run("status")
    assert (first.returncode, first.stderr) == (0, "")
    become(agent, NEW)


def test_every_verb_warns_of_another_machine(replaced, agent, run):
    agent.log("agent", "hello\n")
    for words in (["status"], ["explain"], ["history"], ["logs", "tnr-0"]):
        done = run(*words)
        assert done.stderr.startswith(f"WARNING: {CHANGED}"), words
        assert done.stderr.endswith("if that is right: rlctl accept tnr-0\n")
    shown = run("status", "-o", "json")
    assert (shown.returncode, json.loads(shown.stdout)["hosts"][0]["warning"][: len(CHANGED)]) == (3, CHANGED)
    assert CHANGED in run("status").stdout


def test_nothing_that_changes_something_is_sent_to_another_machine(replaced, agent, run):
    before = agent.requests()
    for words in (["hold", "light"], ["release"], ["rollback", "-y"], ["stop", "-y"], ["start"]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (6, ""), words
        assert done.stderr.startswith(f"tnr-0: {CHANGED}")
        assert done.stderr.endswith("nothing was sent; if that is right: rlctl accept tnr-0\n")
    assert agent.requests() == before


def test_an_accepted_machine_is_the_right_one(replaced, agent, run):
    accepted = run("accept", "tnr-0", "--yes")
    assert (accepted.returncode, accepted.stdout) == (0, f"tnr-0: accepted: host UUID {NEW}\n")
    assert CHANGED in accepted.stderr
    done = run("hold", "light")
    assert (done.returncode, done.stdout, done.stderr) == (0, "tnr-0: hold done\n", "")
    again = run("accept", "tnr-0", "--yes")
    assert again.stdout == f"tnr-0: is the machine it was: host UUID {NEW}\n"


def test_accepting_asks_and_needs_somebody_to_answer(replaced, run):
    done = run("accept", "tnr-0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("rlctl: accept asks first, and nobody can answer here; add --yes\n")
    assert run("status").returncode == 3


def test_a_machine_that_is_known_under_another_name_is_named(tmp_path):
    pins = Identities(tmp_path / "hosts.json")
    one, two = Host("tnr-0", "a", inventory="/i"), Host("tnr-1", "b", inventory="/i")
    pins.remember({one: OLD, two: NEW})
    assert "host UUID 22222222-bbbb, which is known as tnr-1; it was" in str(pins.change(one, NEW))


def test_the_same_name_in_another_inventory_is_another_host(tmp_path):
    pins = Identities(tmp_path / "hosts.json")
    pins.remember({Host("tnr-0", "a", inventory="/one"): OLD})
    assert pins.change(Host("tnr-0", "a", inventory="/two"), NEW) is None


def test_a_pin_stays_until_it_is_accepted(tmp_path):
    path, host = tmp_path / "deep" / "hosts.json", Host("tnr-0", "a", inventory="/i")
    Identities(path).remember({host: OLD})
    Identities(path).remember({host: NEW})
    assert Identities(path).pinned(host).uuid == OLD
    Identities(path).accept({host: NEW})
    assert Identities(path).pinned(host).uuid == NEW
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_pins_are_the_users_alone_whatever_the_umask(tmp_path, umask):
    path, host = tmp_path / "rlfleet" / "hosts.json", Host("tnr-0", "a", inventory="/i")
    before = os.umask(umask)
    try:
        Identities(path).remember({host: OLD})
    finally:
        os.umask(before)
    modes = {each.name: oct(each.stat().st_mode & 0o777) for each in (path.parent, *path.parent.iterdir())}
    assert modes == {"rlfleet": "0o700", "hosts.json": "0o600", "hosts.lock": "0o600"}


def test_a_pin_says_what_since_when_and_in_which_inventory(tmp_path):
    path = tmp_path / "hosts.json"
    Identities(path).remember({Host("tnr-0", "a", inventory="/i"): OLD, Host("box", "b"): NEW})
    written = json.loads(path.read_text())
    since = written["inventories"]["/i"]["tnr-0"].pop("since")
    assert written["schema_version"] == 1
    assert written["inventories"]["/i"] == {"tnr-0": {"uuid": OLD}}
    assert written["inventories"][""]["box"]["uuid"] == NEW
    age_s = (dt.datetime.now(dt.timezone.utc) - dt.datetime.fromisoformat(since)).total_seconds()
    assert (0 <= age_s < 600, since.endswith("Z")) == (True, True)


def test_the_pins_that_are_known_already_are_not_written_again(tmp_path):
    path, host = tmp_path / "hosts.json", Host("tnr-0", "a", inventory="/i")
    Identities(path).remember({host: OLD})
    pins = Identities(path)
    path.unlink()
    pins.remember({host: OLD})
    pins.remember({})
    assert not path.exists()


def test_the_same_machine_under_its_own_name_is_no_change_and_an_unknown_one_is_no_twin(tmp_path):
    pins, host = Identities(tmp_path / "hosts.json"), Host("tnr-0", "a", inventory="/i")
    assert (pins.change(host, OLD), pins.pinned(host)) == (None, None)
    pins.remember({host: OLD, Host("tnr-1", "b", inventory="/other"): NEW})
    assert pins.change(host, OLD) is None
    change = pins.change(host, NEW)
    assert (change.host, change.old.uuid, change.uuid, change.also_known_as) == ("tnr-0", OLD, NEW, None)


def test_a_write_that_fails_leaves_the_pins_as_they_were_and_nothing_beside_them(tmp_path, monkeypatch):
    path, host = tmp_path / "hosts.json", Host("tnr-0", "a", inventory="/i")
    Identities(path).remember({host: OLD})
    before = path.read_bytes()

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityFileError, match="No space left on device: hosts can't be pinned; make it writable"):
        Identities(path).accept({host: NEW})
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hosts.json", "hosts.lock"]


@pytest.mark.parametrize(
    ("state_home", "folder"),
    [("/elsewhere", "/elsewhere"), ("", "/home/ann/.local/state"), ("relative", "/home/ann/.local/state")],
)
def test_pins_lie_where_the_xdg_specification_says(state_home, folder):
    assert default_path({"XDG_STATE_HOME": state_home}, Path("/home/ann")) == Path(folder) / "rlfleet" / "hosts.json"


def test_pins_that_may_not_be_read_are_one_clear_error(tmp_path):
    with pytest.raises(IdentityFileError, match="Is a directory; make it readable"):
        Identities(tmp_path)


PIN = """
import sys
from pathlib import Path
from rlctl.hosts import Host
from rlctl.identity import Identities
for index in range(10):
    name = f"{sys.argv[2]}-{index}"
    Identities(Path(sys.argv[1])).remember({Host(name, name, inventory="/i"): name})
"""


def test_runs_beside_each_other_lose_no_pin(tmp_path):
    path = tmp_path / "hosts.json"
    with ThreadPoolExecutor(8) as pool:
        commands = [[sys.executable, "-c", PIN, path, str(number)] for number in range(8)]
        list(pool.map(lambda words: subprocess.run(words, check=True), commands))
    pins = json.loads(path.read_text())["inventories"]["/i"]
    assert {name: pin["uuid"] for name, pin in pins.items()} == {
        f"{n}-{i}": f"{n}-{i}" for n in range(8) for i in range(10)
    }


@pytest.mark.parametrize(
    ("content", "fault"),
    [("{", "not a list of pinned hosts"), ('{"schema_version": 2}', "written by a newer rlctl"), ("[]", "not a list")],
)
def test_a_broken_file_is_one_clear_error(tmp_path, content, fault):
    path = tmp_path / "hosts.json"
    path.write_text(content)
    with pytest.raises(IdentityFileError, match=fault) as error:
        Identities(path)
    assert str(path) in str(error.value)
    assert error.value.hint


def test_this_machine_needs_no_pin(agent, tmp_path):
    source = inventory(tmp_path, {"here": agent.local()})
    rlctl("-i", source, "status", XDG_STATE_HOME=str(tmp_path / "state"))
    assert not (tmp_path / "state" / "rlfleet" / "hosts.json").exists()
