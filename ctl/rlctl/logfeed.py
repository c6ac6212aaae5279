"""The logs of one host as records: opens the stream, knows how far it came, and what ended it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rlagent.protocol.logs import LogBeat, LogLine, LogRecord, LogStart, decode
from rlctl import skew
from rlctl.channel import Channel, Completed, last_line, unusable
from rlctl.errors import AgentError, HostError, RefusedError
from rlctl.exits import USAGE
from rlctl.hosts import Host
from rlctl.local import open_channel

NO_GAME: Final = "no-such-game"


@dataclasses.dataclass(frozen=True)
class Asked:
    """Which logs, and how much of them."""

    sources: tuple[str, ...]
    lines: int
    follow: bool


@dataclasses.dataclass(frozen=True)
class Said:
    """A record of a host, by the laptop's clock."""

    feed: Feed
    record: LogRecord
    at: float
    generation: int


@dataclasses.dataclass(frozen=True)
class Ended:
    """A stream is over; None: nothing went wrong."""

    feed: Feed
    error: HostError | None
    generation: int


@dataclasses.dataclass
class Clock:
    """A host's clock seen from the laptop: as far as its beats tell, which take their time on the way."""

    asked_at: float
    """When its stream was asked for, by the laptop's clock."""
    _least_s: float = -math.inf
    _most_s: float = math.inf

    def beat(self, at: float, now: float) -> None:
        """Take what the host's clock showed in a record that was made after the asking, and is here now."""
        self._least_s = max(self._least_s, at - now)
        self._most_s = min(self._most_s, at - self.asked_at)

    @property
    def ahead_s(self) -> float:
        """How far it is ahead; 0 where both may agree, else by the record that travelled least."""
        return 0.0 if self._least_s <= 0.0 <= self._most_s else self._least_s


class _LeftError(Exception):
    """This stream was given up; another one goes on in its place."""


class Feed:
    """The stream of one host; after an interruption it goes on behind the last line of each log."""

    def __init__(self, host: Host, asked: Asked) -> None:
        self.host = host
        self.generation = 0
        """Counts streams: what an old one still says is not heard."""
        self._asked = asked
        self._places: dict[str, str] = {}
        self._channel: Channel | None = None

    def start(self, out: queue.SimpleQueue[Said | Ended]) -> None:
        """Open a stream in the background; what it says, and its end, come through the queue."""
        self.generation += 1
        channel, old = open_channel(self.host), self._channel
        self._channel = channel
        if old is not None:  # closing a connection that hangs may hang
            threading.Thread(target=_close, args=(old,), daemon=True).start()
        threading.Thread(target=self._run, args=(channel, self.generation, out), daemon=True).start()

    def give_up(self) -> None:
        """Hear no more of the present stream."""
        self.generation += 1

    def taken(self, record: LogLine | LogStart) -> None:
        """Remember how far the reader is."""
        self._places[record.source] = record.place

    def read_all(self) -> list[Said]:
        """Return the records that there are; raises `HostError`."""
        found: list[Said] = []
        error = self._stream(open_channel(self.host), 0, found.append)
        if error is not None:
            raise error
        return found

    def _run(self, channel: Channel, generation: int, out: queue.SimpleQueue[Said | Ended]) -> None:
        def hear(said: Said) -> None:
            if generation != self.generation:
                raise _LeftError
            out.put(said)

        with contextlib.suppress(_LeftError):
            out.put(Ended(self, self._stream(channel, generation, hear), generation))

    def _stream(self, channel: Channel, generation: int, hear: Callable[[Said], None]) -> HostError | None:
        other: collections.deque[str] = collections.deque(maxlen=5)
        clock = Clock(time.time())

        def sink(line: str) -> None:
            try:
                record = decode(line.encode())
            except msgspec.MsgspecError:
                other.append(line)  # a login script's greeting; over a terminal the command's complaints too
                return
            hear(Said(self, record, _laptop_time(record, clock), generation))

        try:
            done = channel.stream(self._command(), sink, follow=self._asked.follow)
        except _LeftError:
            raise
        except HostError as error:
            return error
        except Exception as error:  # noqa: BLE001  # one host's surprise must not end the others
            return HostError("internal", f"{type(error).__name__}: {error}", "please report this")
        finally:
            if generation == 0:
                channel.close()
        return _fault(self.host, done, "".join(other))

    def _command(self) -> Sequence[str]:
        after = [word for item in self._places.items() for word in ("--after", "=".join(item))]
        follow = ["-f"] if self._asked.follow else []
        return [self.host.agent, "stream", "-n", str(self._asked.lines), *follow, *after, "--", *self._asked.sources]


def _laptop_time(record: LogRecord, clock: Clock) -> float:
    """Return a record's time by the laptop's clock: the first thing a host says is what its own clock shows."""
    now = time.time()
    if isinstance(record, LogBeat):
        clock.beat(record.at, now)
    return record.at - clock.ahead_s if isinstance(record, LogLine) else now


def _close(channel: Channel) -> None:
    with contextlib.suppress(Exception):
        channel.close()


def _fault(host: Host, done: Completed, other: str) -> HostError | None:
    """Return what is wrong with a stream that ended by itself."""
    said = (last_line(done.stderr) or last_line(other.encode())).removeprefix("rlagent: ")
    if done.exit_code == 0:
        return None
    if done.exit_code == USAGE and "invalid choice: 'stream'" in said:
        return RefusedError(
            skew.OLDER, "its agent is older and does not know the stream of logs", f"upgrade it: {host.deploy_command}"
        )
    if done.exit_code == USAGE and said:
        return RefusedError(NO_GAME, said)
    return unusable(host, done) or AgentError(
        "agent-broken", f"rlagent stream ended with {done.exit_code} and said: {said or 'nothing'}", host.deploy_hint
    )
