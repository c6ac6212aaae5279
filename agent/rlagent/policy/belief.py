"""What the goodput policy believes of a mode: speed, crash rate with its interval, goodput, break-even rate. Pure."""

from __future__ import annotations

import msgspec

from rlagent.policy import gamma
from rlagent.policy.evidence import (
    PRIOR_HOURS,
    PRIOR_INCIDENTS,
    Evidence,
    ModeEvidence,
    daily_factor,
    faded,
    has_pattern,
    sums_at,
)
from rlagent.policy.model import Rules
from rlagent.policy.text import number

RESTART_GUESS_S = 180.0
"""Downtime of a crash before one has been measured; it weighs as much as one measurement."""
SPEED_GUESS = 2.0
"""A mode that crashed before its speed could be measured is taken for so much faster than the one below."""


class Belief(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One mode at one moment."""

    mode: str
    tried: bool
    speed: float
    """Environment steps per second while progressing."""
    measured: bool
    """The speed was measured; else it is a guess beside the mode below, for decisions only and not to be told."""
    rate: float
    """Crashes per progressing hour: the posterior mean, at this hour of day."""
    rate_low: float
    """Its 16% quantile."""
    restart_s: float
    lost_s: float
    """Work that a crash costs, seconds of progress."""
    goodput: float
    """Useful steps per second at the mean rate."""
    score: float
    """The same at the low rate: what decides."""
    shape: float
    spread_h: float
    """Of the rate's Gamma posterior."""

    @property
    def rate_high(self) -> float:
        """The crash rate's 84% quantile."""
        return gamma.quantile(self.shape, self.spread_h, gamma.Z_84)


def goodput_of(speed: float, rate: float, lost_s: float, down_s: float) -> float:
    """Return useful steps per second: speed, less what `rate` crashes an hour lose and wait for.

    Of each progressing second a crash loses `rate * lost_s`, and `rate * down_s` more are needed beside it.
    """
    return speed * max(0.0, 1.0 - rate * lost_s / 3600.0) / (1.0 + rate * down_s / 3600.0)


def break_even(fast: Belief, slow: Belief, price_s: float) -> float | None:
    """Return the crash rate at which the faster mode is worth just the slower one; None: it never is."""
    per_crash = (fast.speed * fast.lost_s + slow.goodput * (fast.restart_s + price_s)) / 3600.0
    gain = fast.speed - slow.goodput
    return gain / per_crash if gain > 0 and per_crash > 0 else None


def beliefs(evidence: Evidence, rules: Rules, t: float, hour: int) -> list[Belief]:
    """Return what is believed of each mode, lowest rung first."""
    known = [_at(evidence.of(mode.name), t) for mode in rules.modes]
    downs, down_s = sum(m.restarts for m in known), sum(m.down_s for m in known)
    pooled_s = (RESTART_GUESS_S + down_s) / (1.0 + downs)
    found: list[Belief] = []
    for m in known:
        below = found[-1].speed if found else 1.0
        found.append(_belief(m, rules, pooled_s, below, hour))
    return found


def _at(known: ModeEvidence, t: float) -> ModeEvidence:
    """Return what counts of a mode's evidence at policy time `t`; most have no daily pattern that is used."""
    return faded(known, t) if has_pattern(known) else sums_at(known, t)


def _belief(known: ModeEvidence, rules: Rules, pooled_s: float, below: float, hour: int) -> Belief:
    restart_s = (2.0 * pooled_s + known.down_s) / (2.0 + known.restarts)
    lost_s = rules.checkpoint_interval_s / 2.0
    speed = known.speed or below * SPEED_GUESS
    shape, spread_h = PRIOR_INCIDENTS + known.incidents, (PRIOR_HOURS + known.hours) / daily_factor(known, hour)
    rate, low = shape / spread_h, gamma.quantile(shape, spread_h, gamma.Z_16)
    down_s = restart_s + rules.crash_price_s
    return Belief(
        mode=known.mode,
        tried=known.seen,
        speed=speed,
        measured=known.speed > 0,
        rate=rate,
        rate_low=low,
        restart_s=restart_s,
        lost_s=lost_s,
        goodput=goodput_of(speed, rate, lost_s, restart_s),
        score=goodput_of(speed, low, lost_s, down_s),
        shape=shape,
        spread_h=spread_h,
    )


def told(belief: Belief) -> str:
    """Return a mode's numbers as people read them."""
    if not belief.tried:
        return f"{belief.mode}: nothing measured yet"
    rate = f"{number(belief.rate)} crashes/h ({number(belief.rate_low)} to {number(belief.rate_high)})"
    if not belief.measured:
        return f"{belief.mode}: speed not measured, {rate}"
    return f"{belief.mode}: {number(belief.goodput)} useful of {number(belief.speed)} steps/s at {rate}"
