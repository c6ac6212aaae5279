"""One host in full: what a person wants to see in the morning. Pure: a status and the time in, styled text out."""

from __future__ import annotations

import datetime as dt

from rlagent.protocol.status import AgentStatus, GpuStatus, TrainerStatus
from rlctl import health, show
from rlctl.durations import brief as brief_duration
from rlctl.errors import HostError
from rlctl.hosts import Host
from rlctl.styled import Column, Grid, Line, Piece, Style, joined

STATE_STYLES: dict[str, Style] = {
    "RUNNING": "good",
    "STARTING": "busy",
    "STOPPING": "busy",
    "BACKOFF": "warn",
    "FATAL": "bad",
    "EXITED": "good",
    "QUEUED": "dim",
}
_COLUMNS = (
    Column("GAME"),
    Column("STATE"),
    Column("PID", right=True, dropped=6),
    Column("STEP", right=True, dropped=2),
    Column("STEPS/S", right=True),
    Column("EPISODE", right=True, dropped=5),
    Column("EP/H", right=True, dropped=4),
    Column("BEST", right=True, dropped=3),
    Column("MEAN100", right=True),
    Column("CHECKPOINT", right=True, dropped=1),
    Column("DONE", right=True),
)


def header(host: Host, status: AgentStatus) -> tuple[Piece, ...]:
    """Return the host's first line: how it is, its mode and for how long, its agent, its uptime."""
    dot: Style = "warn" if health.degraded(status) else "good"
    mode = f"{status.mode} for {show.age(status.in_mode_s)}"
    parts: list[Piece] = [(mode, "strong")]
    if status.changing_to is not None:
        parts.append((f"changing to {status.changing_to}", "busy"))
    if status.reboot_announced_until is not None:
        parts.append(("REBOOT announced", "warn"))
    elif status.stopped:
        parts.append(("STOPPED by an operator", "warn"))
    agent = f"agent {status.agent.version} alive for {show.age(status.agent.uptime_s)}"
    parts += [(agent, ""), (f"host up {show.age(status.uptime_s)}", "")]
    return (("● ", dot), (f"{host.name}  ", "strong"), *joined(parts))


def failed(host: Host, error: HostError) -> tuple[tuple[Piece, ...], list[Line]]:
    """Return the first line of a host without an answer, and its next step."""
    head: tuple[Piece, ...] = (("✗ ", "bad"), (f"{host.name}  ", "strong"), (error.reason, "bad"))
    return head, [Line("next", ((error.hint, ""),))] if error.hint else []


def facts(status: AgentStatus, now: dt.datetime) -> list[Line]:
    """Return what stands above the trainers: hold, stability, host, GPUs."""
    lines = [Line("hold", _hold(status, now))] if status.hold is not None else []
    lines.append(Line("stable", _stability(status)))
    if any(mode.goodput_steps_per_s is not None for mode in status.modes):
        lines.append(Line("modes", _modes(status)))
    lines.append(Line("host", _readings(status)))
    lines += [Line(f"GPU {gpu.index}", _gpu(gpu)) for gpu in status.gpu]
    if not status.gpu:
        reason = f" ({status.gpu_error})" if status.gpu_error else ""
        lines.append(Line("GPU", ((f"{show.NA}{reason}", "dim"),)))
    return lines


def trainers(status: AgentStatus, now: dt.datetime) -> Grid:
    """Return the table of the games that have a slot; a failed one's error stands below it."""
    rows = tuple(_trainer(trainer) for trainer in status.trainers)
    notes = {index: note for index, trainer in enumerate(status.trainers) if (note := _note(trainer, now))}
    return Grid(_COLUMNS, rows, notes)


def outlook(host: Host, status: AgentStatus, now: dt.datetime) -> list[Line]:
    """Return what stands below the trainers: queue, alerts, the next automatic action, time and cost left."""
    lines = [Line("queue", _queue(status))]
    told = {trainer.game for trainer in status.trainers}
    told |= {game.game for game in status.games if any(game.game in alert for alert in status.alerts)}
    lines += [
        Line("FATAL", ((game.game, "bad"), (f": {game.last_error or 'no reason given'}", "")))
        for game in health.games_in(status, "FATAL")
        if game.game not in told
    ]
    lines += [Line("alert", ((alert, "bad"),)) for alert in status.alerts]
    lines.append(Line("next", next_action(status, now)))
    lines.append(Line("left", _left(host, status)))
    return lines


def next_action(status: AgentStatus, now: dt.datetime, *, brief: bool = False) -> tuple[Piece, ...]:
    """Return the next automatic action: what, when, why."""
    action = status.next_action
    if action.kind == "none":
        return (("nothing by itself" if not brief else "-", "dim"), *(() if brief else ((f": {action.reason}", ""),)))
    when = "" if action.in_s is None else f" {show.ahead(action.in_s, now)}"
    if brief:
        return ((f"{action.kind}{'' if action.in_s is None else f' in {brief_duration(action.in_s)}'}", ""),)
    return ((f"{action.kind}{when}", "strong"), (f": {action.reason}", ""))


def _hold(status: AgentStatus, now: dt.datetime) -> tuple[Piece, ...]:
    hold = status.hold
    if hold is None:
        return ()
    until = "until released" if hold.until is None else f"until {show.clock(show.moment(hold.until), now)}"
    fallback = ", no fallback" if hold.no_fallback else ""
    by = ", ".join(part for part in (hold.who, hold.why) if part)
    return ((f"in {hold.mode} {until}{fallback}", "warn"), (f" ({by})" if by else "", "dim"))


def _stability(status: AgentStatus) -> tuple[Piece, ...]:
    stable = f"for {show.age(status.stable_s)}"
    if status.ladder and status.mode != status.ladder[-1]:
        stable = f"{show.age(status.stable_s)} of the {show.age(status.stable_needed_s)} that a promotion needs"
    incidents, reboots = status.incidents_last_hour, status.reboots_last_hour
    crashes = f"{show.plural(incidents, 'incident')} and {show.plural(reboots, 'reboot')} in the last hour"
    return joined([(stable, ""), (crashes, "warn" if incidents or reboots else "")])


def _modes(status: AgentStatus) -> tuple[Piece, ...]:
    """Return what is believed of each mode, and of the checkpoints."""
    parts: list[Piece] = []
    for mode in status.modes:
        if mode.crashes_per_h is None:
            parts.append((f"{mode.mode} nothing measured yet", "dim"))
        else:
            useful, crashes = mode.goodput_steps_per_s, f"{mode.crashes_per_h:.2g} crashes/h"
            speed = "speed not measured," if useful is None else f"{show.count(useful)} useful steps/s at"
            numbers = f"{speed} {crashes}"
            parts.append((f"{mode.mode} {numbers}", "strong" if mode.mode == status.mode else ""))
    advice = status.checkpoint
    if advice is not None and advice.best_interval_s is not None:
        best = f"checkpoints best every {show.age(advice.best_interval_s)}"
        parts.append((best if advice.adaptive else f"{best} (configured: {show.age(advice.interval_s)})", ""))
    return joined(parts)


def _readings(status: AgentStatus) -> tuple[Piece, ...]:
    host = status.host
    load = show.NA if host.load_1m is None else f"{host.load_1m:.1f}"
    cpus = "" if host.cpu_count is None else f" on {show.plural(host.cpu_count, 'CPU')}"
    known = host.memory_total_mib is not None and host.memory_available_mib is not None
    used = (host.memory_total_mib or 0) - (host.memory_available_mib or 0) if known else None
    pressure = host.memory_pressure_percent
    parts: list[Piece] = [
        (f"load {load}{cpus}", ""),
        (f"memory {show.pair(used, host.memory_total_mib)} used", _high(used, host.memory_total_mib)),
    ]
    if pressure is not None and pressure >= 1:
        parts.append((f"pressure {pressure:.0f} %", "warn"))
    low = host.disk_free_mib is not None and host.disk_total_mib and host.disk_free_mib / host.disk_total_mib < 0.05
    parts.append((f"disk {show.pair(host.disk_free_mib, host.disk_total_mib)} free", "warn" if low else ""))
    return joined(parts)


def _high(used: float | None, total: float | None) -> Style:
    return "warn" if used is not None and total and used / total > 0.9 else ""


def _gpu(gpu: GpuStatus) -> tuple[Piece, ...]:
    temperature = show.NA if gpu.temperature_c is None else f"{gpu.temperature_c:.0f} °C"
    parts: list[Piece] = [
        (gpu.name or f"name {show.NA}", ""),
        (f"busy {show.percent(gpu.utilization_percent)}", ""),
        (f"memory {show.pair(gpu.memory_used_mib, gpu.memory_total_mib)}", ""),
        (temperature, "warn" if (gpu.temperature_c or 0) >= 85 else ""),
        (show.NA if gpu.power_w is None else f"{gpu.power_w:.0f} W", ""),
    ]
    if gpu.error:
        parts.append((gpu.error, "bad"))
    return joined(parts)


def _trainer(trainer: TrainerStatus) -> tuple[Piece, ...]:
    values = (
        show.NA if trainer.pid is None else str(trainer.pid),
        show.compact(trainer.global_step),
        show.count(trainer.sps),
        show.count(trainer.episodes),
        show.count(trainer.episodes_per_hour),
        show.score(trainer.best_return),
        show.score(trainer.mean_return_100),
        show.NA if trainer.checkpoint_age_s is None else f"{show.age(trainer.checkpoint_age_s)} ago",
        show.share(trainer.progress),
    )
    cells: tuple[Piece, ...] = tuple((value, "dim" if value == show.NA else "") for value in values)
    return ((trainer.game, "strong"), (trainer.state, STATE_STYLES[trainer.state]), *cells)


def _note(trainer: TrainerStatus, now: dt.datetime) -> tuple[Piece, ...]:
    if trainer.state not in {"BACKOFF", "FATAL"}:
        return ()
    text = trainer.last_error or "no reason given"
    if trainer.state == "FATAL" or trainer.retry_at is None:
        return ((text, STATE_STYLES[trainer.state]),)
    at = show.moment(trainer.retry_at)
    in_s = (at - now).total_seconds()
    when = show.ahead(in_s, now) if in_s > 0 else "now"
    return ((text, "warn"), (f"; attempt {trainer.attempt + 1} {when}", ""))


def _queue(status: AgentStatus) -> tuple[Piece, ...]:
    done, waiting = health.games_in(status, "EXITED"), health.games_in(status, "QUEUED")
    names = ", ".join(game.game for game in waiting)
    fatal = len(health.games_in(status, "FATAL"))
    parts: list[Piece] = [
        (f"{len(done)} of {show.plural(len(status.games), 'game')} done", "good" if done else ""),
        (f"{len(waiting)} waiting" + (f" ({names})" if names else ""), ""),
    ]
    if fatal:
        parts.append((f"{fatal} FATAL", "bad"))
    return joined(parts)


def _left(host: Host, status: AgentStatus) -> tuple[Piece, ...]:
    price = host.price_per_hour
    cost = health.cost_left(status, price)
    if price is None:
        money = f"cost {show.NA} (no rlfleet_price_per_hour in the inventory)"
    elif cost is None:
        money = f"cost {show.NA} at {show.money(price)} an hour"
    else:
        money = f"{show.money(cost)} at {show.money(price)} an hour"
    left = status.projection.hours_left
    time = f"time {show.NA}" if left is None else f"{show.hours(left)} until every game is done"
    return joined([(time, ""), (money, "")])
