"""Each invariant, broken on purpose in the production code, is noticed by its checker within a few simulated hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim import mutants

TESTS = Path(__file__).resolve().parent.parent
HOSTS = 400
"""At most; the first is the one that has shown it."""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", mutants.ALL, ids=lambda mutant: mutant.name)
def test_a_broken_invariant_is_noticed(mutant):
    hosts = f"--{mutant.span}", f"{mutant.seed}:{mutant.seed + HOSTS}"
    done = subprocess.run(
        [sys.executable, "-m", "sim", "--mutant", mutant.name, *hosts],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f": Violation {mutant.invariant}: " in done.stdout, done.stdout + done.stderr


def test_every_invariant_has_its_mutants():
    named = {
        value for name, value in vars(mutants).items() if name.isupper() and isinstance(value, str) and " " in value
    }
    invariants = {value for value in named if not value.startswith("try:")}
    assert invariants == {mutant.invariant for mutant in mutants.ALL}
