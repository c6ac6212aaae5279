"""Our trainer as a process that trains for so many minutes; shared by the benchmarks of learning."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TELL_EVERY_S = 10.0
IMPORTS_S_MAX = 120.0
GAMES_IN_MEAN = 100
"""A mean of fewer games ends nothing."""

_running: set[subprocess.Popen] = set()


def end_trainers_on_sigterm() -> None:
    """Let a SIGTERM end the benchmark with its trainers, as Ctrl-C does; for the main thread."""

    def end(*_: object) -> None:
        for process in tuple(_running):
            process.kill()
        sys.exit(143)

    signal.signal(signal.SIGTERM, end)


def train(
    run_dir: Path,
    game: str,
    minutes: float,
    flags: Sequence[str],
    *,
    until: float | None = None,
    core: int | None = None,
    tell: bool = True,
) -> None:
    """Train anew in a folder, from the first recorded iteration on for so long.

    Args:
        run_dir: what it holds is removed.
        game: as rltrain names it.
        minutes: of training; imports do not count.
        flags: more of rltrain's.
        until: the mean of the last 100 games that ends it earlier.
        core: the only one to run on; None: all.
        tell: print how it goes.

    Raises:
        SystemExit: it did not train.
    """
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    command = [sys.executable, "-m", "rltrainer", "train", "--game", game, "--run-dir", str(run_dir)]
    command += ["--target-frames", "40000000", *flags]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RLFLEET_")}
    with (run_dir / "train.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        _running.add(process)
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            _watch(process, run_dir, minutes * 60, until, tell=tell)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            _running.discard(process)


def _watch(process: subprocess.Popen, run_dir: Path, train_s: float, goal: float | None, *, tell: bool) -> None:
    metrics = run_dir / "metrics.jsonl"
    deadline = time.monotonic() + IMPORTS_S_MAX
    until = told = mean = None
    while until is None or time.monotonic() < until:
        if until is not None and process.poll() == 0:  # the target is reached
            return
        if process.poll() is not None or (until is None and time.monotonic() > deadline):
            raise SystemExit(f"rltrain did not train: {(run_dir / 'train.log').read_text()[-500:]}")
        if until is None and metrics.exists() and metrics.stat().st_size > 0:
            until = time.monotonic() + train_s
        if until is not None:
            report = json.loads((run_dir / "progress.json").read_text())
            mean = report.get("mean_return_100")
            if tell and (told is None or time.monotonic() > told + TELL_EVERY_S):
                told = time.monotonic()
                shown = "n/a" if mean is None else round(mean, 1)
                print(f"step {report['global_step']}, mean of the last 100 games {shown}", flush=True)
        if None not in (goal, mean) and mean >= goal and report["episodes"] >= GAMES_IN_MEAN:
            return
        time.sleep(0.2)
