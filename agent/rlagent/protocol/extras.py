"""One error for an entry point whose extra is not installed."""

from __future__ import annotations

import importlib.util
import sys


def require(program: str, extra: str, *modules: str) -> None:
    """Exit with code 2 and the command that mends it when one of the modules of an extra is missing."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        sys.stderr.write(
            f"{program}: {', '.join(missing)} not installed: this program needs the extra '{extra}'.\n"
            f"Install it with: pip install 'rlfleet[{extra}]'\n"
        )
        raise SystemExit(2)
