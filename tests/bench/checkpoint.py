"""What checkpoints cost a training run, and what a restart costs.

    python tests/bench/checkpoint.py [--quick] [--json]

Trains one game at default settings in this process. Turns of a few iterations with a checkpoint in them alternate with
turns without one, on the same run; the difference is the cost, given as a share of a 10 s interval. Beside it, the two
parts that can be measured without that noise: the main thread's stop, and the writer's time on a CPU. Then two
starts as a process: a first one, and one that resumes, each until its first step, and the same imports alone. With
--json the last line is one object with the figures. Limits: 1% at a 10 s interval, a restart of 5 s besides imports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from rltrainer.args import Args
from rltrainer.rollout import Player
from rltrainer.train import Run, iterate
from trainer_runs import last_report, prepared, trainer, wait_until

INTERVAL_S = 10.0
OVERHEAD_LIMIT = 0.01
RESTART_LIMIT_S = 5.0
TURN_ITERATIONS = 3


def main() -> int:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description="cost of checkpoints and restarts")
    parser.add_argument("--quick", action="store_true", help="6 pairs of turns instead of 30")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(Args(run_dir=Path(folder) / "cost", game="Pong"))
        figures = cost(run, 6 if arguments.quick else 30)
        run.report.close()
        run.envs.close()
        figures |= restart(Path(folder) / "restart")
    figures["overhead_ok"] = figures["overhead_direct"] <= OVERHEAD_LIMIT
    figures["restart_ok"] = figures["restart_besides_imports_s"] <= RESTART_LIMIT_S
    show(figures)
    if arguments.json:
        print(json.dumps(figures))
    return 0 if figures["overhead_ok"] and figures["restart_ok"] else 1


def cost(run: Run, pairs: int) -> dict[str, float | bool]:
    """Train in alternating turns and return what a checkpoint adds."""
    player = Player(run.learner.act, run.learner.fetch, run.envs, run.after_step)
    turn(run, player, save=True)
    plain, saving, stalls, writers = [], [], [], []
    for _ in range(pairs):
        plain.append(turn(run, player, save=False))
        saving.append(turn(run, player, save=True))
        stalls.append(run.checkpointer.stall_s)
        writers.append(run.checkpointer.cost_s - run.checkpointer.stall_s)
    added_s = statistics.median(one - other for one, other in zip(saving, plain, strict=True))
    stall_s, writer_s = statistics.median(stalls), statistics.median(writers)
    cores = len(os.sched_getaffinity(0))
    return {
        "iteration_s": statistics.median(plain) / TURN_ITERATIONS,
        "added_s": added_s,
        "stall_s": stall_s,
        "writer_cpu_s": writer_s,
        "overhead_by_turns": added_s / INTERVAL_S,
        "overhead_direct": (stall_s + writer_s / cores) / INTERVAL_S,
        "interval_chosen_s": run.checkpointer.interval_s,
    }


def turn(run: Run, player: Player, *, save: bool) -> float:
    """Train some iterations, with a checkpoint beside them or without, and return how long it took."""
    began_s = time.perf_counter()
    if save:
        run.checkpointer.begin()
    for _ in range(TURN_ITERATIONS):
        iterate(run, player)
    run.checkpointer.collect(wait=True)
    return time.perf_counter() - began_s


def restart(run_dir: Path) -> dict[str, float | bool]:
    """Return how long a first start and a resume take until the first step, and how long their imports alone."""
    code = "import torch, ale_py, rltrainer.train"
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    imports_s = time.perf_counter() - began_s
    taken = []
    for _ in range(2):
        before = report.global_step if (report := last_report(run_dir)) else 0
        (run_dir / "progress.json").unlink(missing_ok=True)
        began_s = time.perf_counter()
        with trainer(run_dir, num_envs=32, batch_size=512, checkpoint_interval_s=1.0) as process:
            wait_until(lambda: (found := last_report(run_dir)) and found.global_step > before)  # noqa: B023 - used at once
            taken.append(time.perf_counter() - began_s)
            process.terminate()
            process.wait(timeout=60)
    return {
        "imports_s": imports_s,
        "first_start_s": taken[0],
        "restart_s": taken[1],
        "restart_besides_imports_s": max(0.0, taken[1] - imports_s),
    }


def show(figures: dict[str, float | bool]) -> None:
    """Print the figures for people."""
    print(f"a checkpoint stops training for {figures['stall_s'] * 1000:.1f} ms; its writer takes "
          f"{figures['writer_cpu_s'] * 1000:.1f} ms of a CPU")  # fmt: skip
    print(f"at one in {INTERVAL_S:.0f} s: {figures['overhead_direct']:.2%} of throughput "
          f"(by turns with and without: {figures['overhead_by_turns']:.2%}, noisy)")  # fmt: skip
    print(f"interval chosen here: {figures['interval_chosen_s']:.0f} s")
    print(f"a restart takes {figures['restart_s']:.1f} s to its first step (first start {figures['first_start_s']:.1f} "
          f"s), imports alone {figures['imports_s']:.1f} s")  # fmt: skip
    print(f"overhead within {OVERHEAD_LIMIT:.0%}: {'yes' if figures['overhead_ok'] else 'NO'}; restart within "
          f"{RESTART_LIMIT_S:.0f} s besides imports: {'yes' if figures['restart_ok'] else 'NO'}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
