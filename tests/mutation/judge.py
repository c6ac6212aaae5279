"""Tries mutants, several at a time, and says of each whether a test noticed.

Owns the verdicts: killed, or survived. What survives the quick tests of its module is tried with the slow ones. A test
that notices a mutant has to pass without one.
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
from mutation.stage import TIME, UNKNOWN, Outcome, Stage

FOLDER = modules.ROOT / "build" / "mutation_sample"
ALL_TESTS_S = 900.0
"""What takes longer is ended; a single test that hangs ends far sooner (stage.ONE_TEST_S)."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Verdict:
    """What came of one mutant."""

    mutant: Mutant
    killed: bool | None
    """None: the test that noticed it fails without a mutant as well."""
    seconds: float
    noticed_by: str
    """The test that failed first."""
    output: str


class Judge:
    """Workers, each with a copy of the checkout, and what tests say without a mutant."""

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
            for tests in filter(None, (modules.quick(mutant.module), modules.slow(mutant.module))):
                outcome = stage.try_out(tests, ALL_TESTS_S, module=mutant.module, text=mutant.source)
                if not outcome.passed:
                    break
            failing = "" if outcome.passed else self._fails_anyway(stage, outcome.noticed_by, tests)
        finally:
            self._stages.put(stage)
        killed = None if failing else not outcome.passed
        return Verdict(mutant, killed, time.monotonic() - begin, outcome.noticed_by, failing or outcome.output)

    def still_fails(self, mutant: Mutant, test: str) -> bool:
        """Whether one test still notices a mutant; it is trusted to pass without one."""
        stage = self._stages.get()
        try:
            return stage.try_out([test], ALL_TESTS_S, module=mutant.module, text=mutant.source).failed
        finally:
            self._stages.put(stage)

    def _fails_anyway(self, stage: Stage, test: str, tests: list[str]) -> str:
        """Return what the test that failed says without any mutant, if it fails then as well; else nothing.

        Only tests that have noticed something are tried so, once in a run: all of them would take longer than most
        mutants do.
        """
        tried = tuple(tests) if test in (TIME, UNKNOWN) else (test,) if "::" in test else (test, "--collect-only")
        with self._lock:
            lock = self._locks.setdefault(tried, threading.Lock())
        with lock:
            if tried not in self._unmutated:
                outcome = stage.try_out(tried, ALL_TESTS_S)
                if not outcome.passed:
                    # Among real processes on a busy machine a test may fail once.
                    outcome = stage.try_out(tried, ALL_TESTS_S)
                self._unmutated[tried] = outcome
        outcome = self._unmutated[tried]
        return "" if outcome.passed else f"{' '.join(tried)} fails without a mutant:\n{outcome.output[-4000:]}"


def _remove_left_behind() -> None:
    """Remove the copies of runs that were killed."""
    for folder in FOLDER.glob("*"):
        if not Path("/proc", folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)
