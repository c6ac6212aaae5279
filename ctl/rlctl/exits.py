"""Exit codes, and the one that a command over many hosts ends with. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from rlctl.errors import RefusedError

if TYPE_CHECKING:
    from rlctl.fanout import Outcome

HEALTHY: Final = 0
ERROR: Final = 1
USAGE: Final = 2
DEGRADED: Final = 3
SOME_UNREACHABLE: Final = 4
ALL_UNREACHABLE: Final = 5
REFUSED: Final = 6
INTERRUPTED: Final = 130

EPILOG: Final = (
    "Exit codes: 0 healthy or done; 1 error; 2 wrong usage or inventory; 3 degraded (alerts, a FATAL game, a trainer "
    "in BACKOFF, another machine than before, or a finding of doctor); 4 some hosts, 5 all hosts unreachable or "
    "without an answering agent; 6 refused by an agent, or not sent to another machine than before; 130 ended by "
    "Ctrl-C."
)

T = TypeVar("T")


def of(outcomes: Sequence[Outcome[T]], degraded: Callable[[T], bool] = lambda _: False) -> int:
    """Return the exit code for the outcomes; a host without an answer outranks a refusal, that a degraded one.

    A host that answers and is not the machine it was counts as degraded.
    """
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    lost = [error for error in errors if not isinstance(error, RefusedError)]
    if lost:
        return ALL_UNREACHABLE if len(lost) == len(outcomes) else SOME_UNREACHABLE
    if errors:
        return REFUSED
    if any(outcome.warning is not None for outcome in outcomes):
        return DEGRADED
    values = (outcome.value for outcome in outcomes if outcome.value is not None)
    return DEGRADED if any(degraded(value) for value in values) else HEALTHY
