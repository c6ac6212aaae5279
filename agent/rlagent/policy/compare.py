"""What both policies make of the present state, for people: each mode in numbers, and who would do what. Pure."""

from __future__ import annotations

from rlagent.policy.belief import Belief, beliefs, break_even, told
from rlagent.policy.goodput import choose, hour_of
from rlagent.policy.model import Rules, State
from rlagent.policy.text import duration, number


def mode_beliefs(state: State, t: float, wall: float) -> list[Belief]:
    """Return what is believed of each mode at this moment, lowest rung first; empty without a configuration."""
    return [] if state.rules is None else beliefs(state.evidence, state.rules, t, hour_of(wall))


def lines(state: State, rules: Rules, t: float) -> list[str]:
    """Compare the policies: what is believed of each mode, what goodput and what the ladder would do now."""
    wall = state.wall + t - state.t
    found = mode_beliefs(state, t, wall)
    known = [belief for belief in found if belief.tried]
    if not known:
        return []
    text = [f"Goodput of {told(belief)}{_limit(belief, found, rules)}." for belief in found]
    if rules.index(state.mode) < 0:
        return text
    choice = choose(state, rules, t, wall)
    would = f"stay in {state.mode}" if choice is None else f"go to {choice.to}: {choice.why}"
    if rules.policy == "goodput":
        return [*text, f"Goodput rules and would {would}.", f"The ladder would {_ladder(state, rules, t)}."]
    return [*text, f"The ladder rules and would {_ladder(state, rules, t)}.", f"Goodput would {would}."]


def _limit(belief: Belief, found: list[Belief], rules: Rules) -> str:
    """Return the crash rate up to which a mode is better than the best of the slower ones."""
    slower = [other for other in found if other.tried and other.speed < belief.speed]
    if not belief.tried or not slower:
        return ""
    best = max(slower, key=lambda other: other.goodput)
    limit = break_even(belief, best, rules.crash_price_s)
    return "" if limit is None else f", better than {best.mode} below {number(limit)}"


def _ladder(state: State, rules: Rules, t: float) -> str:
    index, crashes = rules.index(state.mode), len(state.counted(t))
    if index > 0 and crashes > rules.max_crashes:
        return f"demote to {rules.modes[index - 1].name}: {crashes} incidents in {duration(rules.window_s)}"
    if index + 1 < len(rules.modes) and state.hold is None:
        to = rules.modes[index + 1].name
        wait_s = max(rules.stable_s - state.stable_at(t), state.retry_at.get(to, t) - t)
        return f"promote to {to} " + ("now" if wait_s <= 0 else f"after another {duration(wait_s)} without an incident")
    return f"stay in {state.mode}"
