"""What requests mean: which are answered, which become wishes, which are refused; without a socket and a daemon."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest

from policy_driver import WALL, Host, rules
from rlagent import commands
from rlagent.journal import Entry, Foreign, JournalError, Stamp
from rlagent.policy import events as ev
from rlagent.policy import step
from rlagent.policy.decisions import Decision
from rlagent.protocol import messages


class Agent:
    """A daemon without a world: it decides, and remembers what it was asked for."""

    version, pid, host_uuid = "1.2.3", 7, "u-1"

    def __init__(self) -> None:
        self.host = Host(rules()).up()
        self.operated: list[ev.Event] = []
        self.asked: list[tuple[float, int]] = []
        self.journaled: dict[str, Entry] = {}
        self.ended: str | None = None
        self.fault: Exception | None = None

    @property
    def state(self):
        return self.host.state

    def now(self) -> Stamp:
        return Stamp(t=500.0, wall=WALL + 500, monotonic=500.0, boot="b")

    def status(self):
        return {"mode": self.state.mode}

    def entries(self, since_wall: float, limit: int) -> list[Entry]:
        self.asked.append((since_wall, limit))
        return [self.entry(ev.AgentStopping(t=1, wall=WALL, reason="x"))]

    def taken(self, request_id: str) -> Entry | None:
        return self.journaled.get(request_id)

    def foresee(self, event: ev.Event):
        return step(self.state, event)[1]

    def operate(self, event: ev.Event):
        if self.fault is not None:
            raise self.fault
        self.operated.append(event)
        return step(self.state, event)[1]

    def shut_down(self, reason: str) -> None:
        self.ended = reason

    def entry(self, event, *decisions: Decision) -> Entry:
        return Entry(seq=3, stamp=self.now(), event=event, decisions=decisions)


@pytest.fixture
def agent():
    return Agent()


def ask(agent: Agent, request) -> messages.Reply:
    line = request if isinstance(request, bytes) else messages.encode(request)
    return messages.decode_reply(commands.answer(agent, line))


def test_a_ping_says_who_answers(agent):
    assert ask(agent, messages.Ping()).result == {"version": "1.2.3", "pid": 7, "host_uuid": "u-1"}


def test_the_status_is_the_daemon_s(agent):
    assert ask(agent, messages.GetStatus()).result == {"mode": "light"}


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (messages.GetHistory(), (-math.inf, 200)),
        (messages.GetHistory(since_s=60.0, limit=5), (WALL + 440, 5)),
        (messages.GetHistory(since_s=0.0, limit=0), (WALL + 500, 0)),
        (messages.GetHistory(limit=-1), (-math.inf, 0)),
    ],
)
def test_history_is_asked_for_by_age_and_number(agent, request_, asked):
    (line,) = ask(agent, request_).result
    assert (agent.asked, line["summary"]) == ([asked], "agent stopping: x")


def test_what_happens_next_is_explained_with_its_time(agent):
    told = ask(agent, messages.Explain()).result
    assert told["next_action"].startswith("promote in 51.7 min: ")
    assert len(told["lines"]) > 1


def test_the_end_of_a_drain_has_no_time(agent):
    agent.host.scale("medium", at=501)
    assert ask(agent, messages.Explain()).result["next_action"].startswith("enter: ")


def test_an_action_that_is_overdue_is_due_now_and_none_says_why(agent):
    agent.now = lambda: Stamp(t=9000.0, wall=WALL + 9000, monotonic=9000.0, boot="b")
    assert ask(agent, messages.Explain()).result["next_action"].startswith("promote in 0 s: ")
    agent.host.stop(at=600)
    assert ask(agent, messages.Explain()).result["next_action"].startswith("nothing by itself: ")


def test_the_agent_ends_when_asked_and_says_who_asked(agent):
    reply = ask(agent, messages.Shutdown(who="ana", why="upgrade"))
    assert (agent.ended, reply.result["decisions"]) == ("asked by ana (upgrade)", ["the agent ends; trainers go on"])


SAID = {"t": 500.0, "wall": WALL + 500, "who": "ana", "why": "w", "request_id": "r"}
WISH = {"who": "ana", "why": "w", "request_id": "r"}


@pytest.mark.parametrize(
    ("wish", "event"),
    [
        (
            messages.Hold(mode="medium", for_s=60.0, no_fallback=True, **WISH),
            ev.HoldRequested(mode="medium", for_s=60.0, no_fallback=True, **SAID),
        ),
        (messages.Release(**WISH), ev.ReleaseRequested(**SAID)),
        (messages.Rollback(to="light", **WISH), ev.RollbackRequested(to="light", **SAID)),
        (messages.Scale(mode="medium", **WISH), ev.ScaleRequested(mode="medium", **SAID)),
        (messages.Stop(until_restart=True, **WISH), ev.StopRequested(until_restart=True, **SAID)),
        (messages.Start(**WISH), ev.StartRequested(**SAID)),
        (messages.AnnounceReboot(**WISH), ev.RebootAnnounced(drain=True, **SAID)),
        (messages.WithdrawReboot(**WISH), ev.RebootWithdrawn(**SAID)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_wish_becomes_its_event_with_who_and_why(agent, wish, event):
    ask(agent, wish)
    assert agent.operated == [event]


def test_a_wish_is_answered_with_what_was_decided(agent):
    reply = ask(agent, messages.Stop(who="ana"))
    assert reply.ok
    assert reply.result["decisions"][0].startswith("stop all trainers by ana")
    assert reply.result["repeated"] is False


def test_a_refusal_is_an_error_with_its_reason(agent):
    reply = ask(agent, messages.Rollback())
    assert (reply.ok, reply.result, reply.error.code) == (False, None, "refused")
    assert reply.error.message == "light is the lowest mode: there is nothing to roll back to"


@pytest.mark.parametrize(
    ("for_s", "taken"),
    [(0.0, False), (-1.0, False), (0.001, True), (366 * 86400.0, True), (366 * 86400.0 + 1, False), (None, True)],
)
def test_a_hold_lasts_up_to_a_year(agent, for_s, taken):
    reply = ask(agent, messages.Hold(mode="light", for_s=for_s))
    assert (reply.ok, len(agent.operated)) == (taken, int(taken))
    if not taken:
        assert reply.error.code == "bad-request"
        assert reply.error.message == f"for_s {for_s:g}: must be above 0 and at most a year"


@pytest.mark.parametrize(("length", "taken"), [(100, True), (101, False)])
def test_a_name_has_at_most_100_characters(agent, length, taken):
    reply = ask(agent, messages.Stop(request_id="x" * length))
    assert (reply.ok, len(agent.operated)) == (taken, int(taken))
    if not taken:
        assert reply.error.message == "request_id: longer than 100 characters"


def test_a_dry_run_decides_and_does_nothing(agent):
    reply = ask(agent, messages.Stop(dry_run=True, request_id="r"))
    assert (reply.ok, reply.result["repeated"], agent.operated) == (True, False, [])
    assert reply.result["decisions"][0].startswith("stop all trainers")


def test_a_wish_that_was_taken_before_is_answered_from_the_journal(agent):
    event = ev.StopRequested(t=3, wall=WALL + 3, who="ana", why="", request_id="r")
    agent.journaled["r"] = agent.entry(event, Decision(kind="stop", reason="as decided then"))
    reply = ask(agent, messages.Stop(who="ana", request_id="r"))
    assert (reply.result, agent.operated) == ({"decisions": ["as decided then"], "repeated": True}, [])


def test_another_wish_of_the_same_name_is_refused_but_one_that_is_not_known_any_more_is_answered(agent):
    event = ev.StopRequested(t=3, wall=WALL + 3, who="ana", why="", request_id="r")
    agent.journaled["r"] = agent.entry(event)
    reply = ask(agent, messages.Stop(who="bob", request_id="r"))
    assert reply.error.message == "request_id r: another wish had this name: stop asked for by ana"
    assert reply.error.hint == "give each wish a name of its own"
    agent.journaled["r"] = agent.entry(Foreign(kind="teleport"), Decision(kind="alert", reason="by a newer one"))
    assert ask(agent, messages.Stop(who="bob", request_id="r")).result["decisions"] == ["by a newer one"]
    assert agent.operated == []


def test_a_wish_without_a_name_is_never_taken_for_another(agent):
    agent.journaled[""] = agent.entry(ev.StartRequested(t=1, wall=WALL, who="", why=""))
    ask(agent, messages.Stop())
    assert len(agent.operated) == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"v": 1, "verb": "ping"}', None),
        (b'{"v": 0, "verb": "ping"}', None),
        (b'{"verb": "ping"}', None),
        (b'{"v": 2, "verb": "ping"}', "unsupported-version"),
        (b'{"v": 2, "verb": "of the future", "x": 1}', "unsupported-version"),
        (b'{"verb": "pong"}', "bad-request"),
        (b'{"verb": "ping", "x": 1}', "bad-request"),
        (b"{", "bad-request"),
        (b"", "bad-request"),
    ],
)
def test_every_version_up_to_its_own_is_answered(agent, line, code):
    reply = ask(agent, line)
    assert (reply.ok, None if reply.error is None else reply.error.code) == (code is None, code)
    if code == "unsupported-version":
        assert reply.error.message == "the caller speaks protocol 2, this agent (1.2.3) up to 1"
    if code == "bad-request":
        assert reply.error.hint == (
            "verbs: ping, status, history, explain, hold, release, rollback, scale, stop, start, "
            "announce-reboot, withdraw-reboot, shutdown"
        )


def test_a_journal_that_refuses_is_told_with_the_way_out(agent):
    agent.fault = JournalError(Path("/j"), "can't write: disk full")
    error = ask(agent, messages.Stop()).error
    assert (error.code, error.message) == ("internal", "journal /j: can't write: disk full")
    assert error.hint == "free the disk, then ask again; the wish was not taken"


def test_a_bug_in_an_answer_is_logged_and_told_as_one(agent, caplog):
    agent.fault = ZeroDivisionError("oops")
    with caplog.at_level(logging.ERROR):
        error = ask(agent, messages.Stop()).error
    assert (error.code, error.hint) == ("internal", "its log has the details: rlagent logs")
    assert "request failed" in caplog.text
    assert "ZeroDivisionError: oops" in caplog.text
