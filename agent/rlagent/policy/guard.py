"""What follows when the guard sees trouble coming: one rung down before the host dies, or a word about it.

The ladder acts after crashes; this acts before one. It never promotes, and stops acting when too many mode changes have
happened by themselves within an hour: then something is wrong that stepping down does not mend, or the guard's limits.
"""

from __future__ import annotations

from rlagent.policy import events as ev
from rlagent.policy.ladder import begin, fail_rung
from rlagent.policy.model import HOUR_S
from rlagent.policy.text import clock
from rlagent.policy.turn import Turn


def on_tripped(turn: Turn, event: ev.GuardTripped) -> None:
    """Step down one rung, or say why not."""
    state, rules = turn.state, turn.rules
    index = rules.index(state.mode)
    recent = sum(t > turn.t - HOUR_S for t in state.mode_changes)
    if state.transition is not None or state.stopped:
        turn.say("guard", f"guard: {event.evidence}; nothing to do while trainers are being stopped")
    elif index <= 0:
        turn.say("alert", f"guard: {event.evidence}; {state.mode} is the lowest mode: nothing to step down to")
    elif state.hold is not None and state.hold.no_fallback:
        turn.say("alert", f"guard: {event.evidence}; held in {state.mode} without fallback: not stepping down")
    elif recent >= event.actions_max:
        turn.say(
            "alert",
            f"guard: {event.evidence}; not acting: {recent} automatic mode changes within an hour "
            f"(at most {event.actions_max})",
        )
    elif not event.act:
        to = rules.modes[index - 1].name
        turn.say("guard", f'guard: {event.evidence}; would step down to {to} (guard.mode = "log")')
    else:
        _step_down(turn, rules.modes[index - 1].name, event.evidence)


def _step_down(turn: Turn, to: str, evidence: str) -> None:
    mode = turn.state.mode
    retry = fail_rung(turn)
    reason = f"demote {mode} -> {to}: guard: {evidence}; retry not before {clock(turn.wall + retry)}"
    begin(turn, "demote", to, reason)
