"""What the socket's requests mean: queries read, wishes become events. Knows the daemon only by what `Agent` lists."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, Protocol, get_args

import msgspec

from rlagent import history
from rlagent.journal import Entry, Foreign, JournalError, Stamp
from rlagent.policy import State, explain
from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision
from rlagent.policy.text import by, duration
from rlagent.protocol import messages
from rlagent.protocol.messages import PROTOCOL_VERSION, Error, ErrorCode, Reply
from rlagent.protocol.status import AgentStatus

VERBS = [str(kind.__struct_config__.tag) for kind in get_args(messages.Request)]

HOLD_S_MAX = 366 * 86400.0
REQUEST_ID_MAX = 100

log = logging.getLogger(__name__)


class Agent(Protocol):
    """What a request may ask of the daemon."""

    version: str
    pid: int
    host_uuid: str

    @property
    def state(self) -> State:
        """Where the policy stands."""

    def now(self) -> Stamp:
        """Read the clocks."""

    def status(self) -> AgentStatus:
        """Return the whole picture."""

    def entries(self, since_wall: float, limit: int) -> list[Entry]:
        """Read the journal."""

    def taken(self, request_id: str) -> Entry | None:
        """Return the journaled wish of this name, if there is one."""

    def foresee(self, event: ev.Event) -> tuple[Decision, ...]:
        """Return what would be decided on an event now, and do nothing."""

    def operate(self, event: ev.Event) -> tuple[Decision, ...]:
        """Journal an operator's wish, decide, and begin to act. Raises JournalError."""

    def shut_down(self, reason: str) -> None:
        """End the agent after this request; trainers go on."""


def answer(agent: Agent, line: bytes) -> bytes:
    """Return the reply line to a request line; never raises."""
    try:
        return messages.encode(_answer(agent, line))
    except JournalError as error:
        return messages.encode(_failed("internal", str(error), "free the disk, then ask again; the wish was not taken"))
    except Exception:  # the agent must outlive a bug in a query
        log.exception("request failed: %r", line[:200])
        return messages.encode(
            _failed("internal", "the agent failed to answer", "its log has the details: rlagent logs")
        )


def _answer(agent: Agent, line: bytes) -> Reply:
    try:
        version = msgspec.json.decode(line, type=_Versioned).v
        if version > PROTOCOL_VERSION:
            fault = f"the caller speaks protocol {version}, this agent ({agent.version}) up to {PROTOCOL_VERSION}"
            return _failed("unsupported-version", fault, "upgrade the agent: ansible-playbook deploy.yml")
        request = messages.decode_request(line)
    except msgspec.MsgspecError as error:
        return _failed("bad-request", f"not a request: {error}", f"verbs: {', '.join(VERBS)}")
    if isinstance(request, messages.MUTATING):
        return _operate(agent, request)
    return Reply(ok=True, result=_query(agent, request))


class _Versioned(msgspec.Struct):
    v: int = PROTOCOL_VERSION


def _query(agent: Agent, request: messages.Request) -> object:
    match request:
        case messages.Ping():
            return {"version": agent.version, "pid": agent.pid, "host_uuid": agent.host_uuid}
        case messages.GetHistory():
            since = -math.inf if request.since_s is None else agent.now().wall - request.since_s
            return [history.entry(entry) for entry in agent.entries(since, max(0, request.limit))]
        case messages.Explain():
            t = agent.now().t
            return messages.Explanation(next_action=_next(agent.state, t), lines=explain.lines(agent.state, t))
        case messages.Shutdown():
            agent.shut_down(f"asked{by(request.who, request.why)}")
            return messages.Done(decisions=["the agent ends; trainers go on"])
        case _:
            return agent.status()


def _next(state: State, t: float) -> str:
    """Return the next automatic action in one sentence."""
    action = explain.next_action(state, t)
    if action.kind == "none":
        return f"nothing by itself: {action.reason}"
    when = "" if action.at is None else f" in {duration(max(0.0, action.at - t))}"
    return f"{action.kind}{when}: {action.reason}"


def _operate(agent: Agent, request: messages.Wish) -> Reply:
    if isinstance(request, messages.Hold) and request.for_s is not None and not 0 < request.for_s <= HOLD_S_MAX:
        return _failed("bad-request", f"for_s {request.for_s:g}: must be above 0 and at most a year", None)
    if len(request.request_id) > REQUEST_ID_MAX:
        return _failed("bad-request", f"request_id: longer than {REQUEST_ID_MAX} characters", None)
    event = _event(agent.now(), request)
    if request.dry_run:
        return _decided(agent.foresee(event), repeated=False)
    before = agent.taken(request.request_id) if request.request_id else None
    if before is None:
        return _decided(agent.operate(event), repeated=False)
    if not isinstance(before.event, Foreign) and (
        msgspec.structs.replace(event, t=before.event.t, wall=before.event.wall) != before.event
    ):
        fault = f"request_id {request.request_id}: another wish had this name: {history.summary(before.event)}"
        return _failed("bad-request", fault, "give each wish a name of its own")
    return _decided(before.decisions, repeated=True)


def _decided(decisions: Sequence[Decision], *, repeated: bool) -> Reply:
    refused = [decision.reason for decision in decisions if decision.kind == "refuse"]
    if refused:
        return _failed("refused", refused[0], None)
    return Reply(
        ok=True, result=messages.Done(decisions=[decision.reason for decision in decisions], repeated=repeated)
    )


def _event(now: Stamp, request: messages.Wish) -> ev.Event:  # noqa: PLR0911  # a table of wishes
    """Return the event of an operator's wish."""
    said: dict[str, Any] = {
        "t": now.t,
        "wall": now.wall,
        "who": request.who,
        "why": request.why,
        "request_id": request.request_id,
    }
    match request:
        case messages.Hold():
            return ev.HoldRequested(**said, mode=request.mode, for_s=request.for_s, no_fallback=request.no_fallback)
        case messages.Release():
            return ev.ReleaseRequested(**said)
        case messages.Rollback():
            return ev.RollbackRequested(**said, to=request.to)
        case messages.Scale():
            return ev.ScaleRequested(**said, mode=request.mode)
        case messages.Stop():
            return ev.StopRequested(**said, until_restart=request.until_restart)
        case messages.Start():
            return ev.StartRequested(**said)
        case messages.AnnounceReboot():
            return ev.RebootAnnounced(**said, drain=True)
        case messages.WithdrawReboot():
            return ev.RebootWithdrawn(**said)


def _failed(code: ErrorCode, message: str, hint: str | None) -> Reply:
    return Reply(ok=False, error=Error(code=code, message=message, hint=hint))
