"""`state.toml`: where the policy stands, for people, and for an agent that has lost its journal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rlagent.policy import State
from rlagent.policy.model import Game, GameStatus, Hold, Incident
from rlagent.protocol.status import AgentStatus


class GameSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One game."""

    game: str
    state: GameStatus
    attempt: int
    last_error: str | None = None


class IncidentSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One incident."""

    at: str
    mode: str
    what: str
    counts: bool


class Summary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The file's content: nothing in it changes each second."""

    mode: str
    ladder: list[str]
    changing_to: str | None = None
    stopped: bool
    held_in: str | None = None
    agent_version: str
    host_uuid: str
    boot: str | None = None
    failed_tries: dict[str, int] = {}
    journal_seq: int = 0
    """The last event in the journal: a journal that ends before it has lost events."""
    incidents: list[IncidentSummary] = []
    games: list[GameSummary] = []


def summary(status: AgentStatus, state: State, seq: int) -> Summary:
    """Return what `state.toml` says."""
    return Summary(
        mode=state.mode,
        ladder=status.ladder,
        changing_to=status.changing_to,
        stopped=state.stopped,
        held_in=None if state.hold is None else state.hold.mode,
        agent_version=status.agent.version,
        host_uuid=status.agent.host_uuid,
        boot=state.boot,
        failed_tries=state.failed_tries,
        journal_seq=seq,
        incidents=[IncidentSummary(at=i.at, mode=i.mode, what=i.what, counts=i.counts) for i in status.incidents],
        games=[
            GameSummary(game=g.name, state=g.status, attempt=g.attempt, last_error=g.last_error) for g in state.games
        ],
    )


def read(path: Path) -> Summary | None:
    """Read the file; None when there is none or it isn't one."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Summary)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def overlay(state: State, told: Summary, attempts: Mapping[str, int], wall: float) -> State:
    """Bring an older state up to date with a newer summary; what the summary leaves out is taken the careful way.

    A hold whose end is not known lasts until it is released; a rung that failed waits its whole cooldown again.
    """
    rules = state.rules
    if rules is None:
        return state
    if rules.index(told.mode) >= 0:
        state = msgspec.structs.replace(state, mode=told.mode, transition=None)
    held = told.held_in is not None and rules.index(told.held_in) >= 0
    lost = Hold(mode=told.held_in or "", until=None, no_fallback=False, who="", why="its end was lost with the journal")
    hold = (state.hold or lost) if held else None
    failed = {mode: tries for mode, tries in told.failed_tries.items() if rules.index(mode) >= 0}
    known = {game.game: game for game in told.games}
    return msgspec.structs.replace(
        state,
        hold=hold,
        stopped=told.stopped,
        boot=told.boot or state.boot,
        games=tuple(_game(game, known.get(game.name), attempts.get(game.name, 0)) for game in state.games),
        failed_tries=failed,
        retry_at=dict.fromkeys(failed, state.t + rules.cooldown_s),
        incidents=tuple(_incident(state, incident, wall) for incident in told.incidents),
        incident_open=False,
        stable_s=0.0,
        progressing_since=None,
    )


def _game(game: Game, told: GameSummary | None, used: int) -> Game:
    if told is None or max(told.attempt, used) <= game.attempt:
        return game
    changes: dict[str, Any] = {"progressing": False, "progressed_at": None, "last_error": told.last_error}
    if told.attempt >= used:
        # A trainer that is still alive is adopted; one that is not is told as lost.
        status = {"RUNNING": "STARTING", "BACKOFF": "QUEUED"}.get(told.state, told.state)
        return msgspec.structs.replace(game, status=status, attempt=told.attempt, **changes)
    return msgspec.structs.replace(game, status="STARTING", attempt=used, **changes)


def _incident(state: State, told: IncidentSummary, wall: float) -> Incident:
    try:
        at = dt.datetime.fromisoformat(told.at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        at = wall  # edited by hand: as young as can be
    visit = state.visit if told.counts else state.visit - 1
    return Incident(
        t=state.t - max(0.0, wall - at), wall=at, visit=visit, mode=told.mode, symptoms=(told.what,), reboot=False
    )
