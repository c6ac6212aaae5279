"""One request to a host's agent and its typed answer, by `rlagent call` over a channel; faults become `HostError`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from rlagent.protocol import messages
from rlctl.channel import Channel, Completed, last_line, unusable
from rlctl.errors import AgentError, HostError, RefusedError
from rlctl.fanout import Deadline
from rlctl.hosts import Host

T = TypeVar("T")
UPGRADE_HINT = "upgrade rlctl: pip install -U 'rlfleet[ctl]'"


def ask(host: Host, channel: Channel, request: messages.Request, result: type[T], deadline: Deadline) -> T:
    """Send a request and return its result; raises `HostError`."""
    done = channel.run([host.agent, "call"], messages.encode(request), deadline)
    reply = read_reply(host, done)
    if reply.error is not None or not reply.ok:
        raise _failure(host, reply.error)
    _check_schema(reply.result)
    try:
        return msgspec.convert(reply.result, result)
    except msgspec.ValidationError as error:
        raise AgentError("garbage", f"its agent's answer can't be read: {error}", _same_version(host)) from error


def read_reply(host: Host, done: Completed) -> messages.Reply:
    """Find the reply in what the command printed: its last line, whatever a login script said before."""
    line = last_line(done.stdout)
    try:
        reply = messages.decode_reply(line.encode())
    except msgspec.MsgspecError as error:
        raise _no_reply(host, done, line) from error
    if reply.v > messages.PROTOCOL_VERSION:
        raise _newer(f"protocol {reply.v}, this rlctl {messages.PROTOCOL_VERSION}")
    return reply


def _no_reply(host: Host, done: Completed, line: str) -> HostError:
    problem = unusable(host, done)
    if problem is not None:
        return problem
    newer = _version_of(line)
    if newer is not None and newer > messages.PROTOCOL_VERSION:
        return _newer(f"protocol {newer}, this rlctl {messages.PROTOCOL_VERSION}")
    if not line and done.exit_code != 0:
        said = last_line(done.stderr) or "nothing"
        return AgentError(
            "agent-broken", f"{host.agent} call ended with {done.exit_code} and said: {_short(said)}", host.deploy_hint
        )
    shown = f"'{_short(line)}'" if line else "nothing"
    return AgentError("garbage", f"{host.agent} call printed {shown} instead of a reply", _same_version(host))


def _version_of(line: str) -> int | None:
    try:
        value = msgspec.json.decode(line.encode())
    except msgspec.MsgspecError:
        return None
    version = value.get("v") if isinstance(value, dict) else None
    return version if isinstance(version, int) else None


def _check_schema(result: object) -> None:
    version = result.get("schema_version") if isinstance(result, dict) else None
    if isinstance(version, int) and version > 1:
        raise _newer(f"status schema {version}, this rlctl 1")


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
        case "bad-request":
            return RefusedError("bad-request", f"its agent can't do that: {error.message}", error.hint)
        case "timeout":
            return AgentError("agent-timeout", f"its agent is stuck: {error.message}", f"look: rlctl logs {host.name}")


def _same_version(host: Host) -> str:
    return f"bring both to one version: {host.deploy_command}"


def _short(text: str, limit: int = 80) -> str:
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable if len(printable) <= limit else printable[: limit - 3] + "..."
