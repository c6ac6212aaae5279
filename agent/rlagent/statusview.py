"""The status of the host, put together from the policy state and what the probes read: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rlagent.config import Config
from rlagent.history import iso
from rlagent.policy import State, checkpoints, compare, explain
from rlagent.policy.belief import Belief
from rlagent.policy.model import HOUR_S, Game
from rlagent.protocol.progress import Progress
from rlagent.protocol.status import (
    AgentInfo,
    AgentStatus,
    CheckpointAdvice,
    GpuStatus,
    HoldStatus,
    HostReadings,
    IncidentStatus,
    ModeGoodput,
    NextAction,
    Projection,
    TrainerStatus,
)


class GameReading(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes know of one game."""

    pid: int | None = None
    """Of its trainer, if one is alive."""
    progress: Progress | None = None
    """Its last report."""


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the probes know at one moment."""

    t: float
    """Policy time."""
    wall: float
    agent: AgentInfo
    uptime_s: float
    host: HostReadings
    gpu: list[GpuStatus]
    gpu_error: str | None
    games: Mapping[str, GameReading]
    alerts: list[str]
    """The agent's own troubles: a journal that can't be written, a progress file that is garbage."""


def build(config: Config, state: State, now: Readings) -> AgentStatus:
    """Return the whole picture."""
    games = [_trainer(config, game, now) for game in state.games]
    slotted = {game.name for game in state.games if game.has_slot}
    recent = [i for i in state.incidents if i.t > now.t - HOUR_S]
    counted = state.counted(now.t)
    action = explain.next_action(state, now.t)
    return AgentStatus(
        written_at=iso(now.wall),
        agent=now.agent,
        mode=state.mode,
        mode_since=iso(state.mode_entered_wall),
        in_mode_s=now.t - state.mode_entered,
        ladder=[mode.name for mode in config.modes],
        changing_to=None if state.transition is None else state.transition.to,
        stopped=state.stopped,
        hold=_hold(state, now),
        uptime_s=now.uptime_s,
        boot=state.boot,
        reboot_announced_until=_until(state.announced_until, now),
        host=now.host,
        gpu=now.gpu,
        gpu_error=now.gpu_error,
        stable_s=state.stable_at(now.t),
        stable_needed_s=config.policy.stable_minutes * 60,
        incidents_last_hour=len(recent),
        reboots_last_hour=sum(t > now.t - HOUR_S for t in state.reboots),
        incidents=[
            IncidentStatus(
                at=iso(i.wall),
                mode=i.mode,
                what="; ".join(i.symptoms),
                open=state.incident_open and i is state.incidents[-1],
                counts=i in counted,
            )
            for i in state.incidents
        ],
        trainers=[game for game in games if game.game in slotted],
        games=games,
        alerts=[*explain.alerts(state, now.t), *now.alerts],
        next_action=NextAction(
            kind=action.kind,
            at=None if action.at is None else iso(now.wall + action.at - now.t),
            in_s=None if action.at is None else max(0.0, action.at - now.t),
            reason=action.reason,
        ),
        projection=Projection(hours_left=hours_left(config, state, now.games)),
        policy=config.policy.policy,
        modes=[_mode(belief) for belief in compare.mode_beliefs(state, now.t, now.wall)],
        checkpoint=_checkpoint(config, state, now),
    )


def checkpoint_cost_s(games: Mapping[str, GameReading]) -> float | None:
    """Return what a checkpoint costs by the last reports, the dearest one; None: none says."""
    checkpoints = [reading.progress.checkpoint for reading in games.values() if reading.progress is not None]
    costs = [c.cost_s for c in checkpoints if c is not None and c.cost_s is not None and c.cost_s >= 0]
    return max(costs, default=None)


def best_interval_s(config: Config, state: State, t: float, wall: float, cost_s: float | None) -> float | None:
    """Return how often to take a checkpoint in the present mode; None: its cost or crash rate is not known."""
    belief = next((b for b in compare.mode_beliefs(state, t, wall) if b.mode == state.mode and b.tried), None)
    if belief is None or cost_s is None:
        return None
    return checkpoints.best_interval_s(belief.rate, cost_s, config.trainer.checkpoint_interval_s)


def _checkpoint(config: Config, state: State, now: Readings) -> CheckpointAdvice:
    cost_s = checkpoint_cost_s(now.games)
    return CheckpointAdvice(
        interval_s=config.trainer.checkpoint_interval_s,
        cost_s=cost_s,
        best_interval_s=best_interval_s(config, state, now.t, now.wall, cost_s),
        adaptive=config.trainer.adaptive_checkpoints,
    )


def _mode(belief: Belief) -> ModeGoodput:
    if not belief.tried:
        return ModeGoodput(mode=belief.mode)
    return ModeGoodput(
        mode=belief.mode,
        steps_per_s=belief.speed if belief.measured else None,
        crashes_per_h=belief.rate,
        crashes_per_h_low=belief.rate_low,
        crashes_per_h_high=belief.rate_high,
        restart_s=belief.restart_s,
        goodput_steps_per_s=belief.goodput if belief.measured else None,
    )


def hours_left(config: Config, state: State, games: Mapping[str, GameReading]) -> float | None:
    """Return the hours until every game has its frames at the present speed; None when nothing tells the speed."""
    frames_left, frames_per_s = 0.0, 0.0
    for rule in config.games:
        game, reading = state.game(rule.name), games.get(rule.name, GameReading())
        if game is not None and game.status == "EXITED":
            continue
        progress = reading.progress
        frames_left += rule.target_frames if progress is None else max(0, rule.target_frames - progress.frames)
        if game is not None and game.progressing and progress is not None and progress.sps is not None:
            frames_per_s += progress.sps * progress.frameskip
    if frames_left == 0:
        return 0.0
    return frames_left / frames_per_s / 3600 if frames_per_s > 0 else None


def _trainer(config: Config, game: Game, now: Readings) -> TrainerStatus:
    reading = now.games.get(game.name, GameReading())
    target = next((rule.target_frames for rule in config.games if rule.name == game.name), None)
    base = TrainerStatus(
        game=game.name,
        state=game.status,
        pid=reading.pid,
        attempt=game.attempt,
        state_since=iso(now.wall - (now.t - game.since)),
        retry_at=iso(now.wall + game.not_before - now.t) if game.status == "BACKOFF" else None,
        last_error=game.last_error,
        target_frames=target,
    )
    progress = reading.progress
    if progress is None:
        return base
    saved_at = None if progress.checkpoint is None else progress.checkpoint.saved_at
    return msgspec.structs.replace(
        base,
        global_step=progress.global_step,
        # The speed of a trainer that takes no steps is not its last speed.
        sps=progress.sps if game.progressing else None,
        episodes=progress.episodes,
        episodes_per_hour=progress.episodes_per_hour,
        best_return=progress.best_return,
        mean_return_100=progress.mean_return_100,
        checkpoint_age_s=None if saved_at is None else max(0.0, now.wall - saved_at),
        progress=None if not target else min(1.0, progress.frames / target),
    )


def _hold(state: State, now: Readings) -> HoldStatus | None:
    hold = state.hold
    if hold is None:
        return None
    until = _until(hold.until, now)
    return HoldStatus(mode=hold.mode, until=until, no_fallback=hold.no_fallback, who=hold.who, why=hold.why)


def _until(t: float | None, now: Readings) -> str | None:
    """Return a policy time as a wall-clock time."""
    return None if t is None else iso(now.wall + t - now.t)
