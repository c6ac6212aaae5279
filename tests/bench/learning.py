"""Whether our trainer learns: train for some minutes from a fixed seed, and plot returns against frames and hours.

    python tests/bench/learning.py [--game Breakout] [--minutes 15] [--until RETURN] [--threads N] [--plot RUN_DIR]
        [--quick] [--json]

Beside the curve stand a random policy, measured here under the same protocol, and the scores that CleanRL has
published for PPO after 10 million steps (40 million frames). The run has risen clearly when the mean of its last 100
games is more than two standard deviations of single random games above the random mean. Exit 1 when it has not; --quick
trains for half a minute and judges nothing. With --until training ends when the mean of the last 100 games reaches it.
The picture and the run stay in .cache/bench-learning. With --plot an existing run is shown and judged instead of
trained. With --json the last line is one object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders import curves, games, training
from contenders.curves import Curve

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "bench-learning"
LAST_GAMES = 100
RANDOM_GAMES = 64
CLEARLY_DEVIATIONS = 2.0


def main() -> int:
    """Train or read a run, plot it, judge it."""
    parser = argparse.ArgumentParser(description="a learning curve")
    parser.add_argument("--game", default="Breakout", help="as rltrain names it [default: Breakout]")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training [default: 15]")
    parser.add_argument("--until", type=float, metavar="RETURN", help="end when the last 100 games have this mean")
    parser.add_argument("--threads", type=int, help="of rltrain [default: its own]")
    parser.add_argument("--seed", type=int, default=1, help="[default: 1]")
    parser.add_argument("--plot", type=Path, metavar="RUN_DIR", help="show this run of the game; train nothing")
    parser.add_argument("--quick", action="store_true", help="half a minute of training: shows that it works, no more")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    training.end_trainers_on_sigterm()
    random_returns = play_randomly(arguments.game, 16 if arguments.quick else RANDOM_GAMES)
    print(
        f"a random policy in {arguments.game}: {statistics.fmean(random_returns):.2f} "
        f"(standard deviation {statistics.pstdev(random_returns):.2f}, {len(random_returns)} games)"
    )
    run_dir = arguments.plot or FOLDER / f"{arguments.game}-seed{arguments.seed}"
    if arguments.plot is None:
        minutes = 0.5 if arguments.quick else arguments.minutes
        flags = ["--seed", str(arguments.seed)]
        if arguments.threads is not None:
            flags += ["--threads", str(arguments.threads)]
        training.train(run_dir, arguments.game, minutes, flags, until=arguments.until)
    curve = Curve.of(run_dir / "metrics.jsonl")
    if not curve.returns:
        print(f"{run_dir}: no game has ended yet; nothing to show")
        return 0 if arguments.quick else 1
    figures = judge(arguments.game, curve, random_returns)
    show(arguments.game, curve, figures, FOLDER / f"{arguments.game}.png")
    if arguments.json:
        print(json.dumps(figures))
    return 0 if arguments.quick or figures["risen_clearly"] else 1


def play_randomly(game: str, count: int) -> list[float]:
    """Return the raw scores of a random policy's games; all that begin count, so that short ones weigh no more."""
    from ale_py import AtariVectorEnv  # noqa: PLC0415  # `--help` does without
    from gymnasium.vector import AutoresetMode  # noqa: PLC0415

    envs = AtariVectorEnv(
        games.snake_case(game), num_envs=count, num_threads=len(os.sched_getaffinity(0)), episodic_life=False,
        reward_clipping=False, autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    envs.reset(seed=1)
    rng = np.random.default_rng(1)
    scores, running = np.zeros(count), np.ones(count, bool)
    while running.any():
        _, rewards, over, cut, _ = envs.step(rng.integers(envs.single_action_space.n, size=count))
        scores += rewards * running
        running &= ~(over | cut)
    envs.close()
    return scores.tolist()


def judge(game: str, curve: Curve, random_returns: list[float]) -> dict[str, object]:
    """Return the figures of a run beside those of a random policy."""
    last = curve.returns[-LAST_GAMES:]
    mean, deviation = statistics.fmean(random_returns), statistics.pstdev(random_returns)
    reached = statistics.fmean(last)
    return {
        "game": game,
        "random_mean": round(mean, 2),
        "random_std": round(deviation, 2),
        "random_games": len(random_returns),
        "mean_last_games": round(reached, 2),
        "games_in_mean": len(last),
        "best": max(curve.returns),
        "games": len(curve.returns),
        "frames": curve.frames[-1],
        "hours": round(curve.hours[-1], 3),
        "steps_per_s": round(curve.frames[-1] / 4 / max(curve.hours[-1] * 3600, 1e-9)),
        "cleanrl_at_40m_frames": curves.PUBLISHED.get(game),
        "risen_clearly": reached > mean + CLEARLY_DEVIATIONS * deviation,
    }


def show(game: str, curve: Curve, figures: dict[str, object], picture: Path) -> None:
    """Plot into the terminal and a file, and print the verdict."""
    curves.show_in_terminal(game, curve, figures["random_mean"])
    fault = curves.draw(game, curve, figures["random_mean"], picture)
    print(f"picture: {picture}" if fault is None else f"picture: n/a ({fault})")
    published = figures["cleanrl_at_40m_frames"]
    print(
        f"{game} after {figures['frames'] / 1e6:.2f} M frames in {figures['hours'] * 60:.1f} min: the last "
        f"{figures['games_in_mean']} games {figures['mean_last_games']} on average, best {figures['best']:.0f}; random "
        f"{figures['random_mean']}; CleanRL's PPO after 40 M frames {'n/a' if published is None else published}"
    )
    print(f"risen clearly above random: {'yes' if figures['risen_clearly'] else 'NO'}")


if __name__ == "__main__":
    sys.exit(main())
