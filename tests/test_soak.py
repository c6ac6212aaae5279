"""How much a run does: what soak leaves to its tenths, whose turn it is, and how what failed is repeated."""

from __future__ import annotations

import collections
import datetime as dt
import os
import subprocess
import sys

import pytest

import soak

CONFTEST = 'pytest_plugins = ("soak",)\n'
TESTS = """
import pytest, soak

@soak.parts("seeds", sample=30, whole=200, each=10)
def test_cut(seeds):
    assert len(seeds) == 10

@soak.tenth(4)
def test_one():
    pass

@pytest.mark.longer
def test_examples():
    assert soak.examples(5) == 0, soak.examples(5)

def test_usual():
    pass
"""


def seeds_of(mark) -> tuple[list[range], dict[int, list[range]]]:
    """Return the ranges of the sample, and those of each tenth."""
    sample, tenths = [], collections.defaultdict(list)
    for param in mark.args[1]:
        if param.marks:
            tenths[param.marks[0].args[0]] += param.values
        else:
            sample += param.values
    return sample, tenths


def test_tenths_are_alike_and_make_the_whole_beside_the_sample():
    sample, tenths = seeds_of(soak.parts("seeds", sample=500, whole=10_000, each=250))
    assert sorted(tenths) == list(range(1, 11))
    assert {sum(map(len, ranges)) for ranges in tenths.values()} == {1000}
    first = soak.SEED * soak.SEEDS_A_DAY
    everything = sorted(seed for ranges in [*tenths.values(), sample] for seeds in ranges for seed in seeds)
    assert everything == list(range(first, first + 10_500))
    assert [len(seeds) for seeds in sample] == [250, 250]


@pytest.mark.parametrize(("text", "share"), [(None, None), ("", None), ("all", "all"), ("10/10", "10/10")])
def test_what_is_asked_for(text, share):
    assert soak.chosen(text) == share


@pytest.mark.parametrize("text", ["0/10", "11/10", "3/7", "tests/sim", "3"])
def test_another_share_is_refused_with_what_there_is(text):
    with pytest.raises(ValueError, match=f"--soak {text}: neither 1/10 to 10/10 nor `today`"):
        soak.chosen(text)


@pytest.mark.parametrize(("day", "share"), [("2026-01-01", "1/10"), ("2026-01-10", "10/10"), ("2026-11-28", "2/10")])
def test_the_turn_is_by_the_day_of_the_year(monkeypatch, day, share):
    monkeypatch.setattr(soak, "TODAY", dt.datetime.fromisoformat(day))
    assert soak.chosen("today") == share


def run(tmp_path, *options: str, seed: str = "20260101") -> str:
    """Run tests of their own in a process of their own."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RLFLEET", "PYTEST"))}
    environment |= {"PYTHONPATH": ":".join(sys.path), "RLFLEET_TEST_SEED": seed}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", tmp_path, *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def test_a_run_does_the_samples_and_says_its_seed(tmp_path):
    out = run(tmp_path)
    assert "seed 20260101 (RLFLEET_TEST_SEED=20260101 repeats it), soak: samples only" in out
    assert "1 failed, 4 passed, 21 deselected" in out
    assert "assert 5 == 0" in out


def test_soak_does_its_own(tmp_path):
    out = run(tmp_path, "--soak")
    assert "soak: all" in out
    assert "1 failed, 21 passed, 4 deselected" in out
    assert "assert 100 == 0" in out


def test_a_tenth_does_its_part_and_what_failed_can_be_repeated(tmp_path):
    out = run(tmp_path, "--soak", "4/10")
    assert "1 failed, 3 passed, 22 deselected" in out
    assert "assert 10 == 0" in out
    assert "RLFLEET_TEST_SEED=20260101 python -m pytest test_it.py::test_examples --soak 4/10" in out


def test_a_wrong_share_is_a_usage_error(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "pytest", tmp_path, "--soak", "11/10"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "ERROR: --soak 11/10: neither" in done.stderr) == (4, True)
