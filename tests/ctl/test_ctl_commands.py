"""Each command's exit code, questions and order of work, in this process: hosts are connections that take notes."""

import io
import sys

import pytest

from ctl_world import World
from rlctl import __main__ as command_line
from rlctl import context, fleet, inventory_cache, reboots
from rlctl.errors import ConnectError, RefusedError, UsageError
from rlctl.hosts import Host
from rlctl.identity import Identities

HOSTS = [Host(name, name, inventory="/i") for name in ("tnr-0", "tnr-1", "tnr-2")]


class Typed(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def world(monkeypatch, tmp_path):
    world = World()
    world.uuids["tnr-2"] = "uuid-2"
    monkeypatch.setattr(fleet, "open_channel", world.open)
    named = lambda _, patterns: [host for host in HOSTS if not patterns or host.name in patterns]  # noqa: E731
    monkeypatch.setattr(inventory_cache, "load", named)
    for kind in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.setenv("RLFLEET_INVENTORY", "a,b")
    monkeypatch.delenv("RLFLEET_TRACEBACK", raising=False)
    return world


@pytest.fixture
def pins(world, tmp_path):
    """Return a function that reads the pinned UUID of a host as it is now."""
    path = tmp_path / "state" / "rlfleet" / "hosts.json"
    Identities(path).remember({HOSTS[0]: "uuid-0", HOSTS[1]: "uuid-1"})
    return lambda name: next(Identities(path).pinned(host).uuid for host in HOSTS if host.name == name)


@pytest.fixture
def rlctl(world, capsys, monkeypatch):
    """Return a function that runs a command line; typed: what a person answers, None: there is nobody."""

    def run(*words, typed=None):
        monkeypatch.setattr(sys, "stdin", io.StringIO() if typed is None else Typed(typed))
        code = command_line.run([*words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def sent(world, verb):
    return [name for name, asked in world.asked if asked == verb]


@pytest.mark.parametrize("typed", ["y\n", "Y\n", " yes \n", "YES\n"])
def test_yes_is_yes(rlctl, world, typed):
    code, out, err = rlctl("stop", "tnr-0", typed=typed)
    assert (code, out) == (0, "tnr-0: stop done\n")
    assert err == "  tnr-0: stop done\nStop on 1 host? [y/N] "
    assert [request.get("dry_run", False) for request in world.requests if request["verb"] == "stop"] == [True, False]


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "yess\n", "ye\n", "1\n"])
def test_anything_else_is_no(rlctl, world, typed):
    code, out, err = rlctl("stop", "tnr-0", typed=typed)
    assert (code, out) == (1, "")
    assert err.endswith("rlctl: nothing was changed\n")
    assert [request["dry_run"] for request in world.requests if request["verb"] == "stop"] == [True]


def test_the_question_counts_who_did_not_answer_and_not_who_refuses(rlctl, world):
    world.faults["tnr-0", "stop"] = [ConnectError("network", "cut")]
    world.faults["tnr-1", "stop"] = [RefusedError("refused", "no")]
    _, _, err = rlctl("stop", typed="n\n")
    assert "  tnr-0: cut\n  tnr-1: no\n  tnr-2: stop done\n" in err
    assert "Stop on 3 hosts (1 did not answer and will be tried again)? [y/N] " in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stop", "tnr-0"], "stop asks first, and nobody can answer here; add --yes"),
        (["start"], "start for 3 hosts asks first, and nobody can answer here; add --yes"),
        (["reboot", "tnr-0"], "reboot asks first, and nobody can answer here; add --yes"),
    ],
)
def test_where_nobody_can_answer_nothing_is_sent(rlctl, world, words, message):
    assert rlctl(*words) == (2, "", f"rlctl: {message}\n")
    assert world.asked == []


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ([], 0),
        ([RefusedError("refused", "no")], 6),
        ([ConnectError("auth", "no")], 4),
        ([ConnectError("auth", "no")] * 3, 5),
        ([RefusedError("refused", "no")] * 3, 6),
        ([RefusedError("refused", "no"), ConnectError("auth", "no")], 4),
    ],
)
def test_what_came_of_many_hosts_is_the_exit_code_and_each_reason_is_told(rlctl, world, faults, code):
    for host, fault in zip(HOSTS, faults, strict=False):
        world.faults[host.name, "stop"] = [fault]
    got, out, err = rlctl("stop", "--yes")
    assert (got, out.count(": stop done\n"), err.count(": no\n")) == (code, 3 - len(faults), len(faults))


@pytest.mark.parametrize("output", [[], ["-o", "json"]])
def test_a_dry_run_changes_nothing_and_asks_nobody(rlctl, world, output):
    code, out, err = rlctl("stop", "--dry-run", *output)
    assert (code, err, "stop done" in out) == (0, "", True)
    assert [request["dry_run"] for request in world.requests if request["verb"] == "stop"] == [True] * 3
    assert ("would: " in out) is (output == [])


class TestAccept:
    """`rlctl accept`."""

    def test_a_new_machine_is_accepted_after_a_question(self, rlctl, world, pins):
        world.uuids["tnr-0"] = "uuid-9"
        code, out, err = rlctl("accept", "tnr-0", typed="y\n")
        assert (code, out, pins("tnr-0")) == (0, "tnr-0: accepted: host UUID uuid-9\n", "uuid-9")
        assert "  ANOTHER MACHINE answers as tnr-0: host UUID uuid-9; it was uuid-0 since " in err
        assert err.endswith("Accept tnr-0? [y/N] ")

    @pytest.mark.parametrize("typed", ["\n", "n\n", ""])
    def test_without_a_yes_the_old_one_stays(self, rlctl, world, pins, typed):
        world.uuids["tnr-0"] = "uuid-9"
        code, out, _ = rlctl("accept", "tnr-0", typed=typed)
        assert (code, out, pins("tnr-0")) == (1, "", "uuid-0")

    def test_without_anybody_to_ask_too(self, rlctl, world, pins):
        world.uuids["tnr-0"] = "uuid-9"
        code, _, err = rlctl("accept", "tnr-0")
        assert (code, pins("tnr-0")) == (2, "uuid-0")
        assert err.endswith("rlctl: accept asks first, and nobody can answer here; add --yes\n")

    def test_only_what_changed_is_accepted_and_who_does_not_answer_is_told(self, rlctl, world, pins):
        world.uuids["tnr-0"] = "uuid-9"
        world.faults["tnr-2", "ping"] = [ConnectError("network", "cut")]
        code, out, err = rlctl("accept", "tnr-0", "tnr-1", "tnr-2", "--yes")
        assert (code, "tnr-2: cut\n" in err) == (4, True)
        assert out == "tnr-1: is the machine it was: host UUID uuid-1\ntnr-0: accepted: host UUID uuid-9\n"
        assert (pins("tnr-0"), pins("tnr-1")) == ("uuid-9", "uuid-1")

    def test_the_same_machine_is_no_question(self, rlctl, world, pins):
        assert rlctl("accept", "tnr-0") == (0, "tnr-0: is the machine it was: host UUID uuid-0\n", "")


class TestReboot:
    """`rlctl reboot`, one host after the other."""

    @pytest.fixture
    def machines(self, world, monkeypatch):
        """Let reboots be noted, and end as a test says."""
        ends, done = {}, []

        class Reboot:
            def __init__(self, host, line, wanted, tell) -> None:
                self._host, self._line, self._tell = host, line, tell
                done.append((host.name, wanted.who, wanted.why, wanted.by_hand, wanted.wait_s))
                done_ids.append(wanted.request_id)

            def run(self):
                self._tell("told")
                end = ends.get(self._host.name, "rebooted")
                if isinstance(end, Exception):
                    raise end
                return end

        done_ids = []
        monkeypatch.setattr(reboots, "Reboot", Reboot)
        monkeypatch.setattr(context, "who", lambda: "ann@laptop")
        return ends, done, done_ids

    def test_each_host_in_its_turn(self, rlctl, machines):
        code, out, err = rlctl("reboot", "tnr-0", "tnr-2", "--yes", "--why", "kernel")
        assert (code, out) == (0, "tnr-0: rebooted\ntnr-2: rebooted\n")
        assert err == "tnr-0: told\ntnr-2: told\n"
        wanted = ("ann@laptop", "kernel", False, 600.0)
        assert machines[1] == [("tnr-0", *wanted), ("tnr-2", *wanted)]
        assert len(set(machines[2])) == 2

    def test_the_first_that_fails_ends_it_and_the_rest_is_named(self, rlctl, machines):
        machines[0]["tnr-1"] = ConnectError("refused", "it is gone")
        code, out, err = rlctl("reboot", "tnr-0", "tnr-1", "tnr-2", "--yes", "--by-hand", "--wait", "90s")
        assert (code, out, [one[0] for one in machines[1]]) == (4, "tnr-0: rebooted\n", ["tnr-0", "tnr-1"])
        assert err.endswith("tnr-1: it is gone\nnot rebooted, because of tnr-1: tnr-2\n")
        assert machines[1][0][3:] == (True, 90.0)

    @pytest.mark.parametrize(("end", "code"), [(RefusedError("x", "no"), 6), (ConnectError("x", "no"), 5)])
    def test_the_only_one_that_fails(self, rlctl, machines, end, code):
        machines[0]["tnr-0"] = end
        got, out, err = rlctl("reboot", "tnr-0", "--yes")
        assert (got, out, "not rebooted" in err) == (code, "", False)

    def test_a_dry_run_and_a_no_reboot_nothing(self, rlctl, world, machines):
        assert rlctl("reboot", "tnr-0", "--dry-run")[0] == 0
        assert rlctl("reboot", "tnr-0", typed="n\n")[0] == 1
        assert machines[1] == []
        asked = [request for request in world.requests if request["verb"] == "announce-reboot"]
        assert [request["dry_run"] for request in asked] == [True, True]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("odd", "do that"), 2, "rlctl: odd; do that\n"),
        (KeyboardInterrupt(), 130, ""),
        (RuntimeError("odd"), 1, "rlctl: this is a bug: RuntimeError: odd; set RLFLEET_TRACEBACK=1 to see where\n"),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_an_exit_code(rlctl, monkeypatch, error, code, said):
    def broken(*_):
        raise error

    monkeypatch.setattr(inventory_cache, "load", broken)
    assert rlctl("status") == (code, "", said)


def test_a_bug_may_be_looked_at(rlctl, monkeypatch):
    monkeypatch.setenv("RLFLEET_TRACEBACK", "1")
    monkeypatch.setattr(inventory_cache, "load", None)
    with pytest.raises(TypeError):
        rlctl("status")


@pytest.mark.parametrize(("timeout", "code"), [("0", 2), ("0.001", 0), ("3600", 0), ("3600.1", 2)])
def test_the_deadline_may_be_an_hour_and_must_be_more_than_nothing(rlctl, world, monkeypatch, timeout, code):
    given = []
    real = fleet.Fleet.__init__
    monkeypatch.setattr(fleet.Fleet, "__init__", lambda self, *args: given.append(args[1]) or real(self, *args))
    monkeypatch.setattr(fleet, "gather", lambda *_: [])
    assert rlctl("--timeout", timeout, "explain")[0] == code
    assert given == ([float(timeout)] if code == 0 else [])
    if code == 0:
        rlctl("explain")
        assert given[-1] == 10.0


def test_a_command_about_one_host_refuses_several(rlctl):
    code, _, err = rlctl("explain", "--decision", "7")
    assert (code, err) == (2, "rlctl: --decision is about one host, not 3 (tnr-0, tnr-1, tnr-2); name it\n")


def test_who_asks_is_told_even_where_the_user_has_no_name(monkeypatch):
    import getpass  # noqa: PLC0415
    import socket  # noqa: PLC0415

    def nameless():
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert context.who() == f"unknown@{socket.gethostname()}"


def test_status_of_an_agent_that_is_not_well_is_exit_code_3(rlctl, world):
    assert rlctl("status", "tnr-0")[0] == 0
    world.alerts = ["hot"]
    assert rlctl("status", "tnr-0")[0] == 3
