"""One request and one reply, as JSON objects on a line each, over the agent's Unix socket or `rlagent call`.

Strict: an unknown verb or argument is an error with a code, never ignored. `v` is the protocol's version, 1 when it is
left out; an agent answers every version up to its own and says so to a newer caller. Arguments that have their default
are not sent, so that an older agent understands every request that asks for nothing newer.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

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
    revived: str | None = None
    """Said by `rlagent call` itself: the agent was dead, and how it was started for this request."""


class _Request(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="verb", forbid_unknown_fields=True
):
    """What every request has."""

    v: int = 1


class _Wish(_Request, frozen=True, kw_only=True):
    """A request that changes something: who asks, and why, go into the journal."""

    who: str = ""
    why: str = ""
    request_id: str = ""
    """Names this wish: asked again, after a lost reply, it is answered from the journal and not done twice."""
    dry_run: bool = False
    """Only say what would be decided now: nothing is journaled or done."""


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


class Scale(_Wish, frozen=True, kw_only=True, tag="scale"):
    """Go to a mode now, up or down, without a hold and without a failed try; automation goes on from there."""

    mode: str


class Stop(_Wish, frozen=True, kw_only=True, tag="stop"):
    """Stop all trainers gracefully (checkpoint first) and keep them stopped, across reboots too."""

    until_restart: bool = False
    """Only until the agent's next start."""


class Start(_Wish, frozen=True, kw_only=True, tag="start"):
    """End a stop, and try FATAL games again."""


class AnnounceReboot(_Wish, frozen=True, kw_only=True, tag="announce-reboot"):
    """The host is about to be rebooted by an operator: trainers checkpoint and stop, and the reboot is no incident.

    It must come within half an hour; else, or when it is withdrawn, trainers start again.
    """


class WithdrawReboot(_Wish, frozen=True, kw_only=True, tag="withdraw-reboot"):
    """An announced reboot will not happen."""


class Shutdown(_Request, frozen=True, kw_only=True, tag="shutdown"):
    """End the agent; trainers go on and the next agent adopts them."""

    who: str = ""
    why: str = ""


Wish = Hold | Release | Rollback | Scale | Stop | Start | AnnounceReboot | WithdrawReboot
"""A request that changes something; its result is `Done`."""
Request = Ping | GetStatus | GetHistory | Explain | Wish | Shutdown
MUTATING: Final = get_args(Wish)
"""The same as a tuple, for isinstance."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a mutating request: what the agent decided, one sentence each."""

    decisions: list[str]
    repeated: bool = False
    """This request was taken before: these are its decisions of then, and nothing was done again."""


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


_REQUESTS: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_REPLIES: Final = msgspec.json.Decoder(Reply)
# Made here and not at the first message: msgspec looks at a type when it first meets it, and two threads that do so at
# the same time crash the interpreter (see `rlctl.agent.look_at`).


def encode(message: object) -> bytes:
    """Return a message as one line of JSON, with the newline."""
    return msgspec.json.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Read a request; raises `msgspec.ValidationError` or `msgspec.DecodeError` with the place of the fault."""
    return _REQUESTS.decode(line)


def decode_reply(line: bytes) -> Reply:
    """Read a reply; raises `msgspec.ValidationError` or `msgspec.DecodeError` when it isn't one."""
    return _REPLIES.decode(line)
