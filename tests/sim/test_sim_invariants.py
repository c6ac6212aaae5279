"""No invariant breaks on the day's simulated hosts and host-years; what breaks one is told with how to repeat it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import soak

TESTS = Path(__file__).resolve().parent.parent


def simulate(what: str, seeds: range) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sim", what, f"{seeds.start}:{seeds.stop}", "--processes", "1"],
        # Nothing else of the environment: each simulated trainer's start copies it.
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.slow
@soak.parts("seeds", sample=500, whole=10_000, each=125)
def test_no_invariant_breaks_on_hosts_with_the_whole_daemon(seeds):
    """Each for an hour or more of its own time."""
    simulate("--seeds", seeds)


@pytest.mark.slow
@soak.parts("seeds", sample=50, whole=1_000, each=25)
def test_no_invariant_breaks_in_years_of_the_policy_alone(seeds):
    """A host a year."""
    simulate("--years", seeds)
