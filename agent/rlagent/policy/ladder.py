"""The ladder: incidents in a sliding window, demotion, promotion, cooldown, and the drain between two modes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from rlagent.policy.games import fill_slots, requeue_fatal, stop_game
from rlagent.policy.model import HOUR_S, Game, Incident, Transition, TransitionKind
from rlagent.policy.text import clock, duration
from rlagent.policy.turn import Turn

SAME_CRASH_S = 60.0
"""A trainer that still takes steps so long after an incident began is not its victim: its crash is one of its own."""
INCIDENTS_KEPT = 500
"""So many incidents are kept at most, whatever their age: the state stays small on a host that crashes all the time."""


def on_symptom(turn: Turn, symptom: str, victims: Sequence[Game], *, reboot: bool = False) -> None:
    """Count a symptom: it opens an incident, or belongs to the open one.

    `victims` are the games it hit, as they were before. It is a crash of its own when one of them had recovered from
    the open incident, or was not touched by it. So is a second reboot within one open incident: the host came back,
    trainers started, and it went down again before they took a step.
    """
    last = turn.state.incidents[-1] if turn.state.incidents else None
    turn.set(stable_s=0.0, progressing_since=None)
    healthy = last is not None and any(_recovered(game, last, turn.t) for game in victims)
    if turn.state.incident_open and last is not None and not healthy and not (reboot and last.reboot):
        symptoms = last.symptoms if len(last.symptoms) >= 20 else (*last.symptoms, symptom)
        merged = msgspec.structs.replace(last, symptoms=symptoms, reboot=last.reboot or reboot)
        turn.set(incidents=(*turn.state.incidents[:-1], merged))
        return
    incident = Incident(
        t=turn.t, wall=turn.wall, visit=turn.state.visit, mode=turn.state.mode, symptoms=(symptom,), reboot=reboot
    )
    turn.set(
        incidents=(*turn.state.incidents, incident)[-INCIDENTS_KEPT:],
        incident_open=True,
        barren_incidents=turn.state.barren_incidents + 1,
    )
    rules, counted = turn.rules, len(turn.state.counted(turn.t))
    turn.say("incident", f"incident {counted} of at most {rules.max_crashes} in {duration(rules.window_s)}: {symptom}")
    if counted > rules.max_crashes and rules.index(turn.state.mode) == 0:
        turn.say("alert", f"{_count(turn)} in the lowest mode {turn.state.mode}: staying; {_list(turn)}")


def _recovered(game: Game, incident: Incident, t: float) -> bool:
    """Whether a game took steps after an incident began, as far as its trainer's start or the time since then tell."""
    if game.progressed_at is None:
        return False
    return game.progressed_at > incident.t or (game.progressing and t - incident.t > SAME_CRASH_S)


def on_checkpoint(turn: Turn) -> None:
    """Note that a checkpoint was committed: incidents before it are none in a row without one."""
    turn.set(barren_incidents=0, checkpoints_reported=True)


def close_incident(turn: Turn) -> None:
    """End the open incident once all trainers make progress again, or none is wanted."""
    if turn.state.incident_open and (turn.state.all_progressing or not turn.slotted):
        incident = turn.state.incidents[-1]
        turn.set(incident_open=False)
        turn.say("recovered", f"recovered {duration(turn.t - incident.t)} after {incident.symptoms[0]}")


def forget_old(turn: Turn) -> None:
    """Drop incidents and reboots that nobody asks for any more, and failed tries of a mode that has held."""
    state, rules = turn.state, turn.rules
    if state.incidents or state.reboots or state.mode_changes:
        _drop_old(turn)
    held = turn.t - state.mode_entered
    if state.mode in state.failed_tries and state.transition is None and held >= rules.forget_s:
        turn.set(
            failed_tries={m: n for m, n in state.failed_tries.items() if m != state.mode},
            retry_at={m: t for m, t in state.retry_at.items() if m != state.mode},
        )
        turn.say("forget", f"{state.mode} has held for {duration(held)}: its failed tries are forgotten")


def _drop_old(turn: Turn) -> None:
    state, rules = turn.state, turn.rules
    old = bisect_right(state.incidents, turn.t - max(rules.window_s, HOUR_S), key=lambda incident: incident.t)
    old = min(old, len(state.incidents) - state.incident_open)
    incidents = state.incidents[old:]
    reboots, changes = _later(state.reboots, turn.t - HOUR_S), _later(state.mode_changes, turn.t - HOUR_S)
    if (incidents, reboots, changes) != (state.incidents, state.reboots, state.mode_changes):
        turn.set(incidents=incidents, reboots=reboots, mode_changes=changes)


def _later(times: tuple[float, ...], oldest: float) -> tuple[float, ...]:
    """Return the times, which ascend, that come after a certain one."""
    return times[bisect_right(times, oldest) :]


def demote_if_needed(turn: Turn) -> None:
    """Demote one rung when the window is over its limit, in the blind spot, or when nothing can run in this mode."""
    state, rules = turn.state, turn.rules
    index = rules.index(state.mode)
    if state.transition is not None or index <= 0 or state.stopped or (state.hold and state.hold.no_fallback):
        return
    if rules.limits(held=state.hold is not None) and len(state.counted(turn.t)) > rules.max_crashes:
        reason = f"{_count(turn)}: {_list(turn)}"
    elif state.checkpoints_reported and 0 < rules.blind_spot <= state.barren_incidents:
        reason = f"{state.barren_incidents} incidents in a row without a checkpoint between them: {_list(turn)}"
    elif _nothing_runs(turn):
        reason = "no game can run in this mode: " + "; ".join(
            f"{game.name}: {game.last_error}" for game in state.games if game.status == "FATAL"
        )
    else:
        return
    retry = fail_rung(turn)
    to = rules.modes[index - 1].name
    begin(turn, "demote", to, f"demote {state.mode} -> {to}: {reason}; retry not before {clock(turn.wall + retry)}")


def promote_if_due(turn: Turn) -> None:
    """Promote one rung after enough stable time, unless a cooldown or a hold is in the way."""
    state, rules = turn.state, turn.rules
    if rules.policy != "ladder" or state.transition is not None or state.hold is not None or state.stopped:
        return
    stable = state.stable_at(turn.t)
    if state.progressing_since is None or stable < rules.stable_s:
        return
    above = rules.modes[rules.index(state.mode) + 1 :]
    if not above or turn.t < state.retry_at.get(above[0].name, 0.0):
        return
    to = above[0].name
    tries = state.failed_tries.get(to)
    again = f", try {tries + 1} of {to} after its cooldown" if tries else ""
    reason = f"promote {state.mode} -> {to}: {duration(stable)} stable (needs {duration(rules.stable_s)}){again}"
    begin(turn, "promote", to, reason)


def fail_rung(turn: Turn) -> float:
    """Note a failed try of the present rung and return its cooldown in seconds."""
    state, rules = turn.state, turn.rules
    mode = state.transition.to if state.transition is not None else state.mode
    tries = state.failed_tries.get(mode, 0) + 1
    # min() keeps the power finite when a rung fails for months.
    cooldown = min(rules.cooldown_s * rules.cooldown_factor ** min(tries - 1, 50), rules.cooldown_max_s)
    turn.set(
        failed_tries={**state.failed_tries, mode: tries},
        retry_at={**state.retry_at, mode: turn.t + cooldown},
    )
    return cooldown


def begin(turn: Turn, kind: TransitionKind, to: str, reason: str) -> None:
    """Begin a mode change, or change the goal of the one that is going on; trainers are stopped gracefully first."""
    state = turn.state
    keep = state.transition.keep if state.transition is not None else tuple(game.name for game in turn.slotted)
    turn.say(kind, reason, from_mode=state.mode, to_mode=to)
    if kind in ("promote", "demote"):
        turn.set(mode_changes=(*state.mode_changes, turn.t))
    turn.set(transition=Transition(kind=kind, to=to, since=turn.t, reason=reason, keep=keep))
    for game in turn.slotted:
        stop_game(turn, game, "drain")


def finish_drain(turn: Turn) -> None:
    """Enter the new mode once no trainer of the old one is left; FATAL games get another chance with its settings."""
    state = turn.state
    transition = state.transition
    if transition is None or any(game.has_process for game in state.games):
        return
    moved = transition.to != state.mode
    drained = duration(turn.t - transition.since)
    turn.set(transition=None, mode=transition.to, stable_s=0.0, progressing_since=None, incident_open=False)
    if moved or transition.kind != "reconfigure":
        # Also a mode that was left and chosen again before its drain was over begins anew.
        enter(turn)
    for game in turn.state.games:
        if game.status == "FATAL":
            requeue_fatal(turn, game)
    turn.say("enter", f"enter {transition.to} after a drain of {drained}", from_mode=state.mode, to_mode=transition.to)
    fill_slots(turn, keep=transition.keep)


def enter(turn: Turn) -> None:
    """Start a stay in the mode just set: its window is empty."""
    turn.set(visit=turn.state.visit + 1, mode_entered=turn.t, mode_entered_wall=turn.wall, barren_incidents=0)


def _nothing_runs(turn: Turn) -> bool:
    statuses = {game.status for game in turn.state.games}
    return "FATAL" in statuses and statuses <= {"FATAL", "EXITED"}


def _count(turn: Turn) -> str:
    counted = len(turn.state.counted(turn.t))
    return f"{counted} incidents in {duration(turn.rules.window_s)} (limit {turn.rules.max_crashes})"


def _list(turn: Turn) -> str:
    return ", ".join(f"{i.symptoms[0]} {clock(i.wall)}" for i in turn.state.counted(turn.t)[-10:])
