"""What the trainer and an environment worker say to each other outside the steps, over a socket pair.

Steps themselves need no message: `go` and `done` are two counters of the kernel (eventfd), the rest is shared memory.
The socket's end of file is each side's news of the other's death.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Final

import msgspec

from rltrainer.atari.rules import GameState, Rules


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker, first: make these games."""

    rules: Rules
    seed: int
    num_envs: int
    """In the whole shared memory."""
    groups: list[list[int]]
    """Environments of this worker; each group is stepped by an eventfd of its own."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: the games are made."""

    num_actions: int


class Reset(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: begin a new game in each of these environments."""

    envs: list[int]


class Save(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: what state are your games in?"""


class Restore(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: put these environments into these states."""

    states: dict[int, GameState]


class States(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: after Save all its games' states, after Reset and Restore none."""

    states: dict[int, GameState]


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker, as its last word."""

    what: str


Request = Setup | Reset | Save | Restore
Reply = Ready | States | Fault

_REQUESTS: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_REPLIES: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def send(connection: Connection, message: Request | Reply) -> None:
    """Send a message; raises OSError when the other side is dead."""
    connection.send_bytes(msgspec.msgpack.encode(message))


def request(connection: Connection) -> Request:
    """Wait for what the trainer wants; raises EOFError when it is dead."""
    return _REQUESTS.decode(connection.recv_bytes())


def reply(connection: Connection) -> Reply:
    """Wait for what a worker answers; raises EOFError or OSError when it is dead."""
    return _REPLIES.decode(connection.recv_bytes())
