"""Runs a share of the mutants that were killed before: tests that have lost their teeth are found between full runs.

Each day of the year has another share. Exit code 1: a mutant that was killed survives now, twice.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Iterator

from mutation import draw, report
from mutation.judge import Judge, TestsFailError
from mutation.modules import TESTS
from mutation.places import Mutant, Source
from mutation.sample import repeat


def run(names: list[str], share: float, minutes: float, day: dt.date, workers: int) -> int:
    """Try this day's share of the killed mutants of some modules, as many as the minutes allow."""
    begin = time.monotonic()
    due = _due(names, share, day)
    counts = {"tried": 0, "gone": 0}
    alive = []
    with Judge(workers) as judge:
        try:
            for verdict in judge.try_all(_drawn(judge, due, counts, begin + minutes * 60)):
                counts["tried"] += 1
                if not verdict.killed and not judge.try_one(verdict.mutant).killed:
                    alive.append(verdict.mutant)
        except TestsFailError as error:
            print(error)
            return 2
    rest = len(due) - counts["tried"] - counts["gone"]
    seconds = time.monotonic() - begin
    print(
        f"{counts['tried']} of {len(due)} mutants that were killed before tried in {seconds:.0f} s, "
        f"{len(alive)} survive now, {counts['gone']} gone from the code, {rest} left for lack of time"
    )
    for mutant in alive:
        print(f"survives now: {repeat(mutant.module, mutant.identity)}")
    return 1 if alive else 0


def _due(names: list[str], share: float, day: dt.date) -> list[tuple[str, str]]:
    """Return a day's share of what was killed: every mutant has its turn within 1/share days.

    Mutants of one module stand together, as their tests run once without a mutant first; the modules in random order.
    """
    known = report.read()
    killed = [(name, one) for name in names if name in TESTS and name in known for one in sorted(known[name].killed)]
    days = max(1, round(1 / share))
    mine = [one for number, one in enumerate(killed) if number % days == day.timetuple().tm_yday % days]
    order = sorted({name for name, _ in mine})
    random.Random(day.toordinal()).shuffle(order)
    return sorted(mine, key=lambda one: order.index(one[0]))


def _drawn(judge: Judge, due: list[tuple[str, str]], counts: dict[str, int], deadline: float) -> Iterator[Mutant]:
    known: dict[str, dict[str, Mutant]] = {}
    for name, identity in due:
        if time.monotonic() > deadline:
            return
        if name not in known:
            wanted = [one for module, one in due if module == name]
            known[name] = draw.named(Source(name, judge.sources.source(name)), wanted)
        if identity in known[name]:
            yield known[name][identity]
        else:
            counts["gone"] += 1
