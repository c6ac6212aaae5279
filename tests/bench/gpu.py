"""Several games that train on a GPU host beside what its cores can emulate without any learning.

    python tests/bench/gpu.py [--game GAME]... [--threads N]... [--quick] [--json]

The games (four unless named) train at rltrain's default settings at the same time, each with its share of the cores,
as the agent starts them; AtariVectorEnv plays the same games at the same time with the same threads and learns nothing.
One game that has the whole host is measured as well, and with --threads other shares. Each side stands still while
another one is measured; a figure is the median over rounds. The goal is 90% of AtariVectorEnv's rate; exit 1 when it is
missed. Where torch sees no GPU nothing is measured. With --json the last line is one object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders import running
from contenders.running import Contender, SilentError
from rltrainer.errors import ConfigurationError
from rltrainer.games import camel_case, find_rom, installed_roms

GAMES = ("Pong", "Breakout", "MsPacman", "SpaceInvaders")
GOAL = 0.9


def main() -> int:
    """Measure, print, and exit with 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description="steps per second of several games on a GPU host")
    parser.add_argument("--game", action="append", help="a game instead of the four; again for more")
    parser.add_argument("--threads", action="append", type=int, default=[], help="another share of the cores to try")
    parser.add_argument("--quick", action="store_true", help="2 short rounds (about a minute)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    try:
        games = list(dict.fromkeys(camel_case(find_rom(name, installed_roms())) for name in arguments.game or GAMES))
    except ConfigurationError as error:
        parser.error(str(error))
    import torch  # noqa: PLC0415  # seconds that `--help` does without

    if not torch.cuda.is_available():
        print("n/a: torch sees no GPU here; nothing was measured")
        if arguments.json:
            print(json.dumps({"gpu": None}))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no contender is left behind, standing still
    cores = len(os.sched_getaffinity(0))
    threads = max(1, cores // len(games))
    print(f"{torch.cuda.get_device_name()}, {cores} cores; load {os.getloadavg()[0]:.1f} before the start", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(
            sides(games, cores, [threads, *arguments.threads], Path(folder)),
            *((2, 3.0) if arguments.quick else (5, 5.0)),
        )
    playing = next(iter(figures.values()))
    trained = figures.get(training(len(games), threads), 0.0)
    for label, rate in figures.items():
        print(f"  {label:58} {rate:8.0f} steps/s  {rate / playing:5.2f}")
    share = trained / playing
    verdict = "met" if share >= GOAL else "MISSED"
    print(f"goal: {len(games)} games at least {GOAL:.0%} of AtariVectorEnv alone: {share:.1%}, {verdict}")
    if arguments.json:
        rates = {label: round(rate) for label, rate in figures.items()}
        print(json.dumps({"gpu": torch.cuda.get_device_name(), "cores": cores, "share": round(share, 3)} | rates))
    return 0 if share >= GOAL else 1


def training(count: int, threads: int) -> str:
    """Return the label of so many games that train."""
    return f"rltrain, {count} game{'s' * (count > 1)}, {threads} threads each"


def sides(games: list[str], cores: int, shares: list[int], folder: Path) -> dict[str, Callable[[], list[Contender]]]:
    """Return what is measured, by its label: games that run together; the first plays only, with the first share."""

    def place(name: str) -> Path:
        made = folder / name
        made.mkdir()
        return made

    def ours(names: list[str], threads: int) -> Callable[[], list[Contender]]:
        return lambda: [
            running.ours(game, place(f"{len(names)}-{threads}-{game}"), threads, device="cuda") for game in names
        ]

    found: dict[str, Callable[[], list[Contender]]] = {
        f"AtariVectorEnv alone, {len(games)} games, {shares[0]} threads each": lambda: [
            running.other("env_ale", game, place(f"ale-{game}"), shares[0]) for game in games
        ]
    }
    for threads in shares:
        found[training(len(games), threads)] = ours(games, threads)
    return found | {training(1, cores): ours(games[:1], cores)}


def measure(sides: dict[str, Callable[[], list[Contender]]], rounds: int, slice_s: float) -> dict[str, float]:
    """Start all, measure them in turn, end all; returns the median steps per second of each."""
    started: dict[str, list[Contender]] = {}
    rates: dict[str, list[float]] = {label: [] for label in sides}
    try:
        for label, start in sides.items():
            started[label] = start()
            running.wait_ready(started[label])
        for _ in range(rounds):
            for label, contenders in started.items():
                rates[label].append(sum(running.measure(contenders, slice_s)))
    except SilentError as error:
        raise SystemExit(f"nothing was measured: {error}") from None
    finally:
        for each in (each for contenders in started.values() for each in contenders):
            each.end()
    return {label: statistics.median(found) for label, found in rates.items()}


if __name__ == "__main__":
    sys.exit(main())
