"""Runs a share of the mutants that were killed before: tests that have lost their teeth are found between full runs.

Each day of the year has another share. Of each mutant the test that noticed it is asked first, which takes a second or
two; all tests of its module only if that one notices nothing any more.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Iterator
from typing import NamedTuple

from mutation import draw, report
from mutation.judge import Judge
from mutation.modules import TESTS
from mutation.places import Mutant, Source
from mutation.sample import repeat
from mutation.stage import TIME, UNKNOWN


class Due(NamedTuple):
    """A mutant that was killed, and the test that noticed it."""

    module: str
    identity: str
    test: str


def run(names: list[str], share: float, minutes: float, day: dt.date, workers: int) -> int:
    """Try this day's share of the killed mutants of some modules, as many as the minutes allow.

    Returns 1 when a mutant survives now: the test that noticed it does so no more, and all tests of its module miss it
    twice.
    """
    begin = time.monotonic()
    due = _due(names, share, day)
    gone: list[Due] = []
    with Judge(workers) as judge:

        def survives(drawn: tuple[Mutant, str]) -> Mutant | None:
            mutant, test = drawn
            noticed = judge.still_fails(mutant, test) or any(
                judge.try_one(mutant).killed is not False for _ in range(2)
            )
            return None if noticed else mutant

        results = list(judge.each(survives, _drawn(judge, due, gone, begin + minutes * 60)))
    alive = [mutant for mutant in results if mutant]
    print(
        f"{len(results)} of the {len(due)} mutants of today tried in {time.monotonic() - begin:.0f} s, "
        f"{len(alive)} survive now, {len(gone)} are gone from the code, "
        f"{len(due) - len(results) - len(gone)} left for lack of time"
    )
    for mutant in alive:
        print(f"survives now: {repeat(mutant.module, mutant.identity)}")
    return 1 if alive else 0


def _due(names: list[str], share: float, day: dt.date) -> list[Due]:
    """Return a day's share of what tests have noticed, in random order: each has its turn within 1/share days."""
    known = report.read()
    killed = [
        Due(name, identity, test)
        for name in names
        if name in TESTS and name in known
        for identity, test in sorted(known[name].killed.items())
        if test not in (TIME, UNKNOWN)
    ]
    days = max(1, round(1 / share))
    mine = [one for number, one in enumerate(killed) if number % days == day.timetuple().tm_yday % days]
    random.Random(day.toordinal()).shuffle(mine)
    return mine


def _drawn(judge: Judge, due: list[Due], gone: list[Due], deadline: float) -> Iterator[tuple[Mutant, str]]:
    """Yield mutants with their tests until the time is up; notes what the code has no more."""
    known: dict[str, dict[str, Mutant]] = {}
    for one in due:
        if time.monotonic() > deadline:
            return
        if one.module not in known:
            wanted = [other.identity for other in due if other.module == one.module]
            known[one.module] = draw.named(Source(one.module, judge.sources.source(one.module)), wanted)
        mutant = known[one.module].get(one.identity)
        if mutant is None:
            gone.append(one)
        else:
            yield mutant, one.test
