"""What has been seen of each mode: progressing time, crashes, restarts, speed, each by its age and hour of day.

Values and their arithmetic; plain sums, so that the journal holds them. What follows from them is `goodput.py`.
"""

from __future__ import annotations

import math

import msgspec

HALF_LIFE_S = 30 * 3600.0
"""Old evidence counts half after so long: a mode that was bad is tried again."""
DAILY_HALF_LIFE_S = 168 * 3600.0
"""Evidence by hour of day comes once a day: it is kept for longer."""
SPEED_WEIGHT_MAX = 60.0
"""A speed is the mean of about so many measurements."""
SPEED_CLAMP = 2.0
"""A measurement this many times off the mean counts as one that is just so far off: one wild value moves little."""
BLOCK_H = 1.5
"""Change is looked for in the last one to two blocks of so much progressing time."""
CHANGE_SIGMA = 3.0
"""So far must recent crashes be from what the older evidence lets expect to replace it."""
PRIOR_INCIDENTS = 0.5
PRIOR_HOURS = 0.5
"""The crash rate's prior: Gamma(0.5, 0.5 h)."""
HOURS = 24
DAILY_CRASHES_MIN = 8.0
"""Fewer crashes than this say nothing about the time of day."""
DAILY_GAIN_MIN = 4.0
"""The daily pattern is used once it has made the crashes e to this times as likely as without."""
DAILY_GAIN_MAX = 30.0
"""More of a record is not kept, so that a pattern that ends is dropped."""
DAILY_PRIOR = 2.0


class _Value(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Immutable, compared by content."""


class ModeEvidence(_Value, frozen=True, kw_only=True):
    """What has been seen of one mode; sums fade with age."""

    mode: str
    at: float = 0.0
    """Policy time to which the sums are faded."""
    hours: float = 0.0
    """Progressing time, weighted by how usual crashes are at its hour of day."""
    incidents: float = 0.0
    block_hours: float = 0.0
    block_incidents: float = 0.0
    """The newest block, not faded."""
    last_hours: float = 0.0
    last_incidents: float = 0.0
    """The block before."""
    restarts: float = 0.0
    down_s: float = 0.0
    """Recovered incidents, and the downtime they took in all."""
    speed: float = 0.0
    """Environment steps per second of all trainers together; 0: not measured yet."""
    speed_weight: float = 0.0
    daily_hours: tuple[float, ...] = ()
    daily_incidents: tuple[float, ...] = ()
    """By hour of day (UTC); empty until something is known."""
    daily_gain: float = 0.0
    """The record of the daily pattern, see `_gain`."""

    @property
    def seen(self) -> bool:
        """Whether anything but some time is known of the mode."""
        return self.speed > 0 or self.incidents > 0


class Evidence(_Value, frozen=True, kw_only=True):
    """All that the goodput policy knows beside the present state."""

    modes: tuple[ModeEvidence, ...] = ()
    since: float | None = None
    """Policy time up to which the present progressing time is in the sums; None: not progressing."""
    down_since: float | None = None
    """Policy time at which the open incident began to cost."""
    review_at: float = 0.0
    """Policy time of the next regular review."""
    incident: bool = False
    """An incident waits for its review."""
    would: str = ""
    """The mode that the policy that does not rule would be in."""

    def of(self, mode: str) -> ModeEvidence:
        """Return what is known of a mode, possibly nothing."""
        for known in self.modes:
            if known.mode == mode:
                return known
        return ModeEvidence(mode=mode)

    def but(self, changed: ModeEvidence) -> Evidence:
        """Return this with one mode's evidence replaced."""
        others = [m for m in self.modes if m.mode != changed.mode]
        return msgspec.structs.replace(self, modes=(*others, changed))


def faded(known: ModeEvidence, t: float) -> ModeEvidence:
    """Return evidence as it counts at policy time `t`."""
    if t <= known.at:
        return known
    keep = 0.5 ** ((t - known.at) / DAILY_HALF_LIFE_S)
    daily = [tuple([x * keep for x in sums]) for sums in (known.daily_hours, known.daily_incidents)]
    return msgspec.structs.replace(sums_at(known, t), at=t, daily_hours=daily[0], daily_incidents=daily[1])


def sums_at(known: ModeEvidence, t: float) -> ModeEvidence:
    """Return evidence with the sums as they count at `t`, all but those by hour of day: to be read, not faded again."""
    keep = 0.5 ** (max(0.0, t - known.at) / HALF_LIFE_S)
    return msgspec.structs.replace(
        known,
        hours=known.hours * keep,
        incidents=known.incidents * keep,
        restarts=known.restarts * keep,
        down_s=known.down_s * keep,
    )


def with_time(known: ModeEvidence, t: float, seconds: float, hour: int) -> ModeEvidence:
    """Return evidence with more progressing time, which ended at `t` in this hour of day."""
    known = faded(known, t)
    daily = _added(known.daily_hours, hour, seconds / 3600.0)
    # An hour in which crashes are usual counts for more: the rate is what is left when the time of day is taken out.
    more = seconds / 3600.0 * daily_factor(known, hour)
    if known.block_hours + more > BLOCK_H:
        last, fresh, crashes = known.block_hours + more, 0.0, 0.0
        known = msgspec.structs.replace(known, last_hours=last, last_incidents=known.block_incidents)
    else:
        fresh, crashes = known.block_hours + more, known.block_incidents
    gain = _gain(known, hour, seconds / 3600.0, 0)
    return _after_change(
        msgspec.structs.replace(
            known,
            daily_gain=gain,
            hours=known.hours + more,
            block_hours=fresh,
            block_incidents=crashes,
            daily_hours=daily,
        )
    )


def with_incident(known: ModeEvidence, t: float, hour: int) -> ModeEvidence:
    """Return evidence with one more crash."""
    known = faded(known, t)
    return _after_change(
        msgspec.structs.replace(
            known,
            incidents=known.incidents + 1,
            block_incidents=known.block_incidents + 1,
            daily_incidents=_added(known.daily_incidents, hour, 1.0),
            daily_gain=_gain(known, hour, 0.0, 1),
        )
    )


def with_restart(known: ModeEvidence, t: float, down_s: float) -> ModeEvidence:
    """Return evidence with one more recovery."""
    known = faded(known, t)
    return msgspec.structs.replace(known, restarts=known.restarts + 1, down_s=known.down_s + down_s)


def with_speed(known: ModeEvidence, steps_per_s: float) -> ModeEvidence:
    """Return evidence with one more measurement of the speed."""
    weight = min(known.speed_weight + 1, SPEED_WEIGHT_MAX)
    if known.speed > 0:
        steps_per_s = min(max(steps_per_s, known.speed / SPEED_CLAMP), known.speed * SPEED_CLAMP)
    return msgspec.structs.replace(known, speed=known.speed + (steps_per_s - known.speed) / weight, speed_weight=weight)


def daily_factor(known: ModeEvidence, hour: int) -> float:
    """Return how many times as often as on average a mode crashes at this hour; 1 until that has proved itself."""
    return _pattern(known, hour) if has_pattern(known) else 1.0


def has_pattern(known: ModeEvidence) -> bool:
    """Whether the record of the daily pattern is good enough to use it."""
    return known.daily_gain >= DAILY_GAIN_MIN


def _pattern(known: ModeEvidence, hour: int) -> float:
    """Return the factor that past days suggest: the hour's with half of its neighbours', drawn towards 1."""
    hours, crashes = known.daily_hours, known.daily_incidents
    total = sum(crashes)
    if total < DAILY_CRASHES_MIN:
        return 1.0
    watched = sum(hours)
    if watched <= 0:  # a host may crash all the time before it ever makes progress
        return 1.0
    before, after = hour - 1, (hour + 1) % HOURS
    seen = crashes[hour] + (crashes[before] + crashes[after]) / 2.0
    expected = total / watched * (hours[hour] + (hours[before] + hours[after]) / 2.0)
    return (DAILY_PRIOR + seen) / (DAILY_PRIOR + expected)


def _gain(known: ModeEvidence, hour: int, hours: float, crashes: int) -> float:
    """Return the daily pattern's record after more time: by how much it foretold the crashes better than none did.

    That is the logarithm of the likelihood ratio of Poisson counts, from what was known before they came. A rate that
    wanders by chance from day to day earns nothing.
    """
    factor = _pattern(known, hour)
    if factor == 1.0:
        return known.daily_gain
    mean = sum(known.daily_incidents) / sum(known.daily_hours)
    gain = known.daily_gain + crashes * math.log(factor) - (factor - 1.0) * mean * hours
    return min(max(gain, -DAILY_GAIN_MAX), DAILY_GAIN_MAX)


def _after_change(known: ModeEvidence) -> ModeEvidence:
    """Let recent evidence replace older evidence that it contradicts."""
    recent_h = known.block_hours + known.last_hours
    recent_n = known.block_incidents + known.last_incidents
    old_h, old_n = known.hours - recent_h, known.incidents - recent_n
    if old_h < 1.0:
        return known
    old_n = max(0.0, old_n)
    shape, spread = PRIOR_INCIDENTS + old_n, PRIOR_HOURS + old_h
    expected = shape / spread * recent_h
    # A Poisson count around a rate that is itself known only so well; half a crash keeps tiny expectations honest.
    variance = expected * (1.0 + recent_h / spread) + 0.5
    if (recent_n - expected) ** 2 <= CHANGE_SIGMA**2 * variance:
        return known
    return msgspec.structs.replace(known, hours=recent_h, incidents=recent_n)


def _added(sums: tuple[float, ...], hour: int, more: float) -> tuple[float, ...]:
    values = list(sums) if sums else [0.0] * HOURS
    values[hour] += more
    return tuple(values)
