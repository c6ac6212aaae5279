"""Evidence of a mode that crashes in the morning, for the tests of what is made of it."""

from __future__ import annotations

from rlagent.policy.evidence import ModeEvidence

MORNING, AFTERNOON = 3, 14


def swinging(**changes) -> ModeEvidence:
    """Ten hours were seen of each hour of day, and 24 crashes, all between two and five in the morning.

    That is 0.1 an hour: 2 in the 20 hours that an hour has with half of its neighbours, where 16 were seen. Drawn
    towards 1 by two of each, three in the morning is (2 + 16) / (2 + 2) = 4.5 times the mean, the afternoon 2 / 4.
    """
    crashes = tuple(8.0 if hour in (2, 3, 4) else 0.0 for hour in range(24))
    known = {"mode": "light", "speed": 1000.0, "daily_hours": (10.0,) * 24, "daily_incidents": crashes}
    return ModeEvidence(**{**known, "daily_gain": 5.0, **changes})
