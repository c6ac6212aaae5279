"""10,000 SIGKILLs of the agent at random instants: no event is lost, none doubled, the state is always their fold.

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

TESTS = Path(__file__).resolve().parent.parent
KILLS, SHARDS, HOSTS = 10_000, 20, 2
"""In all; tests that they are split into, so that none is slow; hosts side by side in each."""
SEED = 20261124


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_ten_thousand_kills_of_the_agent(shard):
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    kills = KILLS // SHARDS

    def run(number: int) -> dict[str, int]:
        with tempfile.TemporaryDirectory(dir=in_memory) as folder:
            command = [sys.executable, "-m", "faults.kills", f"{folder}/var", str(kills // HOSTS), str(SEED + number)]
            environment = {**os.environ, "PYTHONPATH": str(TESTS)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            return json.loads(done.stdout)

    with ThreadPoolExecutor(HOSTS) as pool:
        results = list(pool.map(run, range(shard * HOSTS, (shard + 1) * HOSTS)))
    total = collections.Counter()
    for result in results:
        total.update(result)
    print(dict(total))
    assert (total["kills"], total["died"]) == (kills, 0)
    # Not every life comes to an answer, but enough do for a loss to show.
    assert total["acked"] >= kills // 2
    assert total["wishes"] <= total["asked"]
    assert total["starts"] > kills / 4
