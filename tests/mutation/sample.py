"""Draws, tries and keeps mutants outside the policy."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mutation import draw, report
from mutation.judge import Judge, Verdict
from mutation.places import Mutant, Place, Source


@dataclass(frozen=True)
class Wanted:
    """What to try in some modules: so many places drawn by a seed, or what one of the others says."""

    seed: str
    count: int
    every: bool = False
    gaps: bool = False
    mutants: tuple[str, ...] = ()
    """Only these, by identity."""


def run(names: list[str], wanted: Wanted, workers: int) -> int:
    """Try what is wanted and keep what was found; returns 1 when there are gaps in these modules.

    Returns 2 when a test fails without a mutant as well.
    """
    failing: dict[str, str] = {}
    with Judge(workers) as judge:
        sources = {name: Source(name, judge.sources.source(name)) for name in names}
        places = {name: source.places() for name, source in sources.items()}
        with report.changed() as found:
            for name in names:
                _prepare(found.setdefault(name, report.Found()), sources[name], places[name])
        mutants = list(_mutants(sources, places, wanted, found))
        total = sum(map(len, places.values()))
        print(f"seed {wanted.seed}: {len(mutants)} mutants of {total} places, {workers} at a time", flush=True)
        for number, verdict in enumerate(judge.try_all(mutants), 1):
            _tell(number, len(mutants), verdict, show=bool(wanted.mutants))
            if verdict.killed is None:
                failing[verdict.output] = verdict.mutant.module
                continue
            with report.changed() as found:
                one = found.setdefault(verdict.mutant.module, report.Found())
                one.add(verdict.mutant.identity, verdict.noticed_by if verdict.killed else None)
    tried = {name: one for name, one in report.read().items() if name in names}
    print(report.table(tried))
    gaps = [(name, gap) for name, one in tried.items() for gap in one.gaps(name)]
    for name, gap in gaps:
        print(f"gap: {repeat(name, gap)}")
    for output, module in failing.items():
        print(f"{module}: {output}")
    return 2 if failing else 1 if gaps else 0


def repeat(module: str, identity: str) -> str:
    """Return the command that tries one mutant again."""
    return f"python tests/mutation {module} --mutant {shlex.quote(identity)}"


def _prepare(found: report.Found, source: Source, places: list[Place]) -> None:
    found.places = len(places)
    found.keep(draw.named(source, [*found.killed, *found.survived]))


def _mutants(
    sources: dict[str, Source], places: dict[str, list[Place]], wanted: Wanted, found: dict[str, report.Found]
) -> Iterator[Mutant]:
    if wanted.every:
        for source in sources.values():
            yield from draw.every(source)
    elif wanted.gaps or wanted.mutants:
        for name, source in sources.items():
            yield from draw.named(source, found[name].gaps(name) if wanted.gaps else wanted.mutants).values()
    else:
        order = draw.ranked(itertools.chain.from_iterable(places.values()), wanted.seed)
        drawn = (draw.variant(place, wanted.seed, sources[place.module].text) for place in order)
        yield from itertools.islice(filter(None, drawn), wanted.count)


def _tell(number: int, total: int, verdict: Verdict, *, show: bool) -> None:
    word = {True: "killed", False: "SURVIVED", None: "NOT TRIED"}[verdict.killed]
    if verdict.killed is False and verdict.mutant.identity in report.equivalents(verdict.mutant.module):
        word = "equivalent"
    mutant = f"{verdict.mutant.module} {verdict.mutant.identity}"
    by = f"  ({verdict.noticed_by.rpartition('/')[2]})" if verdict.killed else ""
    print(f"{number}/{total} {word:10} {verdict.seconds:5.1f} s  {mutant}{by}", flush=True)
    if show:
        print(verdict.output[-3000:])
