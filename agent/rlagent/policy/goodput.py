"""The goodput policy: be in the mode with the best score, and move only for a clear gain.

A mode's score is its goodput at an optimistic crash rate, the 16% quantile of what its own history allows. Old evidence
fades, so a bad mode is tried again later; a mode never tried is tried after a while in a known one. While the ladder
rules, the same review runs in the shadow and only says what it would do.
"""

from __future__ import annotations

import msgspec

from rlagent.policy import events as ev
from rlagent.policy import evidence as seen
from rlagent.policy import ladder
from rlagent.policy.belief import Belief, beliefs, break_even, told
from rlagent.policy.evidence import ModeEvidence
from rlagent.policy.model import Rules, State, TransitionKind
from rlagent.policy.text import duration, number
from rlagent.policy.turn import Turn

REVIEW_S = 900.0
"""Between two regular reviews; each incident has one too."""
DWELL_S = 1800.0
"""A mode is left no sooner, unless it crashes."""
UNSEEN_S = 30.0
"""Half of the 60 s after which the agent journals the passing of time."""
MARGIN = 0.02
"""Only for so much more is it worth to move."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A mode to move to; the reason is put into words only when somebody is told."""

    best: Belief
    """Of the mode to move to."""
    here: Belief
    stay_s: float
    """In the present mode so far."""
    price_s: float
    """Of a crash."""

    @property
    def to(self) -> str:
        """The mode's name."""
        return self.best.mode

    @property
    def why(self) -> str:
        """The reason, in numbers."""
        if self.best.tried:
            return _why(self.best, self.here, self.price_s)
        known = f"{self.here.mode} is known after {duration(self.stay_s)}"
        return f"{self.to} was never tried, and {known}; {told(self.here)}"


def account(turn: Turn, before: State, until: float) -> None:
    """Take the progressing time that an event ended, and the incident it began, into the evidence.

    `before` is the state before the event; somebody watched until `until`. After a reboot the trainers are taken to
    have gone on for half a journal tick after that: without it a mode that crashes often would look worse than it is.
    """
    until = min(turn.t, until + UNSEEN_S)
    opened = "incident" in [decision.kind for decision in turn.decisions]
    if opened or not turn.state.all_progressing:
        _stop_counting(turn, before.mode, until)
    if opened:
        _end_downtime(turn, before.mode)
        mode = turn.state.mode
        _change(turn, seen.with_incident(turn.state.evidence.of(mode), turn.t, hour_of(turn.wall)))
        _note(turn, down_since=until, incident=True)


def settle(turn: Turn) -> None:
    """Note whether time is progress from now on, and an incident that is over."""
    state, evidence = turn.state, turn.state.evidence
    if evidence.down_since is not None and not state.incident_open:
        if state.all_progressing:
            _end_downtime(turn, state.mode)
        _note(turn, down_since=None)
    if not state.all_progressing:
        _stop_counting(turn, state.mode, turn.t)
    elif evidence.since is None:
        _note(turn, since=turn.t)


def on_speed(turn: Turn, event: ev.SpeedMeasured) -> None:
    """Take a measured speed into the evidence."""
    state = turn.state
    if state.all_progressing and event.steps_per_s > 0:
        _change(turn, seen.with_speed(state.evidence.of(state.mode), event.steps_per_s))


def review(turn: Turn) -> None:
    """Choose the mode, if a review is due: move there, or in the shadow say so."""
    state, rules = turn.state, turn.rules
    evidence = state.evidence
    if not (evidence.incident or turn.t >= evidence.review_at) or rules.index(state.mode) < 0:
        return
    _count_time(turn, state.mode, turn.t)
    # Where time is still progress, `settle` counts on from here.
    _note(turn, since=None, incident=False, review_at=turn.t + REVIEW_S)
    if state.transition is not None or state.hold is not None or state.stopped:
        return
    choice = choose(turn.state, rules, turn.t, turn.wall)
    if rules.policy != "goodput":
        _tell(turn, choice)
    elif choice is not None:
        kind: TransitionKind = "promote" if rules.index(choice.to) > rules.index(state.mode) else "demote"
        ladder.begin(turn, kind, choice.to, f"{kind} {state.mode} -> {choice.to}: {choice.why}")


def choose(state: State, rules: Rules, t: float, wall: float) -> Choice | None:
    """Return the mode to move to and why, or None to stay; the present mode must be one of the rules'."""
    found = beliefs(state.evidence, rules, t, hour_of(wall))
    here = found[rules.index(state.mode)]
    stay_s = t - state.mode_entered
    allowed = [b for b in found if t >= state.retry_at.get(b.mode, t)]
    best = max((b for b in allowed if b.tried), key=lambda b: b.score, default=here)
    # A mode is given its time to show what it can, unless the better one is a safer one.
    if not (best.score > here.score * (1.0 + MARGIN) and (stay_s >= DWELL_S or best.speed < here.speed)):
        untried = [b for b in allowed if not b.tried and b is not here]
        if not (untried and stay_s >= rules.known_s and state.all_progressing):
            return None
        best = untried[0]
    return Choice(best=best, here=here, stay_s=stay_s, price_s=rules.crash_price_s)


def _why(best: Belief, here: Belief, price_s: float) -> str:
    gain = "" if here.score <= 0 else f" by {number(100 * (best.score / here.score - 1))} %"
    text = f"the better score{gain}, {number(best.score)} to {number(here.score)} steps/s; {told(best)}; {told(here)}"
    fast, slow = (best, here) if best.speed > here.speed else (here, best)
    limit = break_even(fast, slow, price_s)
    return text if limit is None else f"{text}; {fast.mode} pays below {number(limit)} crashes/h"


def _tell(turn: Turn, choice: Choice | None) -> None:
    """Say once what goodput would do in the ladder's place."""
    mode, would = turn.state.mode, turn.state.evidence.would
    to = mode if choice is None else choice.to
    if choice is not None and to != would:
        turn.say("shadow", f"goodput would go {mode} -> {to}: {choice.why}", from_mode=mode, to_mode=to)
    if to != would:
        _note(turn, would=to)


def _count_time(turn: Turn, mode: str, until: float) -> None:
    evidence = turn.state.evidence
    if evidence.since is not None and until > evidence.since:
        seconds = until - evidence.since
        _change(turn, seen.with_time(evidence.of(mode), until, seconds, hour_of(turn.wall)))


def _stop_counting(turn: Turn, mode: str, until: float) -> None:
    if turn.state.evidence.since is not None:
        _count_time(turn, mode, until)
        _note(turn, since=None)


def _change(turn: Turn, changed: ModeEvidence) -> None:
    turn.set(evidence=turn.state.evidence.but(changed))


def _note(turn: Turn, **changes: object) -> None:
    turn.set(evidence=msgspec.structs.replace(turn.state.evidence, **changes))


def _end_downtime(turn: Turn, mode: str) -> None:
    evidence = turn.state.evidence
    if evidence.down_since is not None:
        _change(turn, seen.with_restart(evidence.of(mode), turn.t, turn.t - evidence.down_since))


def hour_of(wall: float) -> int:
    """Return the hour of day (UTC)."""
    return int(wall // 3600) % seen.HOURS
