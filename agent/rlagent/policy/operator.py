"""What operators may ask for: hold, release, rollback, scale, stop, start, and the announcement of a reboot."""

from __future__ import annotations

from rlagent.policy import events as ev
from rlagent.policy.games import stop_game
from rlagent.policy.ladder import begin, fail_rung
from rlagent.policy.model import ANNOUNCED_REBOOT_S, Hold
from rlagent.policy.text import by, clock, duration
from rlagent.policy.turn import Turn


def on_hold(turn: Turn, event: ev.HoldRequested) -> None:
    """Go to a mode and stay there."""
    if turn.rules.index(event.mode) < 0:
        turn.say("refuse", f"no mode {event.mode!r}: there are {_modes(turn)}")
        return
    until = None if event.for_s is None else turn.t + max(0.0, event.for_s)
    turn.set(hold=Hold(mode=event.mode, until=until, no_fallback=event.no_fallback, who=event.who, why=event.why))
    span = "until released" if event.for_s is None else f"for {duration(event.for_s)}"
    fallback = ", without fallback" if event.no_fallback else ""
    reason = f"hold {event.mode} {span}{fallback}{by(event.who, event.why)}"
    if event.mode != _heading_for(turn):
        begin(turn, "hold", event.mode, reason)
    else:
        turn.say("hold", reason, to_mode=event.mode)


def on_release(turn: Turn, event: ev.ReleaseRequested) -> None:
    """End a hold; asking twice does no harm."""
    if turn.state.hold is None:
        turn.say("refuse", "nothing to release: the host is not held")
        return
    turn.set(hold=None)
    turn.say("release", f"released{by(event.who, event.why)}: the policy decides again")


def release_if_over(turn: Turn) -> None:
    """End a hold whose time is over."""
    hold = turn.state.hold
    if hold is not None and hold.until is not None and turn.t >= hold.until:
        turn.set(hold=None)
        turn.say("release", f"the hold of {hold.mode}{by(hold.who, hold.why)} is over: the policy decides again")


def on_rollback(turn: Turn, event: ev.RollbackRequested) -> None:
    """Demote now, as a failed try of the rung left."""
    rules, heading = turn.rules, _heading_for(turn)
    index = rules.index(heading)
    to = event.to if event.to is not None else (rules.modes[index - 1].name if index > 0 else None)
    if to is None:
        turn.say("refuse", f"{heading} is the lowest mode: there is nothing to roll back to")
    elif rules.index(to) < 0:
        turn.say("refuse", f"no mode {to!r}: there are {_modes(turn)}")
    elif rules.index(to) >= index:
        turn.say("refuse", f"{to} is not below {heading}: to go up or stay, use hold")
    else:
        retry = fail_rung(turn)
        reason = f"rollback {heading} -> {to}{by(event.who, event.why)}; retry not before {clock(turn.wall + retry)}"
        begin(turn, "rollback", to, reason)


def on_scale(turn: Turn, event: ev.ScaleRequested) -> None:
    """Go to a mode now, whatever its cooldown; no hold and no failed try: promotions and demotions go on from there."""
    hold, heading = turn.state.hold, _heading_for(turn)
    if turn.rules.index(event.mode) < 0:
        turn.say("refuse", f"no mode {event.mode!r}: there are {_modes(turn)}")
    elif hold is not None and hold.mode != event.mode:
        turn.say(
            "refuse",
            f"the host is held in {hold.mode}{by(hold.who, hold.why)}: release it first, or hold {event.mode}",
        )
    elif event.mode == heading:
        turn.say("scale", f"{_place(turn)} {event.mode} already: nothing to change", to_mode=event.mode)
    else:
        then = "held there" if hold is not None else "automation goes on from there"
        begin(turn, "scale", event.mode, f"scale {heading} -> {event.mode}{by(event.who, event.why)}; {then}")


def on_stop(turn: Turn, event: ev.StopRequested) -> None:
    """Stop all trainers; asking twice does no harm."""
    # A stop that lasts is not shortened by a later one that does not.
    lasts = not event.until_restart or (turn.state.stopped and not turn.state.stopped_until_restart)
    turn.set(
        stopped=True, stopped_until_restart=not lasts, stopped_for_reboot=turn.state.stopped_for_reboot and not lasts
    )
    until = "started again" if lasts else "the agent's next start"
    turn.say("stopped", f"stop all trainers{by(event.who, event.why)}: they stay stopped until {until}")
    for game in turn.slotted:
        stop_game(turn, game, "operator")


def on_start(turn: Turn, event: ev.StartRequested) -> None:
    """Start again, without waiting for a backoff, and give FATAL games a fresh chance."""
    if turn.state.stopped_for_reboot:
        turn.set(announced_until=None)
        turn.say("withdraw", "the announced reboot is withdrawn by this start: one that comes now counts")
    turn.set(stopped=False, stopped_until_restart=False, stopped_for_reboot=False)
    turn.say("started", f"start all trainers{by(event.who, event.why)}")
    for game in turn.state.games:
        if game.status == "FATAL":
            turn.set_game(game.name, status="QUEUED", failures=0, barren=0, not_before=turn.t, fatal_kind="")
        elif game.status in ("BACKOFF", "QUEUED"):
            turn.set_game(game.name, not_before=turn.t)


def on_reboot_announced(turn: Turn, event: ev.RebootAnnounced) -> None:
    """Expect a reboot that is no incident; where asked, let every trainer checkpoint and stop before it."""
    turn.set(announced_until=turn.t + ANNOUNCED_REBOOT_S)
    turn.say(
        "announce", f"reboot announced{by(event.who, event.why)}, not counted within {duration(ANNOUNCED_REBOOT_S)}"
    )
    if event.drain and not turn.state.stopped:
        turn.set(stopped=True, stopped_until_restart=True, stopped_for_reboot=True)
        turn.say("stopped", "stop all trainers until the reboot has happened, or its time is over")
        for game in turn.slotted:
            stop_game(turn, game, "operator")


def on_reboot_withdrawn(turn: Turn, event: ev.RebootWithdrawn) -> None:
    """Expect no reboot any more; asking twice does no harm."""
    if turn.state.announced_until is None:
        turn.say("refuse", "nothing to withdraw: no reboot is announced")
        return
    _end_announcement(turn, f"the announced reboot is withdrawn{by(event.who, event.why)}: one that comes now counts")


def expire_announcement(turn: Turn) -> None:
    """End an announcement whose reboot did not come in time."""
    until = turn.state.announced_until
    if until is not None and turn.t > until:
        _end_announcement(
            turn, f"no reboot within {duration(ANNOUNCED_REBOOT_S)} of its announcement: one counts again"
        )


def _end_announcement(turn: Turn, reason: str) -> None:
    turn.set(announced_until=None)
    turn.say("withdraw", reason)
    if turn.state.stopped_for_reboot:
        turn.set(stopped=False, stopped_until_restart=False, stopped_for_reboot=False)
        turn.say("started", "start all trainers again")


def _heading_for(turn: Turn) -> str:
    """Return the mode the host is in, or on its way to."""
    return turn.state.transition.to if turn.state.transition is not None else turn.state.mode


def _place(turn: Turn) -> str:
    return "in" if turn.state.transition is None else "on the way to"


def _modes(turn: Turn) -> str:
    return ", ".join(mode.name for mode in turn.rules.modes)
