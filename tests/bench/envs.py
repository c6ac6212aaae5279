"""How fast the environment workers are beside ale_py's native vector environment, and what saving their state costs.

    python tests/bench/envs.py [--quick] [--json]

Both play the same number of games with the same preprocessing, turn by turn in one run, so that a busy machine slows
both; random actions. Ours saves the state of all games in every turn (that is many times as often as a training run
does). Reports steps per second (decisions, four frames each), CPU time a step, and the cost of a save and of a
restore; beside it what a restore would cost if it replayed each game from its start instead. With --json the last line
is one object with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from rltrainer.atari.pool import Pool
from rltrainer.atari.rules import Rules

NUM_ENVS = 32
STEPS = 60
"""Of all environments, in one turn."""
SPREAD_STEPS = 300
"""Before the first turn, so that games are not all at their start."""


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description="environment workers beside AtariVectorEnv")
    parser.add_argument("--quick", action="store_true", help="two games and 12 turns instead of four and 40")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    roms = ["pong", "ms_pacman"] if arguments.quick else ["pong", "ms_pacman", "breakout", "space_invaders"]
    figures = {rom: measure(rom, threads, 12 if arguments.quick else 40) for rom in roms}
    print(f"{NUM_ENVS} games, {threads} workers or threads; medians of turns taken alternately")
    for rom, found in figures.items():
        print(
            f"{rom:15} ours {found['ours_sps']:6.0f} steps/s  AtariVectorEnv {found['native_sps']:6.0f}  "
            f"ratio {found['ratio']:.2f}  CPU us/step {found['ours_cpu_us']:.0f} / {found['native_cpu_us']:.0f}  "
            f"save {found['save_ms']:.1f} ms  restore {found['restore_ms']:.0f} ms  "
            f"(by replay {found['replay_s']:.1f} s)"
        )
    if arguments.json:
        print(json.dumps(figures))
    return 0


def measure(rom: str, threads: int, turns: int) -> dict[str, float]:
    """Play one game both ways."""
    rules = Rules(rom=rom, noop_max=30, repeat_action_probability=0.0, full_action_space=False)
    pool = Pool(rules, seed=1, num_envs=NUM_ENVS, num_workers=threads)
    pool.reset(range(NUM_ENVS))
    native = AtariVectorEnv(
        rom, NUM_ENVS, num_threads=threads, autoreset_mode=AutoresetMode.SAME_STEP, reward_clipping=False
    )
    native.reset(seed=1)
    actions = np.random.default_rng(0).integers(0, pool.num_actions, (SPREAD_STEPS, NUM_ENVS))
    me = [os.getpid()]
    play(pool, actions, saves=0)
    for each in actions:
        native.step(each)
    ours, theirs, ours_cpu, native_cpu = [], [], [], []
    for _ in range(turns):
        began_s, cpu_s = time.perf_counter(), busy_s(pool.pids + me)
        play(pool, actions[:STEPS], saves=1)
        ours.append(STEPS * NUM_ENVS / (time.perf_counter() - began_s))
        ours_cpu.append(busy_s(pool.pids + me) - cpu_s)
        began_s, cpu_s = time.perf_counter(), busy_s(me)
        for each in actions[:STEPS]:
            native.step(each)
        theirs.append(STEPS * NUM_ENVS / (time.perf_counter() - began_s))
        native_cpu.append(busy_s(me) - cpu_s)
    states, save_ms = timed_ms(pool.save)
    _, restore_ms = timed_ms(lambda: pool.restore(dict(enumerate(states))))
    pool.close()
    sps = statistics.median(ours)
    return {
        "ours_sps": sps,
        "native_sps": statistics.median(theirs),
        "ratio": statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
        "ours_cpu_us": sum(ours_cpu) / turns / STEPS / NUM_ENVS * 1e6,
        "native_cpu_us": sum(native_cpu) / turns / STEPS / NUM_ENVS * 1e6,
        "save_ms": save_ms,
        "restore_ms": restore_ms,
        "replay_s": (SPREAD_STEPS + turns * STEPS) * NUM_ENVS / sps,
    }


def play(pool: Pool, actions: np.ndarray, *, saves: int) -> None:
    """Step all games of a pool, then save their state."""
    for each in actions:
        pool.arrays.actions[:] = each
        pool.send(0)
        pool.receive(0)
    for _ in range(saves):
        pool.save()


def busy_s(pids: list[int]) -> float:
    """Return the CPU time that processes have taken."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def timed_ms(work):
    """Return what work returns, and how long it took at best of five."""
    least = float("inf")
    for _ in range(5):
        began_s = time.perf_counter()
        result = work()
        least = min(least, time.perf_counter() - began_s)
    return result, least * 1000


if __name__ == "__main__":
    sys.exit(main())
