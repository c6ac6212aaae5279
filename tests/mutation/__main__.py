"""Mutation testing: changes the code, one place at a time, and sees whether a test notices.

    python tests/mutation                          all of the policy, then 600 places drawn from the rest
    python tests/mutation policy [ladder text]     the policy, or some of its modules
    python tests/mutation --sample 300 --seed 7    300 places of the rest
    python tests/mutation journal rlctl --sample 50        the same among some modules
    python tests/mutation rlagent.journal --all            every mutant of a module
    python tests/mutation journal --gaps                   what survived before, again
    python tests/mutation rlagent.journal --mutant '...'   one mutant, with what the tests said
    python tests/mutation --recheck 0.1 --minutes 3        a share of what was killed before; another one each day

A mutant is named "function: line -> changed line". What survives is either a gap of the tests or changes nothing that a
user could see; tests/mutation_equivalents.toml says which, and why. Results: tests/mutation.json for the policy,
tests/mutation_sample.json for the rest. Exit codes: 0 no gaps, 1 gaps, 2 a test fails without a mutant as well.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mutation import modules, policy, recheck, sample, stage

SAMPLE = 600


def main() -> int:
    """Run what was asked for."""
    args = _arguments()
    signal.signal(signal.SIGTERM, _end)
    only_policy, words = args.modules[:1] == ["policy"], args.modules
    if only_policy:
        return policy.main(words[1:])
    try:
        names = modules.select(words)
    except KeyError as error:
        print(f"no module of tests/mutation/modules.py is named {error}; the policy's: policy NAME", file=sys.stderr)
        return 2
    today = dt.datetime.now(dt.UTC).date()
    if args.recheck:
        return recheck.run(names, args.recheck, args.minutes, today, args.workers)
    special = args.all or args.gaps or args.mutant or args.sample
    code = 0 if special or words else policy.main([])
    wanted = sample.Wanted(
        seed=args.seed or today.isoformat(),
        count=args.sample or SAMPLE,
        every=args.all,
        gaps=args.gaps,
        mutants=tuple(args.mutant),
    )
    return max(code, sample.run(names, wanted, args.workers))


def _end(number: int, _frame: object) -> None:
    stage.end_all()
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help="modules, or parts of their dotted names; `policy` and its modules")
    parser.add_argument("--sample", type=int, help=f"so many places, drawn from the modules (default: {SAMPLE})")
    parser.add_argument("--seed", help="draws the same places again (default: today's date)")
    parser.add_argument("--all", action="store_true", help="every mutant of these modules")
    parser.add_argument("--gaps", action="store_true", help="what survived before, and nobody has explained")
    parser.add_argument("--mutant", action="append", default=[], help="this mutant, by what the report names it")
    parser.add_argument("--recheck", type=float, metavar="SHARE", help="this share of what was killed before")
    parser.add_argument("--minutes", type=float, default=3.0, help="draw no more after so many, with --recheck")
    parser.add_argument("-j", dest="workers", type=int, default=os.cpu_count(), help="so many at a time (all cores)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
