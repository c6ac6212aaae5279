"""Which epochs, minibatches and batches learn the most in a given time: trains a game with each, from several seeds.

    python tests/bench/epochs.py [--game Breakout] [--minutes 20] [--seeds 1 2 3] [--show] [--quick] [--json]

A run has one core, for so many minutes from its first iteration on; as many go at once as there are cores, settings in
turn, so that what else the machine does hits all of them. Told are steps per second, the mean of the last 100 games,
and of all games of the run's second half. Early hours of one game are no proof for days, nor for others. Runs stay in
.cache/bench-epochs; --show reads them again and trains nothing; --quick, half a minute each from one seed, only shows
that it works. With --json the last line is one object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders import training
from contenders.curves import FRAMESKIP, Curve

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "bench-epochs"
SETTINGS = ((2, 16, 2048), (4, 4, 512), (2, 4, 512), (1, 8, 512))
"""Epochs, minibatches and batch: the default, with rollouts of 64 steps; then rollouts of 16, with twice as many
gradients, as many, and as many that see a step once."""
Figures = dict[str, float]


def main() -> int:
    """Train or read the runs, and print them side by side."""
    parser = argparse.ArgumentParser(description="epochs, minibatches and batches by what they learn")
    parser.add_argument("--game", default="Breakout", help="as rltrain names it [default: Breakout]")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each run [default: 20]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="[default: 1 2 3]")
    parser.add_argument("--show", action="store_true", help="show the runs that are there; train nothing")
    parser.add_argument("--quick", action="store_true", help="half a minute each, one seed: shows that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    training.end_trainers_on_sigterm()
    if arguments.quick:
        arguments.minutes, arguments.seeds = 0.5, arguments.seeds[:1]
    if not arguments.show:
        train_all(arguments.game, arguments.minutes, arguments.seeds)
    found: dict[str, list[Figures]] = {}
    for setting in SETTINGS:
        runs = [FOLDER / name_of(arguments.game, setting, seed) / "metrics.jsonl" for seed in arguments.seeds]
        curves = [Curve.of(run) for run in runs if run.exists()]
        found["{} x {} of {}".format(*setting)] = [figures(curve) for curve in curves if curve.returns]
    show(arguments.game, found)
    if arguments.json:
        print(json.dumps({"game": arguments.game, "settings": found}))
    return 0


def name_of(game: str, setting: tuple[int, int, int], seed: int) -> str:
    """Return a run's folder."""
    return f"{game}-{setting[0]}x{setting[1]}-{setting[2]}-seed{seed}"


def train_all(game: str, minutes: float, seeds: list[int]) -> None:
    """Train every setting from every seed, a core each. Raises SystemExit."""
    cores: queue.Queue[int] = queue.Queue()
    for core in sorted(os.sched_getaffinity(0)):
        cores.put(core)

    def train(setting: tuple[int, int, int], seed: int) -> None:
        core = cores.get()
        flags = ["--seed", str(seed), "--threads", "1"]
        for name, value in zip(("update-epochs", "num-minibatches", "batch-size"), setting, strict=True):
            flags += [f"--{name}", str(value)]
        try:
            training.train(FOLDER / name_of(game, setting, seed), game, minutes, flags, core=core, tell=False)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(cores.qsize()) as pool:
        jobs = [pool.submit(train, setting, seed) for seed in seeds for setting in SETTINGS]
        try:
            for done, job in enumerate(jobs, 1):
                job.result()
                print(f"{done} of {len(jobs)} runs", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # a fault or Ctrl-C begins no further run
            raise


def figures(curve: Curve) -> Figures:
    """Return what a run, in which a game has ended, has come to."""
    seconds, steps = curve.hours[-1] * 3600, curve.frames[-1] / FRAMESKIP
    late = [score for hours, score in zip(curve.hours, curve.returns, strict=True) if hours >= curve.hours[-1] / 2]
    return {
        "minutes": round(seconds / 60, 1),
        "steps": steps,
        "steps_per_s": round(steps / max(seconds, 1e-9)),
        "mean_last_games": round(curve.smooth()[-1], 2),
        "mean_second_half": round(statistics.fmean(late), 2),
    }


def show(game: str, found: dict[str, list[Figures]]) -> None:
    """Print a row for each setting: the mean over its seeds, then each seed's last games."""
    print(f"\n{game}, epochs x minibatches of a batch, 32 environments; one core each")
    print(f"{'':15}{'minutes':>9}{'steps/s':>9}{'second half':>13}{'last 100':>10}   last 100 games of each seed")
    for name, runs in found.items():
        if not runs:
            print(f"{name:15} no game has ended")
            continue
        keys = ("minutes", "steps_per_s", "mean_second_half", "mean_last_games")
        minutes, rate, half, last = (statistics.fmean(run[key] for run in runs) for key in keys)
        each = "  ".join(f"{run['mean_last_games']:.1f}" for run in runs)
        print(f"{name:15}{minutes:9.1f}{rate:9.0f}{half:13.2f}{last:10.2f}   {each}")


if __name__ == "__main__":
    sys.exit(main())
