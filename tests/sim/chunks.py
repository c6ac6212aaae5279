"""CI's share of the simulation, cut into tests of some seconds each, and those into files that run side by side.

A broken invariant is printed with the one command that repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
FIRST = int(os.environ.get("RLFLEET_SIM_SEED", "0"))
"""Other seeds than CI's: RLFLEET_SIM_SEED=1000000."""
HOSTS, HOSTS_A_CHUNK = 10_000, 500
"""Each with the whole daemon for an hour or more of its own time."""
YEARS, YEARS_A_CHUNK = 1_000, 50
"""Of the policy alone, a host a year."""
FILES = 4
"""Of each kind: `test_sim_hosts_1` and so on."""


def hosts(file: int) -> Callable[[str], None]:
    """Return the test of this file's hosts, files counted from 1."""
    return _test("--seeds", HOSTS, HOSTS_A_CHUNK, file)


def years(file: int) -> Callable[[str], None]:
    """Return the test of this file's host-years."""
    return _test("--years", YEARS, YEARS_A_CHUNK, file)


def _test(what: str, count: int, chunk: int, file: int) -> Callable[[str], None]:
    firsts = range(FIRST, FIRST + count, chunk)[file - 1 :: FILES]

    @pytest.mark.slow
    @pytest.mark.parametrize("span", [f"{first}:{first + chunk}" for first in firsts])
    def test(span: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "sim", what, span, "--processes", "1"],
            # Nothing else of the environment: each simulated trainer's start copies it.
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    return test
