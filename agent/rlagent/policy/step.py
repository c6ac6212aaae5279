"""`step(state, event)`: the whole policy as one pure and total function.

An event is first handled by its own rule, then the rules that only depend on where things stand are applied until the
state is settled: a drain that is over, a demotion that is due, slots to fill, a promotion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlagent.policy import events as ev
from rlagent.policy import games, goodput, guard, ladder, lifecycle, operator
from rlagent.policy.decisions import Decision
from rlagent.policy.model import Game, State
from rlagent.policy.turn import Turn


def step(state: State, event: ev.Event) -> tuple[State, tuple[Decision, ...]]:
    """Return the state after an event, and what was decided; never raises, whatever the order of events."""
    if isinstance(event, ev.JournalRecovered):
        return lifecycle.recovered(event)
    old_rules = state.rules
    rules = event.rules if isinstance(event, ev.Configured) else old_rules
    if rules is None:
        return state, ()
    t = max(state.t, event.t)
    turn = Turn(state, rules, t, event.wall)
    unwatched = isinstance(event, (ev.AgentStarted, ev.JournalBack))
    if unwatched:
        # Nobody watched since the last event, or could say what he saw: that time is not stable time.
        _pause_stable_time(turn, at=state.t)
    turn.set(rules=rules, t=t, wall=event.wall)
    if isinstance(event, ev.Configured):
        lifecycle.on_configured(turn, event, old_rules)
    elif isinstance(event, ev.AgentStarted):
        lifecycle.on_agent_started(turn, event, last_t=state.t)
    elif isinstance(event, ev.JournalBack):
        lifecycle.on_journal_back(turn, last_t=state.t)
    elif type(event) in _HANDLERS:
        _HANDLERS[type(event)](turn, event)
    goodput.account(turn, state, until=state.t if unwatched else t)
    _settle(turn)
    goodput.settle(turn)
    return turn.state, tuple(turn.decisions)


def _on_hung(turn: Turn, event: ev.TrainerHung) -> None:
    before = turn.state.game(event.game)
    _crash(turn, games.on_hung(turn, event), before)


def _on_exited(turn: Turn, event: ev.TrainerExited) -> None:
    before = games.live(turn, event.game, event.attempt)
    symptom = games.on_exited(turn, event)
    if before is not None and event.checkpoint_step is not None:
        ladder.on_checkpoint(turn)
    _crash(turn, symptom, before)


def _crash(turn: Turn, symptom: str | None, before: Game | None) -> None:
    """Count a trainer's crash, if it was one; `before` is its game as it was before."""
    if symptom is not None and before is not None:
        ladder.on_symptom(turn, symptom, [before])


# Tick and TrainerStarted say nothing that the rules of `_settle` don't see by themselves.
_HANDLERS: dict[type[ev.Event], Callable[[Turn, Any], None]] = {
    ev.TrainerProgressed: games.on_progressed,
    ev.SpeedMeasured: goodput.on_speed,
    ev.CheckpointCommitted: lambda turn, _: ladder.on_checkpoint(turn),
    ev.AgentStopping: lifecycle.on_agent_stopping,
    ev.TrainerStalled: games.on_stalled,
    ev.TrainerHung: _on_hung,
    ev.TrainerExited: _on_exited,
    ev.GpuLost: lifecycle.on_gpu_lost,
    ev.GpuBack: lifecycle.on_gpu_back,
    ev.GuardTripped: guard.on_tripped,
    ev.RebootAnnounced: operator.on_reboot_announced,
    ev.RebootWithdrawn: operator.on_reboot_withdrawn,
    ev.HoldRequested: operator.on_hold,
    ev.ReleaseRequested: operator.on_release,
    ev.RollbackRequested: operator.on_rollback,
    ev.ScaleRequested: operator.on_scale,
    ev.StopRequested: operator.on_stop,
    ev.StartRequested: operator.on_start,
}


def _settle(turn: Turn) -> None:
    """Apply the rules that need no event but time and state; their order matters."""
    lifecycle.drop_leavers(turn)
    operator.release_if_over(turn)
    operator.expire_announcement(turn)
    ladder.forget_old(turn)
    ladder.demote_if_needed(turn)
    ladder.finish_drain(turn)
    games.fill_slots(turn)
    ladder.close_incident(turn)
    _measure_stable_time(turn)
    goodput.review(turn)
    ladder.promote_if_due(turn)
    ladder.finish_drain(turn)
    _measure_stable_time(turn)


def _measure_stable_time(turn: Turn) -> None:
    if not turn.state.all_progressing:
        _pause_stable_time(turn, at=turn.t)
    elif turn.state.progressing_since is None:
        turn.set(progressing_since=turn.t)


def _pause_stable_time(turn: Turn, at: float) -> None:
    if turn.state.progressing_since is not None:
        turn.set(stable_s=turn.state.stable_at(at), progressing_since=None)
