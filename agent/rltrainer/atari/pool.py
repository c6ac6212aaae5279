"""The environment workers, seen from the trainer: start, step, save, restore, and notice when one dies.

A step costs each worker two system calls on eventfd counters, whose sleepers take no CPU time; the actions and what
came of them lie in shared memory. Environments are dealt to workers in turn, so that each has its share of a group.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Final, NoReturn

from rltrainer.atari import memory, messages
from rltrainer.atari.messages import Fault, Ready, Request, Reset, Restore, Save, Setup, States
from rltrainer.atari.rules import GameState, Rules
from rltrainer.errors import WorkerLostError

_ONE_THREAD: Final = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


_ENDING_MAX_S: Final = 10.0
"""A worker that dies closes its connection a moment before its parent can see how; longer where memory is short."""


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    envs: list[int]
    go: list[int]
    """An eventfd for each group."""
    done: list[int]
    """Likewise; reading it does not wait."""
    waits: list[select.poll]
    """For each group: until it has played, or the worker is dead."""


class Pool:
    """Processes that play `num_envs` games in `num_groups` groups, which are stepped independently of each other.

    Construction returns at once; the first request waits for the games.
    """

    def __init__(self, rules: Rules, *, seed: int, num_envs: int, num_workers: int, num_groups: int = 1) -> None:
        self.groups = _split(range(num_envs), num_groups)
        """The environments of each group: adjacent ones."""
        descriptor = memory.create(num_envs)
        self.arrays = memory.attach(descriptor, num_envs)
        self._num_actions: int | None = None
        self._workers: list[_Worker] = []
        num_workers = min(num_workers, *(len(group) for group in self.groups))
        for index in range(num_workers):
            shares = [list(group[index::num_workers]) for group in self.groups]
            setup = Setup(rules=rules, seed=seed, num_envs=num_envs, groups=shares)
            self._workers.append(_start(setup, descriptor))
        os.close(descriptor)

    @property
    def num_actions(self) -> int:
        """How many actions a step can choose from; waits for the games to be made.

        Raises:
            WorkerLostError: a worker died.
        """
        if self._num_actions is None:
            for worker in self._workers:
                ready = self._reply(worker)
                if isinstance(ready, Ready):
                    self._num_actions = ready.num_actions
        if self._num_actions is None:
            raise WorkerLostError("an environment worker did not say how many actions its game has")
        return self._num_actions

    @property
    def pids(self) -> list[int]:
        """The workers' processes."""
        return [worker.process.pid for worker in self._workers]

    def send(self, group: int) -> None:
        """Let a group play the actions that stand in `arrays.actions`."""
        for worker in self._workers:
            os.eventfd_write(worker.go[group], 1)

    def receive(self, group: int) -> None:
        """Wait until a group has played.

        Raises:
            WorkerLostError: a worker died.
        """
        for worker in self._workers:
            try:  # while the first was waited for, most others have come to their end
                os.eventfd_read(worker.done[group])
            except BlockingIOError:
                if worker.done[group] not in dict(worker.waits[group].poll()):
                    self._lost(worker)
                os.eventfd_read(worker.done[group])

    def reset(self, envs: Sequence[int]) -> None:
        """Begin a new game in each of these environments; every group must be at rest."""
        self._ask({i: Reset(envs=[e for e in envs if e in w.envs]) for i, w in enumerate(self._workers)})

    def save(self) -> list[GameState]:
        """Return the state of every game, without its stacked frames; every group must be at rest."""
        states = self._ask(dict.fromkeys(range(len(self._workers)), Save()))
        return [states[env] for env in sorted(states)]

    def restore(self, states: Mapping[int, GameState]) -> None:
        """Put environments into states; their frames in `arrays.obs` are the caller's to restore."""
        self._ask(
            {
                index: Restore(states={env: state for env, state in states.items() if env in worker.envs})
                for index, worker in enumerate(self._workers)
            }
        )

    def close(self) -> None:
        """End the workers; nothing may be called afterwards."""
        for worker in self._workers:
            worker.connection.close()
            for descriptor in (*worker.go, *worker.done):
                os.close(descriptor)
        for worker in self._workers:
            try:
                worker.process.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()

    def _ask(self, requests: Mapping[int, Request]) -> dict[int, GameState]:
        _ = self.num_actions  # every worker has answered its set-up
        states: dict[int, GameState] = {}
        for index, request in requests.items():
            try:
                messages.send(self._workers[index].connection, request)
            except OSError:
                self._lost(self._workers[index])
        for index in requests:
            reply = self._reply(self._workers[index])
            if isinstance(reply, States):
                states |= reply.states
        return states

    def _reply(self, worker: _Worker) -> Ready | States:
        try:
            reply = messages.reply(worker.connection)
        except (EOFError, OSError):
            self._lost(worker)
        if isinstance(reply, Fault):
            raise WorkerLostError(f"an environment worker failed ({reply.what}); start again to resume")
        return reply

    def _lost(self, worker: _Worker) -> NoReturn:
        """Say how a worker ended."""
        with suppress(EOFError, OSError):
            fault = messages.reply(worker.connection)
            if isinstance(fault, Fault):
                raise WorkerLostError(f"an environment worker failed ({fault.what}); start again to resume")
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=_ENDING_MAX_S)
        raise WorkerLostError(
            f"an environment worker (PID {worker.process.pid}) {_ending(worker.process.returncode)}; start again to "
            "resume from the last checkpoint"
        )


def _split(envs: range, parts: int) -> list[range]:
    bounds = [len(envs) * part // parts for part in range(parts + 1)]
    return [envs[start:end] for start, end in itertools.pairwise(bounds)]


def _start(setup: Setup, memory_descriptor: int) -> _Worker:
    ours, theirs = Pipe()  # a socket pair
    go = [os.eventfd(0, os.EFD_CLOEXEC) for _ in setup.groups]
    done = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in setup.groups]
    pairs = [f"{one},{other}" for one, other in zip(go, done, strict=True)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rltrainer.atari.worker", str(theirs.fileno()), str(memory_descriptor), *pairs],
        pass_fds=(theirs.fileno(), memory_descriptor, *go, *done),
        stdin=subprocess.DEVNULL,
        env=os.environ | _ONE_THREAD,
    )
    theirs.close()
    messages.send(ours, setup)
    waits = [_wait(each, ours.fileno()) for each in done]
    return _Worker(process, ours, [env for group in setup.groups for env in group], go, done, waits)


def _wait(*descriptors: int) -> select.poll:
    poll = select.poll()
    for each in descriptors:
        poll.register(each, select.POLLIN)
    return poll


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "closed its connection"
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {returncode}"
