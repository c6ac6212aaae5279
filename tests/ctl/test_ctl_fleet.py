"""What a fleet sends, to whom, and how often: against connections that note what they are asked."""

import pytest

from ctl_world import World
from rlagent.protocol import messages
from rlagent.protocol.status import AgentStatus
from rlctl import fleet, wishes
from rlctl.agent import Alive
from rlctl.channel import Completed
from rlctl.errors import AgentError, ConnectError, HostError, RefusedError, UsageError
from rlctl.exits import of
from rlctl.hosts import Host
from rlctl.identity import Identities
from rlctl.options import Output

ONE, TWO, HERE = Host("tnr-0", "a"), Host("tnr-1", "b"), Host("here", "here", local=True)
STOP = messages.Stop(who="ann@laptop", request_id="id1")


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(fleet, "open_channel", world.open)
    return world


@pytest.fixture
def pins(tmp_path):
    return Identities(tmp_path / "state" / "hosts.json")


@pytest.fixture
def many(world, pins):
    """Return a function that makes the fleet of one run of rlctl."""
    return lambda *hosts: fleet.Fleet(hosts, 60.0, pins, world.said.append)


def errors(outcomes):
    return [None if outcome.error is None else outcome.error.kind for outcome in outcomes]


def test_a_host_is_asked_once_who_it_is_before_anything_that_changes_something(world, many):
    run = many(ONE)
    assert errors(run.ask(STOP, messages.Done)) == [None]
    assert errors(run.ask(messages.Start(), messages.Done)) == [None]
    assert world.asked == [("tnr-0", "ping"), ("tnr-0", "stop"), ("tnr-0", "start")]
    assert (world.opened, world.said) == (["tnr-0"], [])


def test_a_status_tells_who_it_is_by_itself(world, many, pins):
    run = many(ONE)
    run.ask(messages.GetStatus(), AgentStatus)
    assert pins.pinned(ONE).uuid == "uuid-0"
    run.ask(STOP, messages.Done)
    assert world.asked == [("tnr-0", "status"), ("tnr-0", "stop")]


def test_this_machine_is_not_asked_who_it_is_and_not_pinned(world, many, pins):
    assert errors(many(HERE).ask(STOP, messages.Done)) == [None]
    assert many(HERE).ask(messages.Ping(), Alive)[0].value == Alive("0.1.0", "uuid-here")
    assert (world.asked, pins.pinned(HERE)) == ([("here", "stop"), ("here", "ping")], None)


@pytest.mark.parametrize(
    ("uuid", "sent", "code"),
    [("uuid-0", True, 0), ("another", False, 6)],
    ids=["the same", "another"],
)
def test_what_changes_something_is_sent_to_the_pinned_machine_alone(world, many, pins, uuid, sent, code):
    pins.remember({ONE: "uuid-0"})
    world.uuids["tnr-0"] = uuid
    outcomes = many(ONE, TWO).ask(STOP, messages.Done)
    assert errors(outcomes) == [None if sent else "host-changed", None]
    assert (("tnr-0", "stop") in world.asked, ("tnr-1", "stop") in world.asked) == (sent, True)
    assert of(outcomes) == code
    assert pins.pinned(ONE).uuid == "uuid-0"
    if not sent:
        assert outcomes[0].error.hint == "nothing was sent; if that is right: rlctl accept tnr-0"


def test_a_machine_that_is_met_for_the_first_time_is_pinned(world, many, pins):
    many(ONE).ask(STOP, messages.Done)
    assert [pins.pinned(ONE).uuid, pins.pinned(TWO)] == ["uuid-0", None]


def test_no_uuid_is_no_identity(world, many, pins):
    world.uuids["tnr-0"] = ""
    assert errors(many(ONE).ask(messages.GetStatus(), AgentStatus)) == [None]
    assert pins.pinned(ONE) is None
    world.uuids["tnr-0"] = "uuid-0"
    many(ONE).ask(messages.GetStatus(), AgentStatus)
    assert pins.pinned(ONE).uuid == "uuid-0"


def test_what_only_looks_is_answered_by_another_machine_too_and_one_is_told_once(world, many, pins):
    pins.remember({ONE: "uuid-9", TWO: "uuid-1"})
    run = many(ONE, TWO)
    for _ in range(2):
        outcomes = run.ask(messages.GetStatus(), AgentStatus)
        assert errors(outcomes) == [None, None]
        assert outcomes[0].warning.startswith("ANOTHER MACHINE answers as tnr-0: host UUID uuid-0; it was uuid-9")
        assert outcomes[1].warning is None
        assert of(outcomes) == 3
    assert [said.split(":")[0] for said in world.said] == ["WARNING"]
    assert world.said[0].endswith("; if that is right: rlctl accept tnr-0")


def test_a_lost_connection_is_let_go_of_and_the_next_request_gets_a_new_one(world, many):
    world.faults["tnr-0", "status"] = [ConnectError("network", "cut")]
    run = many(ONE, TWO)
    assert errors(run.ask(messages.GetStatus(), AgentStatus)) == ["network", None]
    assert world.abandoned == ["tnr-0"]
    assert errors(run.ask(messages.GetStatus(), AgentStatus)) == [None, None]
    assert sorted(world.opened) == ["tnr-0", "tnr-0", "tnr-1"]


def test_pins_that_can_not_be_written_are_told_once_and_hinder_nothing(world, tmp_path):
    (tmp_path / "file").touch()
    run = fleet.Fleet([ONE], 60.0, Identities(tmp_path / "x" / "hosts.json"), world.said.append)
    (tmp_path / "x").symlink_to(tmp_path / "file")
    for _ in range(2):
        assert errors(run.ask(messages.GetStatus(), AgentStatus)) == [None]
    assert len(world.said) == 1
    assert world.said[0].endswith("hosts can't be pinned; make it writable")


def test_a_subset_of_the_hosts_may_be_asked_in_any_order(world, many):
    outcomes = many(ONE, TWO).ask(messages.GetStatus(), AgentStatus, [TWO])
    assert [outcome.host for outcome in outcomes] == [TWO]
    assert world.asked == [("tnr-1", "status")]


def test_who_a_host_is_may_be_told_in_another_way(world, many, pins):
    pins.remember({ONE: "uuid-9"})
    run = many(ONE, TWO)
    for host, uuid in ((ONE, "uuid-0"), (TWO, "uuid-1")):
        run.met(host, uuid)
    assert (len(world.said), pins.pinned(TWO).uuid) == (1, "uuid-1")


def test_a_command_that_prints_a_reply(world, many):
    world.ran = Completed(0, b'{"ok":true,"result":{"next_action":"nothing","lines":[]}}\n', b"")
    outcome = many(ONE).ask_command(ONE, ["explain", "7"], messages.Explanation)
    assert (outcome.value, world.asked) == (
        messages.Explanation(next_action="nothing", lines=[]),
        [("tnr-0", ("/opt/rlfleet/bin/rlagent", "explain", "7"))],
    )
    world.ran = Completed(127, b"", b"")
    assert many(ONE).ask_command(ONE, ["explain", "7"], messages.Explanation).error.kind == "no-agent"


MAYBE = "it may have been done: the same command with --request-id id1 does it once"


@pytest.mark.parametrize("kind", ["ssh", "network", "agent-timeout", "agent-broken"])
def test_a_lost_reply_is_asked_for_once_more_by_the_same_name_and_of_that_host_alone(world, many, kind):
    world.faults["tnr-0", "stop"] = [HostError(kind, "lost")]
    outcomes = wishes.send(many(ONE, TWO), STOP)
    assert [outcome.value.decisions for outcome in outcomes] == [["stop done"], ["stop done"]]
    assert [asked for asked in world.asked if asked[1] == "stop"].count(("tnr-0", "stop")) == 2
    assert world.asked.count(("tnr-1", "stop")) == 1
    assert {request["request_id"] for request in world.requests if request["verb"] == "stop"} == {"id1"}


@pytest.mark.parametrize("kind", ["ssh", "network", "agent-timeout", "agent-broken"])
def test_a_reply_that_is_lost_twice_may_have_been_done(world, many, kind):
    world.faults["tnr-0", "stop"] = [HostError(kind, "lost"), HostError(kind, "lost again")]
    (outcome,) = wishes.send(many(ONE), STOP)
    assert (outcome.error.kind, outcome.error.reason, outcome.error.hint) == (kind, "lost again", MAYBE)
    assert world.asked.count(("tnr-0", "stop")) == 2


def test_what_took_all_the_time_is_not_asked_for_again_and_may_have_been_done(world, many):
    world.faults["tnr-0", "stop"] = [ConnectError("timeout", "no answer within 60 s", "is it up?")]
    (outcome,) = wishes.send(many(ONE), STOP)
    assert (outcome.error.kind, outcome.error.hint) == ("timeout", MAYBE)
    assert world.asked.count(("tnr-0", "stop")) == 1


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("refused", "no", "as I said"),
        AgentError("no-agent", "no", "as I said"),
        AgentError("garbage", "no", "as I said"),
        ConnectError("auth", "no", "as I said"),
        ConnectError("refused", "no", "as I said"),
        ConnectError("host-key-changed", "no", "as I said"),
    ],
    ids=lambda error: error.kind,
)
def test_what_was_surely_not_done_is_sent_once_and_told_as_it_is(world, many, error):
    world.faults["tnr-0", "stop"] = [error]
    (outcome,) = wishes.send(many(ONE), STOP)
    assert (outcome.error, outcome.error.hint) == (error, "as I said")
    assert world.asked.count(("tnr-0", "stop")) == 1


def manner(**changes):
    return wishes.Manner(**{"yes": False, "dry_run": False, "request_id": None, "output": Output.TABLE, **changes})


@pytest.mark.parametrize(
    ("hosts", "how", "asks"),
    [
        ([ONE], {}, False),
        ([ONE, TWO], {}, True),
        ([ONE], {"always_ask": True}, True),
        ([ONE, TWO], {"yes": True}, False),
        ([ONE], {"yes": True, "always_ask": True}, False),
        ([ONE, TWO], {"dry_run": True, "always_ask": True}, False),
    ],
)
def test_when_a_person_is_asked(world, many, hosts, how, asks):
    """Nobody is there to answer: what asks is refused, before any host hears of it."""
    if asks:
        with pytest.raises(UsageError, match="asks first, and nobody can answer here"):
            wishes.carry_out(many(*hosts), "Stop", messages.Stop(), manner(**how))
        assert world.asked == []
    else:
        assert wishes.carry_out(many(*hosts), "Stop", messages.Stop(), manner(**how)) == 0
        dry = [request.get("dry_run", False) for request in world.requests if request["verb"] == "stop"]
        assert dry == [how.get("dry_run", False)] * len(hosts)


def test_each_wish_has_a_name_of_its_own_for_all_its_hosts_and_a_dry_run_has_none(world, many):
    for _ in range(2):
        wishes.carry_out(many(ONE, TWO), "Stop", messages.Stop(), manner(yes=True))
    names = [request["request_id"] for request in world.requests if request["verb"] == "stop"]
    assert [len(set(names)), {len(name) for name in names}] == [2, {16}]
    assert names.count(names[0]) == 2
    wishes.carry_out(many(ONE), "Stop", messages.Stop(), manner(dry_run=True))
    assert "request_id" not in world.requests[-1]


def test_the_name_that_was_given_is_used(world, many):
    wishes.carry_out(many(ONE), "Stop", messages.Stop(), manner(request_id="mine"))
    assert world.requests[-1]["request_id"] == "mine"
