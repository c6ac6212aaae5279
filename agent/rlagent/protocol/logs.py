"""What `rlagent stream` prints: a JSON object on each line, one for each line of the logs it was asked for.

A place names where a line ends in its file, whatever the file is called by now: a reader that was cut off gives the
last one back, and gets every later line once.
"""

from __future__ import annotations

from typing import Final

import msgspec

AGENT: Final = "agent"
"""The source that is the agent's own log; every other one is a game."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="line"):
    """One line."""

    source: str
    at: float
    """Seconds since the epoch by the host's clock: the line's own time where it begins with one, else when it came."""
    text: str
    """Without its end."""
    place: str


class LogStart(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="start"):
    """Where the reading of a source begins, so that it can go on there although no line has come yet."""

    source: str
    place: str


class LogBeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="beat"):
    """The stream is alive; the first thing that is said, and again every few seconds."""

    at: float
    """Now, by the host's clock."""
    host_uuid: str | None = None
    """Who speaks."""


class LogNotice(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="notice"):
    """Something a reader must know."""

    text: str


LogRecord = LogLine | LogStart | LogBeat | LogNotice
_RECORDS: Final[msgspec.json.Decoder[LogRecord]] = msgspec.json.Decoder(LogRecord)
# Made here, in one thread: many read at once (see `rlctl.agent.look_at`).


def decode(line: bytes) -> LogRecord:
    """Read a record; raises `msgspec.ValidationError` or `msgspec.DecodeError` when it isn't one."""
    return _RECORDS.decode(line)
