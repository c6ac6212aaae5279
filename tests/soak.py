"""How much of each large count a run does and from which seed: `make test` a sample, `make soak` everything.

Each day (in UTC) has a seed of its own, so that every run looks at something new and all of one day look at the same;
RLFLEET_TEST_SEED repeats a day's. A plugin of pytest: tests say with `parts`, `tenth` and `examples` what soak does of
theirs, and `--soak` chooses.

    pytest                    the samples
    pytest --soak             everything that is too long for every run
    pytest --soak 3/10        the third tenth of that; RLFLEET_SOAK=3/10 does the same
    pytest --soak today       the tenth whose turn it is, by the day of the year
"""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")
TODAY = dt.datetime.now(dt.UTC)
SEED = int(os.environ.setdefault("RLFLEET_TEST_SEED", f"{TODAY:%Y%m%d}"))
"""The day's. In the environment, so that xdist's workers agree on it at midnight."""
SEEDS_A_DAY = 10**6
TENTHS = 10
LONGER = 20
"""Times the examples of a property test."""
TIMEOUT_S = 3600
ALL = "all"

_chosen: list[str | None] = [None]
"""ALL, K/10, or None for the samples; set once, before any test is collected."""


def parts(name: str, *, sample: int, whole: int, each: int) -> pytest.MarkDecorator:
    """Parametrize a test with ranges of seeds: of `sample` seeds in every run, of `whole` in soak, `each` a test.

    Two days, and a sample and soak of one day, have no seed in common.
    """
    first = SEED * SEEDS_A_DAY
    assert whole % (TENTHS * each) == 0, "a tenth is made of whole tests"
    found = [pytest.param(seeds, id=f"sample-{n}") for n, seeds in enumerate(_cut(first + whole, sample, each), 1)]
    for number, seeds in enumerate(_cut(first, whole, each)):
        turn, k = divmod(number, TENTHS)
        found.append(pytest.param(seeds, id=f"soak-{k + 1}of{TENTHS}-{turn + 1}", marks=tenth(k + 1)))
    return pytest.mark.parametrize(name, found)


def _cut(first: int, count: int, each: int) -> Iterator[range]:
    for begin in range(first, first + count, each):
        yield range(begin, min(begin + each, first + count))


def tenth(number: int) -> pytest.MarkDecorator:
    """Mark what only soak does, in this tenth of it."""
    assert 1 <= number <= TENTHS
    return pytest.mark.soak(number)


def drawn(values: Sequence[T], count: int) -> list[T]:
    """Return the day's choice among some values, in their order."""
    chosen = random.Random(SEED).sample(range(len(values)), count)
    return [values[n] for n in sorted(chosen)]


def examples(count: int) -> int:
    """Return how many examples a test does that is marked `longer`: more in soak, their share in a tenth of it."""
    return count * {None: 1, ALL: LONGER}.get(_chosen[0], LONGER // TENTHS)


def chosen(text: str | None) -> str | None:
    """Return what `--soak` asks for as ALL or K/10; raises ValueError."""
    if text in (None, "", ALL):
        return text or None
    if text == "today":
        return f"{TODAY.timetuple().tm_yday % TENTHS or TENTHS}/{TENTHS}"
    found = re.fullmatch(rf"(\d+)/{TENTHS}", text)
    if found is None or not 1 <= int(found[1]) <= TENTHS:
        raise ValueError(f"--soak {text}: neither 1/{TENTHS} to {TENTHS}/{TENTHS} nor `today` (paths come before it)")
    return text


def takes(share: str | None, tenths: Sequence[int], *, longer: bool) -> bool:
    """Whether a run of this share does a test that soak does in these tenths, or that soak makes longer."""
    if share is None:
        return not tenths
    return longer or bool(tenths if share == ALL else int(share.partition("/")[0]) in tenths)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    how = "run what is too long for every run: all of it, a tenth of it such as 3/10, or the one of `today`"
    parser.addoption("--soak", nargs="?", const=ALL, default=os.environ.get("RLFLEET_SOAK"), metavar="K/10", help=how)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Note what was chosen, and give Hypothesis the day's seed before it asks for one."""
    try:
        _chosen[0] = chosen(config.option.soak)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if getattr(config.option, "hypothesis_seed", "") is None:
        config.option.hypothesis_seed = str(SEED)


def pytest_report_header() -> str:
    """Say what repeats this run."""
    return f"seed {SEED} (RLFLEET_TEST_SEED={SEED} repeats it), soak: {_chosen[0] or 'samples only'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this run does not do, and be patient with soak."""
    kept, left = [], []
    for item in items:
        tenths = [mark.args[0] for mark in item.iter_markers("soak")]
        longer = item.get_closest_marker("longer") is not None
        (kept if takes(_chosen[0], tenths, longer=longer) else left).append(item)
        if _chosen[0] and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to a failure the command that repeats it."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        option = f" --soak {_chosen[0]}" if _chosen[0] else ""
        again = f"RLFLEET_TEST_SEED={SEED} python -m pytest {shlex.quote(item.nodeid)}{option}"
        report.sections.append(("again", again))
