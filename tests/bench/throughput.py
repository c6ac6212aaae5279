"""Steps per second of our trainer and of others, turn by turn in one run on the same games.

    python tests/bench/throughput.py [--game GAME]... [--quick] [--json]

All train with 32 environments, 16 steps, 4 epochs x 4 minibatches and the Nature network, and all may keep the same
number of CPU threads busy. Each is a process of its own that stands still while another one is measured; a figure is
the median over rounds. `rltrain` is measured as users run it, with its checkpoints and metrics. "alone" plays without
learning or learns without playing; the bound is 1 / (1 / fastest environments + 1 / our learner). Stable-Baselines3 and
EnvPool are installed into .cache/bench-packages; where that is impossible a line says n/a and why.

Goals, set on 2 cores with bfloat16 units: at least 2.1 x SB3 and 90% of the bound; our environments at least as fast as
AtariVectorEnv; two games at default settings at least 31% of AtariVectorEnv alone. Exit 1 when one is missed. With
--json the last line is one object with the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders import packages, running
from contenders.running import Contender, SilentError
from rltrainer.errors import ConfigurationError
from rltrainer.games import camel_case, find_rom, installed_roms

SAME = ("--num-envs", "32", "--batch-size", "512", "--update-epochs", "4", "--num-minibatches", "4")
LABELS = {
    "ours": "rltrain",
    "sb3": "Stable-Baselines3 PPO",
    "cleanrl_ale": "CleanRL-shaped, AtariVectorEnv",
    "cleanrl_envpool": "CleanRL-shaped, EnvPool",
    "env_ours": "our environment workers alone",
    "env_ale": "AtariVectorEnv alone",
    "env_envpool": "EnvPool alone",
    "learner_ours": "our learner alone",
    "ours_default": "rltrain, default settings",
    "ours_two": "rltrain, default settings, two games",
}
GOALS = {"x_sb3": 2.1, "of_bound": 0.9, "env_of_ale": 1.0, "two_of_ale": 0.31}
Figures = dict[str, float]


def main() -> int:
    """Measure, print, and exit with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="steps per second of trainers")
    parser.add_argument("--game", action="append", help="a game to play instead of Pong and MsPacman; again for more")
    parser.add_argument("--quick", action="store_true", help="Pong only, 2 short rounds (about a minute)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    try:
        chosen = [camel_case(find_rom(name, installed_roms())) for name in arguments.game or []]
    except ConfigurationError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no contender is left behind, standing still
    threads = min(2, len(os.sched_getaffinity(0)))
    rounds, slice_s = (2, 2.5) if arguments.quick else (5, 6.0)
    missing = {name: why for name, why in (("sb3", packages.provide(packages.SB3)),
                                           ("envpool", packages.provide(packages.ENVPOOL))) if why}  # fmt: skip
    print(f"{threads} threads each; load {os.getloadavg()[0]:.1f} before the start")
    report: dict[str, object] = {"threads": threads, "load_1m": round(os.getloadavg()[0], 2)}
    missed = []
    for game in chosen or (["Pong"] if arguments.quick else ["Pong", "MsPacman"]):
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(game, Path(folder), threads, missing)
            try:
                figures = comparison.run(rounds, slice_s)
            finally:
                comparison.end()
        figures |= ratios(figures)
        show(game, figures, comparison.faults)
        missed += [f"{game}: {name}" for name, goal in GOALS.items() if figures.get(name, goal) < goal]
        report[game] = {name: round(value, 3) for name, value in figures.items()} | {"unavailable": comparison.faults}
    print("goals: " + (f"MISSED {', '.join(missed)}" if missed else "met, as far as measured"))
    if arguments.json:
        print(json.dumps(report | {"missed": missed}))
    return 1 if missed else 0


class Comparison:
    """Contenders in one game, their rates, and why some have none."""

    def __init__(self, game: str, folder: Path, threads: int, missing: dict[str, str]) -> None:
        self.faults = {name: why for name in LABELS for part, why in missing.items() if part in name}
        self._rates: dict[str, list[float]] = {}
        self._sides: dict[str, list[Contender]] = {}
        self._start = lambda name: start(name, game, folder, threads)

    def run(self, rounds: int, slice_s: float) -> Figures:
        """Start all, one after another, and measure them in turn; returns the median steps per second of each."""
        for name in LABELS:
            if name not in self.faults:
                self._sides[name] = self._start(name)
                self._try(name, running.wait_ready)
        for _ in range(rounds):
            for name in list(self._sides):
                self._try(name, lambda side: running.measure(side, slice_s))
        return {name: statistics.median(rates) for name, rates in self._rates.items() if name in self._sides}

    def end(self) -> None:
        """End all contenders."""
        for each in itertools.chain.from_iterable(self._sides.values()):
            each.end()

    def _try(self, name: str, action: Callable[[list[Contender]], list[float]]) -> None:
        try:
            found = action(self._sides[name])
        except SilentError as error:
            self.faults[name] = str(error)
            for each in self._sides.pop(name):
                each.end()
        else:
            self._rates.setdefault(name, []).extend([sum(found)] if found else [])


def start(name: str, game: str, folder: Path, threads: int) -> list[Contender]:
    """Start what stands behind a label: one process, or two that run together and share the threads."""

    def place(part: str) -> Path:
        made = folder / f"{name}-{part}"
        made.mkdir()
        return made

    if name == "ours":
        return [running.ours(game, place(game), threads, *SAME)]
    if name == "ours_default":
        return [running.ours(game, place(game), threads)]
    if name == "ours_two":
        return [running.ours(each, place(each), max(1, threads // 2)) for each in ("Pong", "MsPacman")]
    return [running.other(name, game, place(game), threads)]


def ratios(figures: Figures) -> Figures:
    """Return what the goals are about, as far as it was measured."""
    found: Figures = {}
    playing = [figures[name] for name in ("env_ours", "env_ale") if name in figures]
    if playing and "learner_ours" in figures:
        found["bound"] = 1 / (1 / max(playing) + 1 / figures["learner_ours"])
    pairs = {
        "x_sb3": ("ours", "sb3"), "x_cleanrl_ale": ("ours", "cleanrl_ale"),
        "x_cleanrl_envpool": ("ours", "cleanrl_envpool"), "of_bound": ("ours", "bound"),
        "env_of_ale": ("env_ours", "env_ale"), "two_of_ale": ("ours_two", "env_ale"),
    }  # fmt: skip
    known = figures | found
    return found | {name: known[a] / known[b] for name, (a, b) in pairs.items() if a in known and b in known}


def show(game: str, figures: Figures, faults: dict[str, str]) -> None:
    """Print one game's figures for people."""
    print(f"\n{game}: steps/s")
    for name, label in LABELS.items():
        value = f"{figures[name]:8.0f}" if name in figures else f"     n/a  ({faults.get(name, 'not measured')})"
        print(f"  {label:38} {value}")
    if "bound" in figures:
        print(f"  {'bound of environments and learner':38} {figures['bound']:8.0f}")
    texts = {
        "x_sb3": "rltrain / Stable-Baselines3", "of_bound": "rltrain / bound",
        "env_of_ale": "our workers / AtariVectorEnv", "two_of_ale": "two games / AtariVectorEnv alone",
    }  # fmt: skip
    for name, text in texts.items():
        if name in figures:
            verdict = "yes" if figures[name] >= GOALS[name] else "NO"
            print(f"  {text:38} {figures[name]:8.2f}  at least {GOALS[name]}: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
