"""What the policy will do next by itself, and what a person should look at; read from the state alone."""

from __future__ import annotations

from operator import attrgetter

import msgspec

from rlagent.policy import compare
from rlagent.policy.model import Rules, State
from rlagent.policy.text import by, duration


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """The next automatic action."""

    kind: str
    """promote, review, start, release, enter, retry or none."""
    at: float | None
    """Policy time, if nothing happens before; None: no time can be given."""
    reason: str


def next_action(state: State, t: float) -> Next:
    """Return the next thing the policy does if nothing happens; the soonest of all that have a time."""
    rules = state.rules
    if rules is None:
        return Next(kind="none", at=None, reason="not configured yet")
    if state.transition is not None:
        waiting = ", ".join(game.name for game in state.games if game.has_process)
        reason = f"{state.transition.to} begins when {waiting} has checkpointed and stopped"
        return Next(kind="enter", at=None, reason=reason)
    if state.stopped:
        if state.stopped_for_reboot:
            reason = "all trainers, if the announced reboot has not come by then"
            return Next(kind="start", at=state.announced_until, reason=reason)
        return Next(kind="none", at=None, reason="stopped by an operator; `start` goes on")
    found = [*_starts(state), *_release(state), *_retries(state, rules)]
    promotion = _promotion(state, rules, t) if rules.policy == "ladder" else _review(state, rules)
    if promotion is not None:
        found.append(promotion)
    if found:
        return min(found, key=attrgetter("at"))
    return Next(kind="none", at=None, reason=_nothing(state, rules, t))


def lines(state: State, t: float) -> list[str]:
    """Explain where the policy stands: each line a sentence with its numbers."""
    rules = state.rules
    if rules is None:
        return ["The agent has no configuration yet."]
    counted = state.counted(t)
    text = [
        f"Mode {state.mode} for {duration(t - state.mode_entered)}; the ladder is "
        + " < ".join(mode.name for mode in rules.modes)
        + ".",
        f"Incidents in this mode in {duration(rules.window_s)}: {len(counted)}"
        + (f" (more than {rules.max_crashes} demote)." if rules.limits(held=state.hold is not None) else "."),
        f"Stable for {duration(state.stable_at(t))} of the {duration(rules.stable_s)} that a promotion needs."
        if rules.policy == "ladder"
        else f"Stable for {duration(state.stable_at(t))}.",
    ]
    text += [f"  - {incident.symptoms[0]}, {duration(t - incident.t)} ago" for incident in counted]
    if state.transition is not None:
        return [*text, f"On its way to {state.transition.to}: {state.transition.reason}."]
    if state.stopped:
        until = _stop_end(state)
        return [*text, f"All trainers are stopped by an operator until {until}."]
    if state.incident_open:
        waiting = [game.name for game in state.games if game.has_slot and not game.progressing]
        text.append(f"An incident is open: waiting for a step of {', '.join(waiting)}.")
    if state.hold is not None:
        end = "until released" if state.hold.until is None else f"for another {duration(state.hold.until - t)}"
        text.append(f"Held in {state.hold.mode} {end}{by(state.hold.who, state.hold.why)}: no promotion.")
    for mode, at in state.retry_at.items():
        if at > t:
            tries = state.failed_tries[mode]
            text.append(f"{mode} failed {tries} time(s): not tried again for another {duration(at - t)}.")
    return [*text, *_consequence(state, rules, t), *compare.lines(state, rules, t)]


def _stop_end(state: State) -> str:
    if state.stopped_for_reboot:
        return "the announced reboot"
    return "the agent's next start" if state.stopped_until_restart else "started again"


def alerts(state: State, t: float) -> list[str]:
    """Return what a person should look at."""
    rules = state.rules
    if rules is None:
        return []
    found = [f"{game.name} is FATAL: {game.last_error}" for game in state.games if game.status == "FATAL"]
    counted = state.counted(t)
    if len(counted) > rules.max_crashes and rules.index(state.mode) == 0:
        found.append(
            f"{len(counted)} incidents in {duration(rules.window_s)} in the lowest mode: the host is not stable"
        )
    return found


def _promotion(state: State, rules: Rules, t: float) -> Next | None:
    index = rules.index(state.mode)
    if state.hold is not None or index + 1 >= len(rules.modes) or not any(game.has_slot for game in state.games):
        return None
    to = rules.modes[index + 1].name
    stable_in = rules.stable_s - state.stable_at(t)
    cooldown_in = state.retry_at.get(to, t) - t
    if state.progressing_since is None:
        waiting = ", ".join(game.name for game in state.games if game.has_slot and not game.progressing)
        reason = f"to {to}, at the earliest: stable time waits for a step of {waiting}"
    elif cooldown_in > stable_in:
        reason = f"to {to}: its cooldown ends then"
    else:
        reason = f"to {to}: {duration(rules.stable_s)} stable then, if nothing crashes"
    return Next(kind="promote", at=t + max(0.0, stable_in, cooldown_in), reason=reason)


def _review(state: State, rules: Rules) -> Next | None:
    """Return when goodput chooses the next time, and what it has not tried yet."""
    if state.hold is not None or len(rules.modes) == 1:
        return None
    evidence, known_at = state.evidence, state.mode_entered + rules.known_s
    # Until it is known itself, a mode is not left for one that was never tried.
    untried = {
        mode.name: max(evidence.review_at, known_at, state.retry_at.get(mode.name, known_at))
        for mode in rules.modes
        if mode.name != state.mode and not evidence.of(mode.name).seen
    }
    if untried:
        to = min(untried, key=untried.__getitem__)
        return Next(kind="review", at=untried[to], reason=f"try {to}, once {state.mode} is known")
    return Next(kind="review", at=evidence.review_at, reason="goodput compares the modes; so does each incident")


def _starts(state: State) -> list[Next]:
    return [
        Next(
            kind="start",
            at=game.not_before,
            reason=f"{game.name} again after its backoff: {game.last_error or 'stopped'}",
        )
        for game in state.games
        if game.status == "BACKOFF"
    ]


def _release(state: State) -> list[Next]:
    if state.hold is None or state.hold.until is None:
        return []
    return [Next(kind="release", at=state.hold.until, reason=f"the hold of {state.hold.mode} ends")]


def _retries(state: State, rules: Rules) -> list[Next]:
    slots = rules.modes[rules.index(state.mode)].slots
    if sum(game.has_slot for game in state.games) >= slots:
        return []
    return [
        Next(kind="retry", at=game.since + rules.cooldown_s, reason=f"one more attempt of {game.name}, which is FATAL")
        for game in state.games
        if game.status == "FATAL"
    ]


def _nothing(state: State, rules: Rules, t: float) -> str:
    if all(game.status == "EXITED" for game in state.games):
        return "every game has reached its target"
    if state.hold is not None:
        return f"held: no promotion from {state.mode} until released"
    if len(rules.modes) == 1:
        return f"{state.mode} is the only mode"
    left = rules.max_crashes + 1 - len(state.counted(t))
    return (
        f"{state.mode} is the top of the ladder: {left} more incident(s) within {duration(rules.window_s)} would demote"
    )


def _consequence(state: State, rules: Rules, t: float) -> list[str]:
    index = rules.index(state.mode)
    if index <= 0:
        return [f"{state.mode} is the lowest mode: it stays however often it crashes."]
    below = rules.modes[index - 1].name
    if state.hold is not None and state.hold.no_fallback:
        return ["Held without fallback: no demotion either."]
    text = []
    if rules.limits(held=state.hold is not None):
        left = max(1, rules.max_crashes + 1 - len(state.counted(t)))
        text.append(f"{left} more incident(s) within {duration(rules.window_s)} would demote to {below}.")
    if rules.blind_spot and state.checkpoints_reported and state.barren_incidents:
        limit = rules.blind_spot
        text.append(f"{state.barren_incidents} incident(s) in a row without a checkpoint; {limit} would demote.")
    return text
