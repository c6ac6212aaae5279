"""Entry point of `rlagent`: says which extra is missing, else runs the command line."""

from __future__ import annotations

import sys

from rlagent.protocol import extras


def main() -> None:
    """Run the command line and exit with its code."""
    extras.require("rlagent", "agent", "tomli_w", "pynvml")
    from rlagent.cli import run  # noqa: PLC0415  # only after the check above

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
