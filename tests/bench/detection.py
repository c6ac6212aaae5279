"""How soon the agent notices a trainer that dies, one that dies while the disk refuses its record, one that stalls.

    python tests/bench/detection.py [--quick] [--json]

A real agent at its default pace of one look a second, small real trainers, real signals. For a death: from the signal
to the journaled event. For a stall: how much longer than the hang timeout the silence was. Limits: one second each.
With --json the last line is one object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from agent_host import AgentHost
from rlagent.journal import Journal
from rlagent.policy import events as ev

LIMIT_S = 1.0
HANG_TIMEOUT_S = 10.0
"""Well above five report intervals as the agent sees them, which count as well."""


def main() -> int:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description="time to notice a dead or stalled trainer")
    parser.add_argument("--quick", action="store_true", help="5 of each instead of 30")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    times = 5 if arguments.quick else 30
    figures: dict[str, float | bool] = {"times": times}
    with tempfile.TemporaryDirectory() as folder:
        host = AgentHost(
            Path(folder),
            agent={"tick_s": 1.0, "journal_tick_s": 60.0},
            policy={"max_crashes": 10_000},
            supervisor={"hang_timeout_s": HANG_TIMEOUT_S, "restart_backoff_s": [0.0]},
        )
        try:
            host.start()
            found = {
                "death": [death(host) for _ in range(times)],
                "death_disk_full": [death(host, refused=True) for _ in range(times)],
                "stall": [stall(host) for _ in range(times)],
            }
        finally:
            host.close()
    for name, seconds in found.items():
        figures[f"{name}_median_s"] = round(statistics.median(seconds), 3)
        figures[f"{name}_max_s"] = round(max(seconds), 3)
    figures["ok"] = all(max(seconds) <= LIMIT_S for seconds in found.values())
    for name, label in (
        ("death", "death, to the journal"),
        ("death_disk_full", "death, exit record refused"),
        ("stall", "stall, beyond the timeout"),
    ):
        print(f"{label:28} median {figures[f'{name}_median_s']:.3f} s   max {figures[f'{name}_max_s']:.3f} s")
    print(f"all within {LIMIT_S:g} s: {'yes' if figures['ok'] else 'NO'}")
    if arguments.json:
        print(json.dumps(figures))
    return 0 if figures["ok"] else 1


def death(host: AgentHost, *, refused: bool = False) -> float:
    """Kill a trainer; returns the seconds until its end is journaled. `refused`: the disk does not take its record."""
    pid = host.wait_running(2, timeout_s=60)["Pong"]
    record = host.paths.run_dir("Pong") / "exit.json"
    if refused:
        record.unlink(missing_ok=True)
        (record / "x").mkdir(parents=True)
    began = time.time()
    os.kill(pid, signal.SIGKILL)
    event = newest(host, ev.TrainerExited, began)
    if refused:
        shutil.rmtree(record)
    return event.wall - began


def stall(host: AgentHost) -> float:
    """Stop a trainer; returns by how many seconds the silence was longer than the timeout when it was noticed."""
    pid = host.wait_running(2, timeout_s=60)["Pong"]
    began = time.time()
    os.kill(pid, signal.SIGSTOP)
    event = newest(host, ev.TrainerHung, began)
    return event.silent_s - HANG_TIMEOUT_S


def newest(host: AgentHost, kind: type, since: float):
    """Wait for an event of this kind and return it."""

    def look():
        journal = Journal(host.paths.journal)
        try:
            events = [entry.event for entry in journal.entries(since_wall=since)]
        finally:
            journal.close()
        return [event for event in events if isinstance(event, kind)]

    return host.wait_for(look, kind.__name__, timeout_s=60)[0]


if __name__ == "__main__":
    sys.exit(main())
