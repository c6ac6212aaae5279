"""Tries mutants, several at a time, and says of each whether a test noticed.

Owns the verdicts: killed, or survived. A mutant that makes the tests take far longer than they take without it is
killed too. What survives the quick tests of its module is tried once more with the slow ones.
"""

from __future__ import annotations

import itertools
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mutation import modules
from mutation.places import Mutant
from mutation.stage import Outcome, Stage

FOLDER = modules.ROOT / "build" / "mutation_sample"
UNMUTATED_TIMEOUT_S = 900.0
ONE_TEST_S = 120.0
PATIENCE = 3.0
"""A mutant's tests may take so many times as long as without it,"""
PATIENCE_S = 20.0
"""and so much longer: under another load they are slower."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Verdict:
    """What came of one mutant."""

    mutant: Mutant
    killed: bool | None
    """None: its module's tests fail without any mutant, too."""
    seconds: float
    noticed_by: str
    """The test that failed first."""
    output: str


class Judge:
    """Workers, each with a copy of the checkout, and how long each set of tests takes."""

    def __init__(self, workers: int) -> None:
        self._stages: queue.SimpleQueue[Stage] = queue.SimpleQueue()
        self._workers = workers
        self._folder = FOLDER / str(os.getpid())
        """Of this run alone: several may use one checkout."""
        self._unmutated: dict[tuple[str, ...], Outcome] = {}
        self._locks: dict[tuple[str, ...], threading.Lock] = {}
        self._lock = threading.Lock()

    def __enter__(self):
        _remove_left_behind()
        for number in range(self._workers):
            stage = Stage(self._folder / str(number))
            stage.build()
            self._stages.put(stage)
        self.sources = Stage(self._folder / "0")
        """For reading: its texts are those of before the first mutant, once read."""
        for module in modules.TESTS:
            self.sources.source(module)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def try_all(self, mutants: Iterable[Mutant]) -> Iterator[Verdict]:
        """Try mutants and yield verdicts as they come."""
        return self.each(self.try_one, mutants)

    def each(self, do: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Do something with each item, as many at a time as there are workers, and yield the results as they come.

        Items are drawn one by one as workers become free: whoever draws them may stop at any time.
        """
        waiting, running = iter(items), set()
        with ThreadPoolExecutor(self._workers) as pool:
            running |= {pool.submit(do, item) for item in itertools.islice(waiting, self._workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(do, item) for item in itertools.islice(waiting, len(done))}
                yield from (future.result() for future in done)

    def try_one(self, mutant: Mutant) -> Verdict:
        """Try one mutant on a free worker."""
        stage = self._stages.get()
        begin = time.monotonic()
        try:
            outcome = self._ask(stage, mutant, modules.quick(mutant.module))
            if outcome.passed and (slow := modules.slow(mutant.module)):
                outcome = self._ask(stage, mutant, slow)
            verdict = not outcome.passed, time.monotonic() - begin, outcome.noticed_by, outcome.output
        except _TestsFailError as error:
            verdict = None, time.monotonic() - begin, "", str(error)
        finally:
            self._stages.put(stage)
        return Verdict(mutant, *verdict)

    def still_fails(self, mutant: Mutant, test: str) -> bool:
        """Whether one test still notices a mutant; it is trusted to pass without one."""
        stage = self._stages.get()
        try:
            return stage.try_out([test], ONE_TEST_S, module=mutant.module, text=mutant.source).failed
        finally:
            self._stages.put(stage)

    def _ask(self, stage: Stage, mutant: Mutant, tests: list[str]) -> Outcome:
        timeout_s = self._duration(stage, tests) * PATIENCE + PATIENCE_S
        outcome = stage.try_out(tests, timeout_s, module=mutant.module, text=mutant.source)
        if outcome.timed_out:
            # Too slow for the mutant's sake, or for another program's that keeps this machine busy?
            longer_s = self._duration(stage, tests, again=True) * PATIENCE + PATIENCE_S
            if longer_s > timeout_s:
                outcome = stage.try_out(tests, longer_s, module=mutant.module, text=mutant.source)
        return outcome

    def _duration(self, stage: Stage, tests: list[str], *, again: bool = False) -> float:
        """Return how long these tests take without a mutant, and find out whether they pass at all."""
        key = tuple(tests)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._unmutated or again:
                outcome = stage.try_out(tests, UNMUTATED_TIMEOUT_S)
                if not outcome.passed:
                    # Among real processes on a busy machine a test may fail once.
                    outcome = stage.try_out(tests, UNMUTATED_TIMEOUT_S)
                self._unmutated[key] = outcome
            outcome = self._unmutated[key]
        if not outcome.passed:
            raise _TestsFailError(f"{' '.join(tests)} fail without a mutant:\n{outcome.output[-4000:]}")
        return outcome.seconds


def _remove_left_behind() -> None:
    """Remove the copies of runs that were killed."""
    for folder in FOLDER.glob("*"):
        if not Path("/proc", folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)


class _TestsFailError(Exception):
    """Tests fail without any mutant: nothing can be said."""
