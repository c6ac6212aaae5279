"""An environment worker: a process that plays some of the games.

    python -m rltrainer.atari.worker SOCKET MEMORY GO,DONE [GO,DONE ...]

The arguments are inherited descriptors. It ends when its trainer does: the socket reports end of file, whatever the
trainer died of. Signals are the trainer's business; those that go to the whole process group are ignored here.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NoReturn

import numpy as np
from numpy.random import SeedSequence

from rltrainer.atari import game, memory, messages
from rltrainer.atari.game import Game
from rltrainer.atari.messages import Fault, Ready, Request, Reset, Restore, Save, Setup, States


class Worker:
    """The games of one process."""

    def __init__(self, setup: Setup, arrays: memory.Arrays) -> None:
        self._arrays = arrays
        self._groups = setup.groups
        self._games = {env: _game(setup, env, arrays) for group in setup.groups for env in group}

    @property
    def num_actions(self) -> int:
        """How many actions a step can choose from."""
        return next(iter(self._games.values())).num_actions

    def step(self, group: int) -> None:
        """Play each environment's action."""
        arrays = self._arrays
        for env in self._groups[group]:
            each = self._games[env]
            arrays.scores[env], arrays.over[env] = each.step(int(arrays.actions[env]))
            arrays.lives[env] = each.lives

    def answer(self, request: Request) -> States:
        """Do what the trainer wants outside the steps."""
        match request:
            case Save():
                return States(states={env: each.save() for env, each in self._games.items()})
            case Restore(states=states):
                for env, state in states.items():
                    self._games[env].restore(state)
                    self._arrays.lives[env] = self._games[env].lives
            case Reset(envs=envs):
                for env in envs:
                    self._games[env].reset()
                    self._arrays.lives[env] = self._games[env].lives
            case Setup():
                raise ValueError("set up twice")
        return States(states={})


def _game(setup: Setup, env: int, arrays: memory.Arrays) -> Game:
    seed = SeedSequence([setup.seed, env]).generate_state(1, np.uint64)  # each environment's own, far from the next
    return Game(setup.rules, int(seed[0]), arrays.obs[env])


def serve(connection: Connection, descriptor: int, counters: list[tuple[int, int]]) -> NoReturn:
    """Play until the trainer is gone."""
    setup = messages.request(connection)
    if not isinstance(setup, Setup):
        raise TypeError(f"{type(setup).__name__} before Setup")
    game.quiet_emulator()
    worker = Worker(setup, memory.attach(descriptor, setup.num_envs))
    messages.send(connection, Ready(num_actions=worker.num_actions))
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    groups = {go: group for group, (go, _) in enumerate(counters)}
    for go in groups:
        poll.register(go, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in groups:
                os.eventfd_read(ready)
                worker.step(groups[ready])
                os.eventfd_write(counters[groups[ready]][1], 1)
            else:
                messages.send(connection, worker.answer(messages.request(connection)))


def main(argv: list[str]) -> int:
    """Serve; a fault is told to the trainer, its death is no fault."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The trainer, which wakes one worker after another, is not preempted by the first.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    connection = Connection(int(argv[0]))
    counters = [(int(go), int(done)) for go, done in (pair.split(",") for pair in argv[2:])]
    try:
        serve(connection, int(argv[1]), counters)
    except (EOFError, ConnectionError):
        return 0
    except Exception as error:  # noqa: BLE001 - whatever it is, the trainer must learn of it
        with suppress(OSError):
            messages.send(connection, Fault(what=f"{type(error).__name__}: {error}"))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
