"""SIGKILLs of the agent at random instants: no event is lost, none doubled, the state is always their fold.

10,000 in soak, another 400 in every run.

What is killed is the real daemon with its journal, socket, clock, status files and probes, on a host whose trainers are
stopped (see `kills.py`); trainers among kills are the matter of tests/agent/test_agent_kills.py.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import soak

TESTS = Path(__file__).resolve().parent.parent
KILLS = 200
"""Of each host's agent; every host has a seed."""
HOSTS = 2
"""Side by side in a test."""


@pytest.mark.slow
@soak.parts("seeds", sample=2, whole=50, each=5)
def test_ten_thousand_kills_of_the_agent(seeds):
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    kills = KILLS * len(seeds)

    def run(seed: int) -> dict[str, int]:
        with tempfile.TemporaryDirectory(dir=in_memory) as folder:
            command = [sys.executable, "-m", "faults.kills", f"{folder}/var", str(KILLS), str(seed)]
            environment = {**os.environ, "PYTHONPATH": str(TESTS)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            return json.loads(done.stdout)

    with ThreadPoolExecutor(HOSTS) as pool:
        results = list(pool.map(run, seeds))
    total = collections.Counter()
    for result in results:
        total.update(result)
    print(dict(total))
    assert (total["kills"], total["died"]) == (kills, 0)
    # Not every life comes to an answer, but enough do for a loss to show.
    assert total["acked"] >= kills // 2
    assert total["wishes"] <= total["asked"]
    assert total["starts"] > kills / 4
