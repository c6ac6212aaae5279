"""What happens around the trainers: a new configuration, the agent's start, a reboot, a silent journal, a lost GPU."""

from __future__ import annotations

from typing import Any

import msgspec

from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision
from rlagent.policy.games import doubt_progress, stop_game
from rlagent.policy.ladder import begin, enter, on_symptom
from rlagent.policy.model import Game, Rules, State
from rlagent.policy.text import duration
from rlagent.policy.turn import Turn


def on_configured(turn: Turn, event: ev.Configured, old: Rules | None) -> None:
    """Go by new rules; trainers are restarted only where their own settings changed."""
    if old is None:
        turn.set(retired=event.used_attempts)
    _merge_games(turn, old)
    state, rules = turn.state, turn.rules
    if old is None:
        turn.set(mode=rules.modes[0].name)
        enter(turn)
        return
    modes = {mode.name for mode in rules.modes}
    same = {name for name in modes if _settings(old, name) == _settings(rules, name)}
    known = tuple(m for m in state.evidence.modes if m.mode in same)
    turn.set(
        # What was seen of other settings says nothing about the new ones.
        evidence=msgspec.structs.replace(state.evidence, modes=known),
        failed_tries={m: n for m, n in state.failed_tries.items() if m in modes},
        retry_at={m: t for m, t in state.retry_at.items() if m in modes},
    )
    if state.hold is not None and state.hold.mode not in modes:
        turn.set(hold=None)
        turn.say("release", f"the held mode {state.hold.mode} is no longer configured: released")
    heading = state.transition.to if state.transition is not None else state.mode
    if heading not in modes:
        lowest = rules.modes[0].name
        begin(turn, "reconfigure", lowest, f"mode {heading} is no longer configured: going to {lowest}")
    elif state.transition is None and rules.modes[rules.index(heading)].settings != _settings(old, heading):
        begin(turn, "reconfigure", heading, f"the settings of {heading} changed: its trainers are restarted")


def on_agent_started(turn: Turn, event: ev.AgentStarted, last_t: float) -> None:
    """Take over: after a reboot no trainer is alive; otherwise each must show again that it makes progress.

    `last_t` is the policy time of the event before. An announcement is judged by it: the downtime is known only as
    well as the wall clock.
    """
    state = turn.state
    rebooted = state.boot is not None and event.boot != state.boot
    announced = state.announced_until is not None and last_t <= state.announced_until
    clean = state.clean_stop and not turn.rules.count_clean_reboots
    turn.set(boot=event.boot, clean_stop=False)
    if state.stopped_until_restart and (rebooted or not state.stopped_for_reboot):
        turn.set(stopped=False, stopped_until_restart=False, stopped_for_reboot=False)
    victims = turn.slotted
    doubt_progress(turn)
    if not rebooted:
        return
    turn.set(announced_until=None, reboots=(*state.reboots, turn.t))
    if not announced and not clean:
        on_symptom(turn, "reboot", victims, reboot=True)
    turn.set_games(lambda game: _after_reboot(game, turn.t))


def _after_reboot(game: Game, t: float) -> dict[str, Any]:
    """Return what changes for a game whose trainer, if it had one, died with the host."""
    if game.status == "STOPPING":
        return {"status": "QUEUED", "stop_reason": ""}
    if game.has_process:
        return {"status": "BACKOFF", "not_before": t}
    return {}


def on_agent_stopping(turn: Turn, _: ev.AgentStopping) -> None:
    """Note that the agent was told to end: a reboot that follows may be a clean one."""
    turn.set(clean_stop=True)


def recovered(event: ev.JournalRecovered) -> tuple[State, tuple[Decision, ...]]:
    """Go on from the state that was saved, whatever the fold before had come to."""
    state = msgspec.structs.replace(event.state, t=max(event.state.t, event.t), wall=event.wall)
    return state, (Decision(kind="alert", reason=event.how),)


def on_journal_back(turn: Turn, last_t: float) -> None:
    """Go on after a time of which nothing is in the journal: every trainer must show again that it takes steps."""
    doubt_progress(turn)
    silent_s = duration(turn.t - last_t)
    turn.say("alert", f"the journal took no line for up to {silent_s}: that time is not taken for stable time")


def on_gpu_lost(turn: Turn, event: ev.GpuLost) -> None:
    """Count a lost GPU once, until it is back; every trainer must show that it still takes steps."""
    if event.gpu in turn.state.lost_gpus:
        return
    victims = turn.slotted
    turn.set(lost_gpus=(*turn.state.lost_gpus, event.gpu))
    doubt_progress(turn)
    on_symptom(turn, f"GPU {event.gpu} lost", victims)


def on_gpu_back(turn: Turn, event: ev.GpuBack) -> None:
    """Count the next loss of a GPU again."""
    turn.set(lost_gpus=tuple(gpu for gpu in turn.state.lost_gpus if gpu != event.gpu))


def _merge_games(turn: Turn, old: Rules | None) -> None:
    """Take the new queue's order, keep what is known of each game, stop those whose target changed."""
    targets = {} if old is None else {game.name: game.target_frames for game in old.games}
    wanted = {rule.name: rule.target_frames for rule in turn.rules.games}
    retired = turn.state.retired
    games = [turn.state.game(name) or Game(name=name, since=turn.t, attempt=retired.get(name, 0)) for name in wanted]
    # A game that left the queue is dropped once its trainer has ended.
    leaving = [game for game in turn.state.games if game.name not in wanted and game.has_process]
    gone = {g.name: g.attempt for g in turn.state.games if g.name not in wanted and not g.has_process}
    turn.set(games=(*games, *leaving), retired={**retired, **gone})
    for game in leaving:
        stop_game(turn, game, "resize")
    for game in games:
        if targets.get(game.name) == wanted[game.name]:
            continue
        if game.status == "EXITED":
            turn.set_game(game.name, status="QUEUED")
        elif game.has_process:
            stop_game(turn, game, "resize")


def drop_leavers(turn: Turn) -> None:
    """Forget games that are no longer configured and have no process any more."""
    wanted = [rule.name for rule in turn.rules.games]
    if [game.name for game in turn.state.games] == wanted:
        return
    gone = {g.name: g.attempt for g in turn.state.games if g.name not in wanted and not g.has_process}
    if gone:
        turn.set(games=tuple(g for g in turn.state.games if g.name not in gone), retired={**turn.state.retired, **gone})


def _settings(rules: Rules, mode: str) -> str | None:
    index = rules.index(mode)
    return None if index < 0 else rules.modes[index].settings
