"""What a host's answer means, word by word: replies, faults, versions, and what they add up to."""

import json

import pytest

from ctl_statuses import queued, status, trainer
from rlagent.protocol import messages
from rlagent.protocol.status import AgentStatus, Projection
from rlctl import agent, health, skew
from rlctl.agent import Alive, result_of
from rlctl.channel import Completed, last_line, unusable
from rlctl.errors import AgentError, HostError, RefusedError
from rlctl.fanout import Outcome
from rlctl.hosts import Host

HOST = Host("tnr-0", "203.0.113.9", root="/srv/rl/")
DEPLOY = "cd playbooks && ansible-playbook deploy.yml --limit tnr-0"
BOTH = f"bring both to one version: {DEPLOY}"
USER = "set ansible_user to the user it was deployed as"


def completed(text, code=0, stderr=""):
    return Completed(code, text.encode() if isinstance(text, str) else text, stderr.encode())


def reply(**fields):
    return json.dumps({"v": 1, "ok": True, **fields}) + "\n"


def error_of(done, result=Alive):
    with pytest.raises(HostError) as caught:
        result_of(HOST, done, result, lambda _: None)
    return caught.value


def test_the_reply_is_the_last_line_and_what_is_said_beside_it_is_told():
    told = []
    done = completed("Welcome!\n\n" + reply(result={"version": "9", "host_uuid": "u"}, revived="it was dead") + "\n \n")
    assert result_of(HOST, done, Alive, told.append) == Alive("9", "u")
    assert told == ["it was dead"]


@pytest.mark.parametrize(
    ("code", "kind", "reason", "hint", "exit_code"),
    [
        ("refused", "refused", "because", "do that", 6),
        ("agent-not-running", "agent-not-running", "the agent is not running: because", f"deploy it: {DEPLOY}", 5),
        ("no-permission", "no-permission", "no permission: because", USER, 5),
        ("unsupported-version", "older-agent", "its agent is older: because", BOTH, 5),
        ("internal", "agent-internal", "its agent failed: because", "do that", 5),
        ("bad-request", "bad-request", "its agent can't do that: because", "do that", 6),
        ("timeout", "agent-timeout", "its agent is stuck: because", "look: rlctl logs tnr-0", 5),
    ],
)  # fmt: skip
def test_each_code_of_an_agent_is_one_kind_of_error(code, kind, reason, hint, exit_code):
    error = error_of(completed(reply(ok=False, error={"code": code, "message": "because", "hint": "do that"}), 1))
    assert (error.kind, error.reason, error.hint, error.exit_code) == (kind, reason, hint, exit_code)


def test_a_fault_without_a_hint_says_where_to_look():
    error = error_of(completed(reply(ok=False, error={"code": "internal", "message": "because"})))
    assert error.hint == "look: rlctl logs tnr-0"


def test_what_an_agent_has_never_heard_of_makes_it_an_older_one():
    error = error_of(completed(reply(ok=False, error={"code": "bad-request", "message": "not a request: odd"})))
    assert (error.kind, error.hint) == ("older-agent", f"bring both to one version: {DEPLOY}")


@pytest.mark.parametrize("fields", [{"ok": False}, {"ok": True, "error": {"code": "refused", "message": "no"}}])
def test_a_reply_is_good_only_when_it_says_so_and_has_no_error(fields):
    assert error_of(completed(reply(result={"version": "9", "host_uuid": "u"}, **fields))).kind in (
        "garbage",
        "refused",
    )


@pytest.mark.parametrize(
    ("done", "kind", "reason"),
    [
        (completed("", 127), "no-agent", "no agent is installed (/srv/rl/bin/rlagent not found)"),
        (completed("", 126, "sh: Permission denied\n"), "no-permission", "/srv/rl/bin/rlagent can't be run: sh: Permi"),
        (completed("", 126), "no-permission", "/srv/rl/bin/rlagent can't be run: not executable"),
        (completed("", 1, "a\nb\n"), "agent-broken", "/srv/rl/bin/rlagent call ended with 1 and said: b"),
        (completed("", 1), "agent-broken", "/srv/rl/bin/rlagent call ended with 1 and said: nothing"),
        (completed(""), "agent-broken", "its agent ended the call without an answer"),
        (completed("odd\n", 127), "no-agent", "no agent is installed"),
        (completed("odd\x07\n", 1), "garbage", "/srv/rl/bin/rlagent call printed 'odd?' instead of a reply"),
        (completed("x" * 80), "garbage", f"/srv/rl/bin/rlagent call printed '{'x' * 80}' instead of a reply"),
        (completed("x" * 81), "garbage", f"/srv/rl/bin/rlagent call printed '{'x' * 77}...' instead of a reply"),
        (completed("[1]\n"), "garbage", "/srv/rl/bin/rlagent call printed '[1]' instead of a reply"),
    ],
)
def test_what_is_no_reply_is_told_by_how_the_command_ended(done, kind, reason):
    error = error_of(done)
    assert (error.kind, error.reason[: len(reason)]) == (kind, reason)


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (reply(v=2), "newer-agent", "its agent is newer: protocol 2, this rlctl 1"),
        ('{"v":2,"outcome":1}', "newer-agent", "its agent is newer: protocol 2, this rlctl 1"),
        ('{"v":1,"outcome":1}', "garbage", "/srv/rl/bin/rlagent call printed"),
        ('{"ok":false,"error":{"code":"new","message":"why"}}', "newer-agent", "tnr-0's agent is newer, and says: why"),
        ('{"ok":true,"error":{"code":"new","message":"why"}}', "garbage", "/srv/rl/bin/rlagent call printed"),
        ('{"ok":false,"error":{"code":"new","message":7}}', "garbage", "/srv/rl/bin/rlagent call printed"),
        (reply(result={"schema_version": 2}), "newer-agent", "its agent is newer: status schema 2, this rlctl 1"),
        (reply(result={"schema_version": 1}), "garbage", "its agent's answer can't be read: "),
        (reply(result=[1]), "garbage", "its agent's answer can't be read: "),
    ],
)
def test_an_answer_of_a_newer_agent_says_that_rlctl_is_to_be_upgraded(text, kind, reason):
    error = error_of(completed(text))
    assert (error.kind, error.reason[: len(reason)]) == (kind, reason)
    assert (error.hint == "upgrade rlctl: pip install -U 'rlfleet[ctl]'") is (kind == "newer-agent")


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [
        ("0.1.0", "garbage"),
        ("0.2.0", "newer-agent"),
        ("0.10.0", "newer-agent"),
        ("0.0.9", "older-agent"),
        (7, "garbage"),
    ],
)
def test_an_answer_that_can_not_be_read_is_told_by_the_agents_version(monkeypatch, theirs, kind):
    monkeypatch.setattr(agent, "version", lambda _: "0.1.0")
    error = error_of(completed(reply(result={"agent": {"version": theirs}})), AgentStatus)
    assert error.kind == kind


@pytest.mark.parametrize("result", [{"agent": {"version": 7}}, {"agent": 7}, {}, 7])
def test_an_answer_without_a_version_is_garbage(result):
    assert error_of(completed(reply(result=result)), AgentStatus).kind == "garbage"


@pytest.mark.parametrize("kind", ["bad-request", "older-agent"])
@pytest.mark.parametrize(
    ("complaint", "reason", "field"),
    [
        ("Invalid value 'stop' - at `$.verb`", "its agent is older and does not know stop", None),
        ("unknown field `dry_run`", "its agent is older and does not know stop with dry_run", "dry_run"),
        ("odd", "odd", None),
    ],
)
def test_what_an_older_agent_does_not_know_is_one_clear_sentence(kind, complaint, reason, field):
    error = AgentError(kind, complaint, "as I said")
    meant = skew.explain(HOST, messages.Stop(), error)
    assert (meant.reason, skew.unknown_field(error)) == (reason, field)
    if complaint != "odd":
        assert (meant.kind, meant.hint, meant.exit_code) == ("older-agent", f"upgrade it: {DEPLOY}", 6)
    else:
        assert meant is error


@pytest.mark.parametrize("complaint", ["at `$.verb`", "unknown field `dry_run`"])
def test_other_errors_are_left_as_they_are(complaint):
    error = RefusedError("refused", complaint)
    assert (skew.explain(HOST, messages.Stop(), error), skew.unknown_field(error)) == (error, None)


def test_a_wish_without_its_name_is_the_same_wish():
    assert skew.unnamed(messages.Stop(who="ann", request_id="x")) == messages.Stop(who="ann")
    assert skew.unnamed(messages.GetStatus()) == messages.GetStatus()


def test_the_last_line_is_the_last_that_says_something():
    assert [last_line(text) for text in (b"", b"\n \n", b"a\nb \n\n", b"\xff\n")] == ["", "", "b", "\ufffd"]


@pytest.mark.parametrize(
    ("code", "kind"), [(0, None), (1, None), (125, None), (126, "no-permission"), (127, "no-agent")]
)
def test_a_command_that_could_not_be_run_is_known_by_its_exit_code(code, kind):
    error = unusable(HOST, completed("", code))
    assert (None if error is None else error.kind) == kind


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"alerts": ["hot"]}, True),
        ({"games": [queued("Pong", "FATAL")]}, True),
        ({"trainers": [trainer("Pong", "BACKOFF")]}, True),
        ({"trainers": [trainer("Pong", "STARTING")]}, False),
        ({"trainers": [], "games": [queued("Pong", "EXITED")]}, False),
    ],
)
def test_what_makes_a_host_degraded(changes, expected):
    assert health.degraded(status(**changes)) is expected


def test_a_fleet_in_one_line_counts_what_is_known_of_each_host():
    def outcome(name, value=None, price=None):
        error = None if value is not None else AgentError("x", "x")
        return Outcome(Host(name, name, price_per_hour=price), value, error)

    slow = [trainer("Pong", sps=None), trainer("Qbert", "STARTING", sps=5.0), trainer("Tennis", sps=7.0)]
    totals = health.totals(
        [
            outcome("a", status(trainers=slow, projection=Projection(hours_left=2.0)), 0.5),
            outcome("b", status(alerts=["hot"], projection=Projection(hours_left=None)), 1.5),
            outcome("c", price=0.25),
            outcome("d"),
        ]
    )
    assert totals == health.Totals(
        hosts=4, up=1, degraded=1, down=2, trainers_running=4, sps=pytest.approx(4209.8), games_done=2, games=9,
        price_per_hour=2.25, hosts_without_price=1, hours_left=2.0, hosts_without_projection=3, cost_left=1.0,
    )  # fmt: skip
    nothing = health.totals([outcome("d")])
    assert (nothing.sps, nothing.price_per_hour, nothing.hours_left, nothing.cost_left) == (None, None, None, None)


@pytest.mark.parametrize(("length", "reached"), [(107, True), (108, False)])
def test_an_agents_socket_is_known_as_far_as_the_kernel_takes_its_path(length, reached):
    root = "/" + "x" * (length - len("//var/agent.sock"))
    host = Host("a", "a", root=root)
    assert host.agent_socket == (f"{root}/var/agent.sock" if reached else None)
    assert Host("a", "a", root="~/rlfleet").agent_socket is None
    assert (Host("a", "a", root="/x/").agent_socket, Host("a", "a", root="/x/").agent) == (
        "/x/var/agent.sock",
        "/x/bin/rlagent",
    )


@pytest.mark.parametrize(
    ("inventory", "shown"),
    [(None, ""), ("/here/inventory/fleet", ""), ("/my fleet/x", "-i '/my fleet/x' "), ("a,b", "-i a,b ")],
)
def test_how_to_deploy_names_the_inventory_unless_it_is_the_usual_one(inventory, shown):
    host = Host("tnr-0", "a", inventory=inventory)
    assert host.deploy_command == f"cd playbooks && ansible-playbook {shown}deploy.yml --limit tnr-0"
    assert host.deploy_hint == f"deploy it: {host.deploy_command}"
