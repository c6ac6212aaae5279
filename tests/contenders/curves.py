"""Learning curves: read from a run's metrics, drawn into the terminal and into a PNG file."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from contenders import packages

FRAMESKIP = 4
SMOOTH_GAMES = 100
PUBLISHED = {"Pong": 20.4, "Breakout": 420.0, "MsPacman": 2346.0}
"""Episodic return of CleanRL's PPO at 10 million steps, as its documentation gives it."""
PUBLISHED_FRAMES = 40_000_000


@dataclass(frozen=True)
class Curve:
    """One entry for each whole game, in the order of their ends."""

    frames: list[int]
    """Emulator frames of the whole run so far."""
    hours: list[float]
    """Since the run's first record."""
    returns: list[float]
    """Raw scores."""

    @classmethod
    def of(cls, metrics: Path) -> Curve:
        """Read a metrics.jsonl; a line that is not finished yet is left out."""
        records = []
        for line in metrics.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        begin = records[0]["time"] if records else 0.0
        episodes = [record for record in records if record["kind"] == "episode"]
        return cls(
            frames=[FRAMESKIP * record["global_step"] for record in episodes],
            hours=[(record["time"] - begin) / 3600 for record in episodes],
            returns=[record["episodic_return"] for record in episodes],
        )

    def smooth(self) -> list[float]:
        """Return the mean of the last 100 games (of fewer at the beginning) at each game."""
        sums = [0.0, *itertools.accumulate(self.returns)]
        return [(sums[end] - sums[max(0, end - SMOOTH_GAMES)]) / min(end, SMOOTH_GAMES) for end in range(1, len(sums))]


def show_in_terminal(game: str, curve: Curve, random_mean: float) -> None:
    """Plot the smoothed curve with characters."""
    fault = packages.provide({"plotext": packages.PLOTS["plotext"]})
    if fault is not None:
        print(f"plot: n/a ({fault})")
        return
    import plotext  # noqa: PLC0415  # only the benchmark's folder has it

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(min(100, shutil.get_terminal_size((100, 20)).columns), 18)
    frames = [each / 1e6 for each in curve.frames]
    plotext.plot(frames, curve.smooth(), label="rltrain, mean of 100 games")
    plotext.plot([frames[0], frames[-1]], [random_mean, random_mean], label="random policy")
    plotext.xlabel("million frames")
    plotext.title(f"{game}: episodic return")
    plotext.show()


def draw(game: str, curve: Curve, random_mean: float, picture: Path) -> str | None:
    """Write a PNG: return against frames, and against hours; returns why it can't be, None when it is there."""
    fault = packages.provide({"matplotlib": packages.PLOTS["matplotlib"]})
    if fault is not None:
        return fault
    import matplotlib as mpl  # noqa: PLC0415  # only the benchmark's folder has it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (by_frames, by_hours) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained", sharey=True)
    frames = [each / 1e6 for each in curve.frames]
    for axes, x, label in ((by_frames, frames, "million frames"), (by_hours, curve.hours, "hours")):
        axes.plot(x, curve.returns, ".", markersize=2, alpha=0.3, label="games")
        axes.plot(x, curve.smooth(), label="mean of 100 games")
        axes.axhline(random_mean, linestyle=":", color="grey", label="random policy")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    if game in PUBLISHED:
        by_frames.plot(PUBLISHED_FRAMES / 1e6, PUBLISHED[game], "*", markersize=12, label="CleanRL PPO, published")
    by_frames.set_ylabel("episodic return (raw score)")
    by_frames.legend()
    figure.suptitle(f"rltrain, {game}")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
    return None
