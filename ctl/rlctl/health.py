"""What makes a host degraded, and sums over a fleet. Pure; the one place that decides it for tables and exit codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rlagent.protocol.status import AgentStatus, TrainerStatus
from rlctl.fanout import Outcome


def degraded(status: AgentStatus) -> bool:
    """Say whether a person should look: an alert, a game given up, or a trainer that waits after a failure."""
    states = {game.state for game in (*status.games, *status.trainers)}
    return bool(status.alerts) or bool(states & {"FATAL", "BACKOFF"})


def running(status: AgentStatus) -> int:
    """Return the number of trainers that run."""
    return sum(trainer.state == "RUNNING" for trainer in status.trainers)


def sps(status: AgentStatus) -> float | None:
    """Return the host's steps per second over all running trainers; None: none reports any."""
    known = [trainer.sps for trainer in status.trainers if trainer.state == "RUNNING" and trainer.sps is not None]
    return sum(known) if known else None


def games_in(status: AgentStatus, state: str) -> list[TrainerStatus]:
    """Return the games in a state, in queue order."""
    return [game for game in status.games if game.state == state]


def cost_left(status: AgentStatus, price_per_hour: float | None) -> float | None:
    """Return the dollars until every game is done; None where speed or price are not known."""
    hours = status.projection.hours_left
    return None if hours is None or price_per_hour is None else hours * price_per_hour


@dataclasses.dataclass(frozen=True)
class Totals:
    """A fleet in one line; None: nobody says."""

    hosts: int
    up: int
    """Healthy."""
    degraded: int
    down: int
    """Unreachable, or without an answering agent."""
    trainers_running: int
    sps: float | None
    games_done: int
    games: int
    price_per_hour: float | None
    """Of all hosts whose price is known, those that are down too: they are paid for as well."""
    hosts_without_price: int
    hours_left: float | None
    """Of the host that takes longest, as far as known."""
    hosts_without_projection: int
    """Their end is not known: the fleet's is not before `hours_left`."""
    cost_left: float | None


def totals(outcomes: Sequence[Outcome[AgentStatus]]) -> Totals:
    """Sum up a fleet."""
    answered = [(outcome.host, outcome.value) for outcome in outcomes if outcome.value is not None]
    statuses = [status for _, status in answered]
    sick = sum(degraded(status) for status in statuses)
    return Totals(
        hosts=len(outcomes),
        up=len(answered) - sick,
        degraded=sick,
        down=len(outcomes) - len(answered),
        trainers_running=sum(running(status) for status in statuses),
        sps=_sum([sps(status) for status in statuses]),
        games_done=sum(len(games_in(status, "EXITED")) for status in statuses),
        games=sum(len(status.games) for status in statuses),
        price_per_hour=_sum([outcome.host.price_per_hour for outcome in outcomes]),
        hosts_without_price=sum(outcome.host.price_per_hour is None for outcome in outcomes),
        hours_left=max((h for status in statuses if (h := status.projection.hours_left) is not None), default=None),
        hosts_without_projection=len(outcomes) - sum(s.projection.hours_left is not None for s in statuses),
        cost_left=_sum([cost_left(status, host.price_per_hour) for host, status in answered]),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
