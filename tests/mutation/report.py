"""What is known of the modules that are sampled: tests/mutation_sample.json, read, merged, written and shown.

By module: how many places it has, which mutants were tried and killed, which survivors change nothing that a test
could see (tests/mutation_equivalents.toml says why), and which are gaps of the tests. Runs add up; a mutant whose line
is gone from the code leaves the report with the next run of its module.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import tomllib

from mutation.modules import ROOT

REPORT = ROOT / "tests" / "mutation_sample.json"
LOCK = ROOT / "build" / "mutation_sample.lock"
EQUIVALENTS = ROOT / "tests" / "mutation_equivalents.toml"


@dataclass
class Found:
    """What is known of one module."""

    places: int = 0
    killed: dict[str, str] = field(default_factory=dict)
    """By mutant: the test that noticed it first."""
    survived: set[str] = field(default_factory=set)

    def add(self, identity: str, noticed_by: str | None) -> None:
        """Note a verdict, which replaces an older one: the test that noticed it, or None."""
        self.survived.discard(identity)
        self.killed.pop(identity, None)
        if noticed_by is None:
            self.survived.add(identity)
        else:
            self.killed[identity] = noticed_by

    def keep(self, identities: Iterable[str]) -> None:
        """Forget what the code has no more."""
        left = set(identities)
        self.killed = {one: test for one, test in self.killed.items() if one in left}
        self.survived &= left

    def gaps(self, module: str) -> list[str]:
        """Return the survivors that nobody has explained."""
        return sorted(self.survived - set(equivalents(module)))


def equivalents(module: str) -> dict[str, str]:
    """Return the known survivors of a module, each with its reason."""
    return dict(tomllib.loads(EQUIVALENTS.read_text()).get(module, {}))


def read() -> dict[str, Found]:
    """Return what was found before."""
    if not REPORT.exists():
        return {}
    return {
        module: Found(kept["places"], kept["killed"], {*kept["equivalent"], *kept["gaps"]})
        for module, kept in json.loads(REPORT.read_text()).items()
    }


@contextlib.contextmanager
def changed() -> Iterator[dict[str, Found]]:
    """Read the report for a change, and write it: several runs may share one checkout."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = read()
        yield report
        as_json = {name: _as_json(name, report[name]) for name in sorted(report)}
        new = LOCK.with_suffix(".json")
        new.write_text(json.dumps(as_json, indent=1, ensure_ascii=False) + "\n")
        new.replace(REPORT)


def _as_json(module: str, found: Found) -> dict[str, object]:
    known = equivalents(module)
    return {
        "places": found.places,
        "sampled": len(found.killed) + len(found.survived),
        "equivalent": {one: known[one] for one in sorted(found.survived) if one in known},
        "gaps": found.gaps(module),
        "killed": dict(sorted(found.killed.items())),
    }


def table(report: dict[str, Found]) -> str:
    """Return the report as a table, a row for each module, with the sum below."""
    rows = [("module", "places", "sampled", "killed", "equivalent", "gaps")]
    sums = [0] * 5
    for name in sorted(report):
        found = report[name]
        gaps = len(found.gaps(name))
        alive = len(found.survived)
        numbers = [found.places, len(found.killed) + alive, len(found.killed), alive - gaps, gaps]
        sums = [a + b for a, b in zip(sums, numbers, strict=True)]
        rows.append((name, *map(str, numbers)))
    rows.append(("all", *map(str, sums)))
    return "\n".join(f"{name:30}" + "".join(f"{cell:>11}" for cell in cells) for name, *cells in rows)
