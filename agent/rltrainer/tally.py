"""What a run counts: steps, iterations, episodes and their scores, and how fast they come.

Pure: time is passed in. A tally is part of every checkpoint, so numbers continue after a restart.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

RECENT_EPISODES: Final = 100


class Tally(msgspec.Struct, kw_only=True):
    """Counters and scores since the first start of the run."""

    global_step: int = 0
    """Environment steps over all environments."""
    iteration: int = 0
    """Rollouts learned from."""
    episodes: int = 0
    """Whole games finished."""
    recent_returns: list[float] = msgspec.field(default_factory=list)
    """Episodic returns (raw score) of the last 100 episodes, oldest first."""
    best_return: float | None = None
    """Best episodic return so far; None: no episode yet."""

    def add_episode(self, episodic_return: float) -> None:
        """Count one finished game with its raw score."""
        self.episodes += 1
        self.recent_returns = [*self.recent_returns[-(RECENT_EPISODES - 1) :], episodic_return]
        self.best_return = episodic_return if self.best_return is None else max(self.best_return, episodic_return)

    @property
    def last_return(self) -> float | None:
        """Raw score of the last game; None: none yet."""
        return self.recent_returns[-1] if self.recent_returns else None

    @property
    def mean_return_100(self) -> float | None:
        """Mean raw score of the last 100 games (of fewer at the beginning); None: none yet."""
        return sum(self.recent_returns) / len(self.recent_returns) if self.recent_returns else None


class Rate:
    """How fast a counter grows, over a sliding window."""

    def __init__(self, window_s: float, min_s: float, started_s: float, count: int) -> None:
        self._window_s = window_s
        self._min_s = min_s
        self._marks = deque([(started_s, count)])

    def mark(self, now_s: float, count: int) -> None:
        """Note the counter's value at a time (monotonic seconds)."""
        self._marks.append((now_s, count))
        while self._marks[1][0] <= now_s - self._window_s:
            self._marks.popleft()

    def per_second(self) -> float | None:
        """Return the growth per second up to the last mark; None: watched for too short a time to say."""
        (since_s, count), (until_s, last) = self._marks[0], self._marks[-1]
        span_s = until_s - since_s
        return (last - count) / span_s if span_s >= self._min_s else None
