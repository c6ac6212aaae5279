"""One request to a host's agent and its typed answer, by `rlagent call` over a channel; faults become `HostError`."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

import msgspec

from rlagent.protocol import messages
from rlctl.channel import Channel, Completed, last_line, unusable
from rlctl.errors import AgentError, HostError, RefusedError
from rlctl.fanout import Deadline
from rlctl.hosts import Host

T = TypeVar("T")
STATUS_SCHEMA = 1
_NOT_A_REQUEST = "not a request:"
"""What an agent says of a verb or argument that it has never heard of; rlctl itself makes no others."""
UPGRADE_HINT = "upgrade rlctl: pip install -U 'rlfleet[ctl]'"


class Alive(msgspec.Struct, frozen=True):
    """The result of a ping."""

    version: str
    host_uuid: str


def look_at(result: type) -> None:
    """Let msgspec look at a type of results, so that threads may convert to it at the same time.

    msgspec looks at a type when it first meets it, and is not ready for two threads that do so at once: with 64 hosts
    one in ten `rlctl status` died of SIGSEGV (msgspec 0.22).
    """
    msgspec.json.Decoder(result)


def ask(  # one request: to whom, what, until when, and who hears what is said beside the answer
    host: Host,
    channel: Channel,
    request: messages.Request,
    result: type[T],
    deadline: Deadline,
    notice: Callable[[str], None],
) -> T:
    """Send a request and return its result; raises `HostError`."""
    return result_of(host, channel.call(messages.encode(request), deadline), result, notice)


def result_of(host: Host, done: Completed, result: type[T], notice: Callable[[str], None]) -> T:
    """Return the result in the reply that a command printed; raises `HostError`."""
    reply = read_reply(host, done)
    if reply.revived is not None:
        notice(reply.revived)
    if reply.error is not None or not reply.ok:
        raise _failure(host, reply.error)
    _check_schema(reply.result)
    try:
        return msgspec.convert(reply.result, result)
    except msgspec.ValidationError as error:
        raise _unreadable(host, reply.result, error) from error


def read_reply(host: Host, done: Completed) -> messages.Reply:
    """Find the reply in what the command printed: its last line, whatever a login script said before."""
    line = last_line(done.stdout)
    try:
        reply = messages.decode_reply(line.encode())
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _no_reply(host, done, line) from error
    if reply.v > messages.PROTOCOL_VERSION:
        raise _newer(f"protocol {reply.v}, this rlctl {messages.PROTOCOL_VERSION}")
    return reply


def _no_reply(host: Host, done: Completed, line: str) -> HostError:
    problem = unusable(host, done)
    if problem is not None:
        return problem
    said_by_newer = _newer_reply(host, line)
    if said_by_newer is not None:
        return said_by_newer
    if not line and done.exit_code != 0:
        said = last_line(done.stderr) or "nothing"
        return AgentError(
            "agent-broken", f"{host.agent} call ended with {done.exit_code} and said: {_short(said)}", host.deploy_hint
        )
    if not line:
        return AgentError("agent-broken", "its agent ended the call without an answer", f"look: rlctl logs {host.name}")
    shown = f"'{_short(line)}'"
    return AgentError("garbage", f"{host.agent} call printed {shown} instead of a reply", _same_version(host))


def _newer_reply(host: Host, line: str) -> HostError | None:
    """Return the error that a newer agent's reply tells, as far as it can be read."""
    try:
        reply = msgspec.json.decode(line.encode())
    except msgspec.MsgspecError:
        return None
    if not isinstance(reply, dict):
        return None
    version, error = reply.get("v"), reply.get("error")
    if isinstance(version, int) and version > messages.PROTOCOL_VERSION:
        return _newer(f"protocol {version}, this rlctl {messages.PROTOCOL_VERSION}")
    # A code that came with a later version: its sentence was written for people.
    if reply.get("ok") is False and isinstance(error, dict) and isinstance(error.get("message"), str):
        return AgentError("newer-agent", f"{host.name}'s agent is newer, and says: {error['message']}", UPGRADE_HINT)
    return None


def _unreadable(host: Host, result: object, error: Exception) -> AgentError:
    """Return the error of an answer of another version, which says so where it can."""
    ours, theirs = version("rlfleet"), _agent_version(result)
    if theirs is None or _numbers(theirs) == _numbers(ours):
        return AgentError("garbage", f"its agent's answer can't be read: {error}", _same_version(host))
    if _numbers(theirs) > _numbers(ours):
        return _newer(f"{theirs}, this rlctl {ours}: {error}")
    return AgentError("older-agent", f"its agent is older: {theirs}, this rlctl {ours}: {error}", _same_version(host))


def _agent_version(result: object) -> str | None:
    agent = result.get("agent") if isinstance(result, dict) else None
    found = agent.get("version") if isinstance(agent, dict) else None
    return found if isinstance(found, str) else None


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _check_schema(result: object) -> None:
    schema = result.get("schema_version") if isinstance(result, dict) else None
    if isinstance(schema, int) and schema > STATUS_SCHEMA:
        raise _newer(f"status schema {schema}, this rlctl {STATUS_SCHEMA}")


def _newer(what: str) -> AgentError:
    return AgentError("newer-agent", f"its agent is newer: {what}", UPGRADE_HINT)


def _failure(host: Host, error: messages.Error | None) -> HostError:  # noqa: PLR0911  # a table of codes
    if error is None:
        return AgentError("garbage", "its agent failed and did not say why", f"look: rlctl logs {host.name}")
    match error.code:
        case "refused":
            return RefusedError("refused", error.message, error.hint)
        case "agent-not-running":
            return AgentError("agent-not-running", f"the agent is not running: {error.message}", host.deploy_hint)
        case "no-permission":
            hint = "set ansible_user to the user it was deployed as"
            return AgentError("no-permission", f"no permission: {error.message}", hint)
        case "unsupported-version":
            return AgentError("older-agent", f"its agent is older: {error.message}", _same_version(host))
        case "internal":
            hint = error.hint or f"look: rlctl logs {host.name}"
            return AgentError("agent-internal", f"its agent failed: {error.message}", hint)
        case "bad-request" if error.message.startswith(_NOT_A_REQUEST):
            reason = f"its agent is older and does not know this: {error.message}"
            return AgentError("older-agent", reason, _same_version(host))
        case "bad-request":
            return RefusedError("bad-request", f"its agent can't do that: {error.message}", error.hint)
        case "timeout":
            return AgentError("agent-timeout", f"its agent is stuck: {error.message}", f"look: rlctl logs {host.name}")


def _same_version(host: Host) -> str:
    return f"bring both to one version: {host.deploy_command}"


def _short(text: str, limit: int = 80) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable if len(printable) <= limit else printable[: limit - 3] + "..."
