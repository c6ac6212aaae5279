"""How many steps a second all trainers of a mode take together, from their step counts, not from what they say of it.

Time is passed in (monotonic seconds). Only a while counts in which the same attempts made progress throughout.
"""

from __future__ import annotations

from collections.abc import Mapping

SPEED_EVERY_S = 300.0
"""A speed is measured over so long."""


class Throughput:
    """Measures again and again; starts afresh whenever the trainers change."""

    def __init__(self) -> None:
        self._who: Mapping[str, int] = {}
        self._steps: dict[str, int] = {}
        self._since = 0.0

    def look(
        self, now: float, attempts: Mapping[str, int], steps: Mapping[str, int | None]
    ) -> tuple[float, float] | None:
        """Return (steps per second, over so many seconds) once a while is over, else None.

        `attempts`: the attempt of each game with a slot, if all of them make progress, else empty; `steps`: their
        newest step counts.
        """
        counts = {game: count for game, count in steps.items() if game in attempts and count is not None}
        if not attempts or len(counts) < len(attempts):
            self._who = {}
            return None
        if attempts != self._who:
            self._begin(now, attempts, counts)
            return None
        over_s = now - self._since
        if over_s < SPEED_EVERY_S:
            return None
        gained = sum(counts[game] - self._steps[game] for game in counts)
        self._begin(now, attempts, counts)
        return (gained / over_s, over_s) if gained > 0 else None

    def _begin(self, now: float, attempts: Mapping[str, int], counts: dict[str, int]) -> None:
        self._who, self._steps, self._since = dict(attempts), counts, now
