"""The games queue: who has a slot, when a trainer starts again, when a game is done or given up.

| status   | left when                                                               | for                       |
|----------|-------------------------------------------------------------------------|---------------------------|
| QUEUED   | a slot is free                                                          | BACKOFF, then STARTING    |
| STARTING | first step, or as RUNNING                                               | RUNNING, or as RUNNING    |
| RUNNING  | it ends by itself, or a stop is wanted                                  | BACKOFF EXITED FATAL, STOPPING |
| BACKOFF  | its waiting time is over, or the mode ends                              | STARTING, QUEUED          |
| STOPPING | its process is gone                                                     | QUEUED EXITED BACKOFF     |
| EXITED   | its target was raised                                                   | QUEUED                    |
| FATAL    | an operator's start, another mode, or a cooldown and nothing else waits | QUEUED                    |
"""

from __future__ import annotations

from rlagent.policy import events as ev
from rlagent.policy.model import Game, StopReason
from rlagent.policy.text import clock, duration
from rlagent.policy.turn import Turn


def fill_slots(turn: Turn, keep: tuple[str, ...] = ()) -> None:
    """Give every free slot of the mode to a game: kept ones first, then in queue order."""
    if turn.state.stopped or turn.state.transition is not None:
        return
    slots = turn.rules.modes[turn.rules.index(turn.state.mode)].slots
    slotted = turn.slotted
    for game in reversed(slotted[slots:]):
        stop_game(turn, game, "resize")
    free = max(0, slots - len(slotted))
    if free:
        retry_fatal(turn, free)
        waiting = [game for game in turn.state.games if game.status == "QUEUED"]
        waiting.sort(key=lambda game: game.name not in keep)
        for game in waiting[:free]:
            turn.set_game(game.name, status="BACKOFF", slot=free_slot(turn, game))
    start_due(turn)


def free_slot(turn: Turn, game: Game) -> int:
    """Return the number of the slot that a game gets: the one it had if it can, else the lowest.

    It stays the game's own over all restarts, so that what is dealt out by slots (GPUs) stays in place.
    """
    slots = turn.rules.modes[turn.rules.index(turn.state.mode)].slots
    taken = {other.slot for other in turn.slotted}
    if game.slot is not None and game.slot < slots and game.slot not in taken:
        return game.slot
    return next(number for number in range(slots + len(taken)) if number not in taken)


def start_due(turn: Turn) -> None:
    """Start every game whose waiting time is over."""
    for game in turn.state.games:
        if game.status == "BACKOFF" and turn.t >= game.not_before:
            start_game(turn, game)


def start_game(turn: Turn, game: Game) -> None:
    """Start the next attempt of a game now."""
    attempt = game.attempt + 1
    turn.set_game(
        game.name,
        status="STARTING",
        attempt=attempt,
        slot=free_slot(turn, game) if game.slot is None else game.slot,
        progressed_at=None,
        stop_reason="",
        fatal_kind="",
    )
    again = f", after {game.last_error}" if game.failures and game.last_error else ""
    turn.say("start", f"start {game.name}: attempt {attempt}{again}", game=game.name, attempt=attempt)


def stop_game(turn: Turn, game: Game, reason: StopReason) -> None:
    """Stop a game gracefully, or take it out of its backoff."""
    if game.status == "BACKOFF":
        turn.set_game(game.name, status="QUEUED")
    elif game.status in ("STARTING", "RUNNING"):
        turn.set_game(game.name, status="STOPPING", stop_reason=reason, progressing=False)
        turn.say("stop", f"stop {game.name}: {_STOP_TEXT[reason]}", game=game.name, attempt=game.attempt)


_STOP_TEXT: dict[StopReason, str] = {
    "": "",
    "drain": "mode change",
    "hang": "it hangs",
    "operator": "stopped by an operator",
    "resize": "its slot is gone or its settings changed",
}


def retry_fatal(turn: Turn, free: int) -> None:
    """Try FATAL games once more when slots would stay empty; the host never gives up for good."""
    free -= sum(game.status == "QUEUED" for game in turn.state.games)
    for game in turn.state.games:
        if free > 0 and game.status == "FATAL" and turn.t >= game.since + turn.rules.cooldown_s:
            requeue_fatal(turn, game)
            free -= 1


def requeue_fatal(turn: Turn, game: Game) -> None:
    """Give a FATAL game one more attempt: without a step it is FATAL again."""
    turn.set_game(game.name, status="QUEUED", barren=turn.rules.max_barren_attempts - 1, not_before=turn.t)


def on_progressed(turn: Turn, event: ev.TrainerProgressed) -> None:
    """Note that a trainer takes steps."""
    game = live(turn, event.game, event.attempt)
    if game is None or game.status == "STOPPING":
        return
    first = turn.t if game.progressed_at is None else game.progressed_at
    turn.set_game(game.name, status="RUNNING", progressing=True, progressed_at=first, barren=0)


def on_stalled(turn: Turn, event: ev.TrainerStalled) -> None:
    """Note that a trainer takes no steps: the stable time pauses."""
    game = live(turn, event.game, event.attempt)
    if game is not None:
        turn.set_game(game.name, progressing=False)


def doubt_progress(turn: Turn) -> None:
    """Ask every trainer to show again that it takes steps."""
    turn.set_games(lambda _: {"progressing": False})


def on_hung(turn: Turn, event: ev.TrainerHung) -> str | None:
    """Stop a trainer that hangs; returns the symptom, or None when it isn't news."""
    game = live(turn, event.game, event.attempt)
    if game is None or game.status == "STOPPING":
        return None
    turn.set_game(game.name, last_error=f"hang: no step for {duration(event.silent_s)}")
    stop_game(turn, game, "hang")
    return f"trainer {game.name} hung for {duration(event.silent_s)}"


def on_exited(turn: Turn, event: ev.TrainerExited) -> str | None:
    """Decide what becomes of a game whose process is gone; returns the symptom when it was a crash."""
    game = live(turn, event.game, event.attempt)
    if game is None:
        return None
    if event.exit == "done":
        turn.set_game(game.name, status="EXITED", progressing=False, last_error=None)
        turn.say("done", f"{game.name} is done: {event.detail}", game=game.name, attempt=game.attempt)
    elif game.stop_reason == "hang":
        _failed(turn, game, game.last_error or event.detail)
    elif game.status == "STOPPING":
        turn.set_game(game.name, status="QUEUED", stop_reason="")
        if event.exit in ("signal", "oom"):
            return f"trainer {game.name} {event.detail} while it was being stopped"
    elif event.exit == "config":
        _give_up(turn, game, "config", f"wrong configuration: {event.detail}")
    elif event.exit in ("outside", "stopped"):
        _failed(turn, game, event.detail)
    else:
        _failed(turn, game, event.detail)
        return f"trainer {game.name} {event.detail}"
    return None


def _failed(turn: Turn, game: Game, error: str) -> None:
    """Restart after the backoff, or give up a game that never takes a step.

    The backoff runs from the trainer's first step: it keeps starts apart. One that has trained for longer than that
    would only lose by waiting; it restarts at once, and takes one failure off the row instead of adding to it.
    """
    rules = turn.rules
    trained_s = 0.0 if game.progressed_at is None else turn.t - game.progressed_at
    good = game.progressed_at is not None and trained_s >= rules.backoff_reset_s
    failures = 1 if good else game.failures + 1
    delay = max(0.0, rules.backoff_s[min(failures, len(rules.backoff_s)) - 1] - trained_s)
    if game.progressed_at is not None and delay == 0.0:
        failures = 0 if good else max(0, game.failures - 1)
    barren = game.barren + 1 if game.progressed_at is None else 0
    turn.set_game(game.name, failures=failures, barren=barren, last_error=error, progressing=False, stop_reason="")
    if barren >= rules.max_barren_attempts:
        _give_up(turn, game, "crash", f"{barren} attempts in a row without a step of progress; the last one: {error}")
        return
    # While a mode is drained, or everything is stopped, it has no slot to wait in.
    waits = turn.state.transition is None and not turn.state.stopped
    turn.set_game(game.name, status="BACKOFF" if waits else "QUEUED", not_before=turn.t + delay)
    when = f"{failures} in {duration(delay)}" if failures else "at once"
    turn.say("backoff", f"{game.name}: {error}; restart {when}", game=game.name)


def _give_up(turn: Turn, game: Game, kind: str, error: str) -> None:
    turn.set_game(game.name, status="FATAL", fatal_kind=kind, last_error=error, progressing=False)
    text = f"{game.name} is FATAL: {error}; the next game takes its slot"
    turn.say("fatal", f"{text} ({clock(turn.wall)})", game=game.name, attempt=game.attempt)


def live(turn: Turn, name: str, attempt: int) -> Game | None:
    """Return the game if this attempt of it is alive, else None: news of older attempts are history."""
    game = turn.state.game(name)
    return game if game is not None and game.has_process and game.attempt == attempt else None
