"""The command line of the simulation; see the package's docstring. Exit code 1: an invariant is broken."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time

from sim import mutants

WEEKS_A_HOST = 52


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m sim", description="Deterministic simulation of the agent.")
    parser.add_argument("--seed", type=int, help="one host again, with its story")
    parser.add_argument("--seeds", help="FROM:TO, hosts with the whole daemon")
    parser.add_argument("--years", help="FROM:TO, host-years of the policy alone, one a seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="so many at once (all cores)")
    parser.add_argument("--mutant", choices=list(mutants.BY_NAME), help="break an invariant on purpose")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if args.mutant:
        mutants.install(args.mutant)
    if args.seed is not None:
        return _one(args.seed)
    begin = time.monotonic()
    counts, broken = [0, 0, 0], 0
    for what, span in (("daemon", args.seeds), ("policy", args.years)):
        first, last = map(int, (span or "0:0").split(":"))
        jobs = [(what, seed) for seed in range(first, last)]
        for seed, numbers, violation in _results(jobs, 1 if args.mutant else args.processes):
            counts = [a + b for a, b in zip(counts, numbers, strict=True)]
            if violation:
                broken += 1
                again = f"PYTHONPATH=tests python -m sim --{'seed' if what == 'daemon' else 'years'} "
                print(f"{what} seed {seed}: {violation}\n  again: {again}{_span(what, seed)}", flush=True)
                if args.mutant:
                    return 1
    seconds = time.monotonic() - begin
    done = f"{counts[0]} daemon turns, {counts[1]} policy steps, {counts[2]} journal lines"
    print(f"{done}, {broken} broken, {seconds:.0f} s")
    return 1 if broken else 0


def _span(what: str, seed: int) -> str:
    return str(seed) if what == "daemon" else f"{seed}:{seed + 1}"


def _results(jobs, processes: int):
    if processes == 1 or len(jobs) < 2:
        yield from map(_job, jobs)
        return
    with multiprocessing.Pool(processes) as pool:
        yield from pool.imap_unordered(_job, jobs, chunksize=8)


def _job(job):
    """Run one seed; returns it, its numbers (turns, steps, lines) and what is broken."""
    from sim.agents import simulate  # noqa: PLC0415  # after a mutant is installed
    from sim.checkers import Violation  # noqa: PLC0415
    from sim.years import live  # noqa: PLC0415

    logging.disable(logging.CRITICAL)
    what, seed = job
    try:
        if what == "policy":
            return seed, (0, live(seed, WEEKS_A_HOST)[0], 0), None
        done = simulate(seed)
    except (Violation, Exception) as error:  # noqa: BLE001  # whatever it is, it belongs to this seed
        return seed, (0, 0, 0), f"{type(error).__name__} {error}"
    return seed, (done.turns, 0, done.model.fold.lines), None


def _one(seed: int) -> int:
    from sim.agents import simulate  # noqa: PLC0415
    from sim.checkers import Violation  # noqa: PLC0415

    print(f"seed {seed}")
    try:
        story, violation = simulate(seed).host.story, None
    except (Violation, Exception) as error:  # noqa: BLE001
        story, violation = getattr(error, "story", []), error
    print("\n".join(story))
    if violation is not None:
        print(f"broken: {type(violation).__name__} {violation}")
    return 0 if violation is None else 1


if __name__ == "__main__":
    sys.exit(main())
