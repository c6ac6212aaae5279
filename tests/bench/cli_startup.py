"""How long rlctl takes to start: `--help`, and `status` of one local host (with a stand-in for its agent).

    python tests/bench/cli_startup.py [--quick] [--json]

Reports medians and their ratio to a bare Python measured in the same run, turn by turn, so that a busy machine slows
all of them. Limits: `--help` within 3 x bare Python + 60 ms, `status` within a second. With --json the last line is
one object with the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import ctl_runs

HELP_LIMIT_RATIO = 3.0
HELP_LIMIT_PLUS_MS = 60.0
STATUS_LIMIT_MS = 1000.0


def main() -> int:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description="start-up time of rlctl")
    parser.add_argument("--quick", action="store_true", help="5 runs of each instead of 25")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        agent = ctl_runs.Agent(Path(folder) / "root")
        source = ctl_runs.inventory(Path(folder), {"tnr-0": agent.local(rlfleet_price_per_hour=0.35)})
        commands = {
            "bare": [sys.executable, "-c", "pass"],
            "help": [*ctl_runs.RLCTL, "--help"],
            "status": [*ctl_runs.RLCTL, "-i", str(source), "status"],
            "status_json": [*ctl_runs.RLCTL, "-i", str(source), "status", "-o", "json"],
        }
        figures = report(medians_ms(commands, 5 if arguments.quick else 25))
    show(figures)
    if arguments.json:
        print(json.dumps(figures))
    return 0 if figures["help_ok"] and figures["status_ok"] else 1


def medians_ms(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, float]:
    """Run all commands in turn, after one warm-up each, and return the median wall time of each."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ctl_runs.environment())
            if turn > 0:
                times[name].append((time.perf_counter() - begin) * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def report(medians: Mapping[str, float]) -> dict[str, float | bool]:
    """Return the figures with ratios and verdicts."""
    bare = medians["bare"]
    limit = HELP_LIMIT_RATIO * bare + HELP_LIMIT_PLUS_MS
    figures: dict[str, float | bool] = {f"{name}_ms": round(value, 1) for name, value in medians.items()}
    figures |= {f"{name}_ratio": round(value / bare, 2) for name, value in medians.items() if name != "bare"}
    figures["help_limit_ms"] = round(limit, 1)
    figures["help_ok"] = medians["help"] <= limit
    figures["status_ok"] = medians["status"] <= STATUS_LIMIT_MS
    return figures


def show(figures: Mapping[str, float | bool]) -> None:
    """Print the figures for people."""
    print(f"bare Python            {figures['bare_ms']:7.1f} ms")
    for name, label in (("help", "rlctl --help"), ("status", "rlctl status"), ("status_json", "rlctl status -o json")):
        print(f"{label:22} {figures[f'{name}_ms']:7.1f} ms  {figures[f'{name}_ratio']:5.1f} x bare")
    print(f"--help within {figures['help_limit_ms']} ms: {'yes' if figures['help_ok'] else 'NO'}")
    print(f"status within {STATUS_LIMIT_MS:.0f} ms: {'yes' if figures['status_ok'] else 'NO'}")


if __name__ == "__main__":
    sys.exit(main())
