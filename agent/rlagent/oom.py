"""Whether the kernel has just killed a trainer for memory: it counts its kills by control group, but names nobody."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rlagent.world import HostProbe

LOOK_EVERY_S = 5.0
"""A kill counts for a trainer that ends within one to two of these after it: what held much memory ends slowly."""


class _Watched(msgspec.Struct):
    attempt: int
    looked_at: float
    looks: list[tuple[Path, int]]
    """The counter and its count, at the last look but one and at the last; a trainer may be moved in between."""


class OomWatch:
    """Looks at the counters of running trainers now and then, so that only a kill near a trainer's end is its own."""

    def __init__(self, host: HostProbe) -> None:
        self._host = host
        self._watched: dict[str, _Watched] = {}

    def look(self, game: str, attempt: int, pid: int, at: float) -> None:
        """Note the counter of a running trainer; `at` is monotonic, seconds."""
        known = self._of(game, attempt)
        if known is not None and at - known.looked_at < LOOK_EVERY_S:
            return
        counter = self._host.oom_counter(pid)
        before = known.looks[-1:] if known is not None else []
        self._watched[game] = _Watched(attempt, at, [*before, (counter, self._host.oom_kills(counter))])

    def was_killed(self, game: str, attempt: int) -> bool:
        """Whether the kernel killed for memory, in the group of a trainer that has ended, just before its end."""
        known = self._of(game, attempt)
        return known is not None and any(self._host.oom_kills(counter) > kills for counter, kills in known.looks)

    def _of(self, game: str, attempt: int) -> _Watched | None:
        known = self._watched.get(game)
        return known if known is not None and known.attempt == attempt else None
