"""One request and one reply, as JSON objects on a line each, over the agent's Unix socket or `rlagent call`.

Strict: an unknown verb or argument is an error with a code, never ignored. `v` is the protocol's version, 1 when it is
left out; an agent answers every version up to its own and says so to a newer caller. Arguments that have their default
are not sent, so that an older agent understands every request that asks for nothing newer.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

PROTOCOL_VERSION: Final = 1

ErrorCode = Literal[
    "bad-request",  # not JSON, unknown verb, wrong or unknown argument
    "unsupported-version",  # the caller speaks a newer protocol
    "refused",  # understood, but the policy or the state forbids it; the message says why
    "agent-not-running",  # said by `rlagent call` itself: nobody listens on the socket
    "no-permission",  # said by `rlagent call` itself: the socket belongs to another user
    "timeout",  # said by `rlagent call` itself: the agent did not answer in time
    "internal",  # a bug; the agent's log has the traceback
]


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request failed: one sentence with place and fault, and the next step."""

    code: ErrorCode
    message: str
    hint: str | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request: a result, or an error, never both."""

    v: int = 1
    ok: bool
    result: Any = None
    error: Error | None = None


class _Request(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="verb", forbid_unknown_fields=True
):
    """What every request has."""

    v: int = 1


class _Wish(_Request, frozen=True, kw_only=True):
    """A request that changes something: who asks, and why, go into the journal."""

    who: str = ""
    why: str = ""


class Ping(_Request, frozen=True, kw_only=True, tag="ping"):
    """Is the agent alive? Result: `{"version", "pid", "host_uuid"}`."""


class GetStatus(_Request, frozen=True, kw_only=True, tag="status"):
    """Everything there is to see. Result: `rlagent.protocol.status.AgentStatus`."""


class GetHistory(_Request, frozen=True, kw_only=True, tag="history"):
    """What happened and why, oldest first. Result: list of `HistoryEntry`."""

    since_s: float | None = None
    """Only the last so many seconds (wall clock)."""
    limit: int = 200
    """At most the newest so many entries."""


class Explain(_Request, frozen=True, kw_only=True, tag="explain"):
    """What happens next and why. Result: `Explanation`."""


class Hold(_Wish, frozen=True, kw_only=True, tag="hold"):
    """Go to a mode and stay there: no promotion until released."""

    mode: str
    for_s: float | None = None
    """Released by itself after so many seconds; None: never."""
    no_fallback: bool = False
    """Not even a demotion."""


class Release(_Wish, frozen=True, kw_only=True, tag="release"):
    """End a hold."""


class Rollback(_Wish, frozen=True, kw_only=True, tag="rollback"):
    """An operator's demotion now; counts as a failed try of the rung left."""

    to: str | None = None
    """A lower mode; None: one rung down."""


class Stop(_Wish, frozen=True, kw_only=True, tag="stop"):
    """Stop all trainers gracefully (checkpoint first) and keep them stopped, across reboots too."""

    until_restart: bool = False
    """Only until the agent's next start."""


class Start(_Wish, frozen=True, kw_only=True, tag="start"):
    """End a stop, and try FATAL games again."""


class Shutdown(_Wish, frozen=True, kw_only=True, tag="shutdown"):
    """End the agent; trainers go on and the next agent adopts them."""


Request = Ping | GetStatus | GetHistory | Explain | Hold | Release | Rollback | Stop | Start | Shutdown
MUTATING: Final = (Hold, Release, Rollback, Stop, Start)
"""These change something; their result is `Done`."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a mutating request: what the agent decided, one sentence each."""

    decisions: list[str]


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One event that mattered, with the decisions it caused."""

    seq: int
    """Its number in the journal."""
    at: str
    """ISO 8601, UTC."""
    kind: str
    """The event's kind (`trainer_exited`, `agent_started`, `hold` ...)."""
    summary: str
    """The event in one line."""
    decisions: list[str]
    """Each with its reason and numbers, one line each."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What happens next, when, and which numbers decide it; each line is a sentence for a person."""

    next_action: str
    lines: list[str]


def encode(message: object) -> bytes:
    """Return a message as one line of JSON, with the newline."""
    return msgspec.json.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Read a request; raises `msgspec.ValidationError` or `msgspec.DecodeError` with the place of the fault."""
    request: Request = msgspec.json.decode(line, type=Request)
    return request


def decode_reply(line: bytes) -> Reply:
    """Read a reply; raises `msgspec.ValidationError` or `msgspec.DecodeError` when it isn't one."""
    return msgspec.json.decode(line, type=Reply)
