"""One function maps hosts to results or errors, as data, under one deadline; knows nothing of SSH or agents."""

from __future__ import annotations

import copy
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rlctl.errors import ConnectError, HostError
from rlctl.hosts import Host

T = TypeVar("T")


class Deadline:
    """An instant on the monotonic clock that all work of a command shares, and what one host is waited for."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s
        self._stage = ""
        self._hint = "is it up? Give it more time with --timeout"

    def of_one_host(self) -> Deadline:
        """Return the same instant for a host of its own."""
        return copy.copy(self)

    def waiting_for(self, stage: str, hint: str) -> None:
        """Note how far a host has come, for the error of one that comes no further in time."""
        self._stage, self._hint = stage, hint

    def left_s(self) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self._at - time.monotonic())

    def missed(self) -> ConnectError:
        """Return the error of a host that did not make it."""
        stage = f": {self._stage}" if self._stage else ""
        return ConnectError("timeout", f"no answer within {self.timeout_s:g} s{stage}", self._hint)


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of one host: a value or an error, never both."""

    host: Host
    value: T | None = None
    error: HostError | None = None
    warning: str | None = None
    """What a person should know of it, though it answered."""


def gather(
    hosts: Sequence[Host],
    work: Callable[[Host, Deadline], T],
    timeout_s: float,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[Outcome[T]]:
    """Do the work for all hosts at once; return an outcome for each, in their order, when all are in or time is up.

    Threads that miss the deadline are left behind (they are daemons, so that the program can end without them).
    `meanwhile` is done in this thread before it waits.
    """
    deadline = Deadline(timeout_s)
    deadlines = [deadline.of_one_host() for _ in hosts]
    done: queue.SimpleQueue[tuple[int, Outcome[T]]] = queue.SimpleQueue()
    for index, host in enumerate(hosts):
        arguments = (index, host, work, deadlines[index], done)
        threading.Thread(target=_one, args=arguments, name=host.name, daemon=True).start()
    meanwhile()
    outcomes: dict[int, Outcome[T]] = {}
    while len(outcomes) < len(hosts):
        try:
            index, outcome = done.get(timeout=deadline.left_s())
        except queue.Empty:
            break
        outcomes[index] = outcome
    return [outcomes.get(index) or Outcome(host, error=deadlines[index].missed()) for index, host in enumerate(hosts)]


def _one(
    index: int,
    host: Host,
    work: Callable[[Host, Deadline], T],
    deadline: Deadline,
    done: queue.SimpleQueue[tuple[int, Outcome[T]]],
) -> None:
    try:
        outcome = Outcome(host, value=work(host, deadline))
    except HostError as error:
        outcome = Outcome(host, error=error)
    except Exception as error:  # noqa: BLE001  # one host's surprise must not hide the others
        outcome = Outcome(host, error=HostError("internal", f"{type(error).__name__}: {error}", "please report this"))
    done.put((index, outcome))
