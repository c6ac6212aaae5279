"""The entry point of `rltrain` and `python -m rltrainer`: parse, run one command, turn an error into one line.

No torch here or above: `--help` must be quick, and SIGTERM must be heard before the heavy imports begin.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rlagent.protocol import extras
from rltrainer import cli, process
from rltrainer.args import Args
from rltrainer.errors import TrainerError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (0 done or stopped, 1 failed, 2 wrong configuration)."""
    extras.require("rltrain", "trainer", "torch", "gymnasium", "ale_py", "numpy")
    command = cli.parse(sys.argv[1:] if argv is None else argv, os.environ)
    if argv is None and isinstance(command, Args):  # a process of our own
        process.begin_again()
    try:
        return _run(command)
    except TrainerError as error:
        print(f"rltrain: {error}", file=sys.stderr)
        return error.exit_code


def _run(command: Args | cli.Verify | cli.Evaluate) -> int:
    if isinstance(command, cli.Verify):
        from rltrainer import verify  # noqa: PLC0415 - only what the command needs

        return verify.report(command.run_dir)
    if isinstance(command, cli.Evaluate):
        from rltrainer import evaluate  # noqa: PLC0415 - only what the command needs

        return evaluate.run(command)
    from rltrainer import launch  # noqa: PLC0415 - only what the command needs

    return launch.launch(command)


if __name__ == "__main__":
    sys.exit(main())
