"""One function maps hosts to results or errors, as data, under one deadline; knows nothing of SSH or agents."""

from __future__ import annotations

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
    """An instant on the monotonic clock that all work of a command shares."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Return the seconds left, never less than 0."""
        return max(0.0, self._at - time.monotonic())

    def missed(self) -> ConnectError:
        """Return the error of a host that did not make it."""
        return ConnectError(
            "timeout", f"no answer within {self.timeout_s:g} s", "is it up? Give it more time with --timeout"
        )


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of one host: a value or an error, never both."""

    host: Host
    value: T | None = None
    error: HostError | None = None


def gather(hosts: Sequence[Host], work: Callable[[Host, Deadline], T], timeout_s: float) -> list[Outcome[T]]:
    """Do the work for all hosts at once; return an outcome for each, in their order, when all are in or time is up.

    Threads that miss the deadline are left behind (they are daemons, so that the program can end without them).
    """
    deadline = Deadline(timeout_s)
    done: queue.SimpleQueue[tuple[int, Outcome[T]]] = queue.SimpleQueue()
    for index, host in enumerate(hosts):
        threading.Thread(target=_one, args=(index, host, work, deadline, done), name=host.name, daemon=True).start()
    outcomes: dict[int, Outcome[T]] = {}
    while len(outcomes) < len(hosts):
        try:
            index, outcome = done.get(timeout=deadline.left_s())
        except queue.Empty:
            break
        outcomes[index] = outcome
    return [outcomes.get(index) or Outcome(host, error=deadline.missed()) for index, host in enumerate(hosts)]


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
