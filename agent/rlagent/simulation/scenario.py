"""A question to the simulation, as people ask it: which host, which settings, for how long; and its answer."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import msgspec

from rlagent.config import ConfigError, parse, to_rules
from rlagent.policy.model import Rules
from rlagent.policy.text import duration
from rlagent.simulation import engine, hindsight
from rlagent.simulation.hosts import DAY_S, HostModel, ModeModel
from rlagent.simulation.machine import Machine, rates_of
from rlagent.simulation.suites import ADVERSARIAL

BINS = 84
"""Points of a curve: two hours each in a week."""


class ScenarioError(ValueError):
    """A question that can't be asked: place, fault, next step."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's answer; the mean over all runs."""

    policy: str
    goodput_steps_per_s: float
    share_of_best: float
    """Of the best schedule in hindsight."""
    crashes_per_week: float
    switches_per_week: float
    curve: list[float] = []
    """Goodput over time in the first run, as a share of the fastest mode's speed; empty for what is no policy."""
    modes: list[str] = []
    """The mode at each point of the curve."""
    why: list[str] = []
    """The first run's first mode changes, with their time and reason."""


def rules(policy: str, settings: Sequence[str]) -> Rules:
    """Return a policy with settings as in config.toml's [policy], each `key=value`. Raises ScenarioError."""
    lines = [f'policy = "{policy}"']
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or "\n" in setting:
            raise ScenarioError(f"--set {setting!r}: write key=value, for example cooldown_factor=2")
        lines.append(f"{key.strip()} = {value.strip()}")
    try:
        return to_rules(parse("[policy]\n" + "\n".join(lines), source="--set"))
    except ConfigError as error:
        raise ScenarioError(str(error)) from None


def host(modes: Sequence[str], reboot_s: float, checkpoint_interval_s: float) -> HostModel:
    """Return a host of modes written `name:steps per second:crashes per hour`. Raises ScenarioError."""
    models = tuple(_mode(text, rung) for rung, text in enumerate(modes))
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ScenarioError(f"--mode: {name!r} is there twice")
    return HostModel(name="host", modes=models, reboot_s=reboot_s, checkpoint_interval_s=checkpoint_interval_s)


def named(name: str) -> HostModel:
    """Return one of the adversarial hosts. Raises ScenarioError."""
    for model in ADVERSARIAL:
        if model.name == name:
            return model
    raise ScenarioError(f"--model {name!r}: no such host; there are: {'; '.join(model.name for model in ADVERSARIAL)}")


def compare(model: HostModel, policies: dict[str, Rules], days: float, runs: int, seed: int) -> list[Row]:
    """Return what each single mode, each policy and the best schedule make of a host."""
    span_s = days * DAY_S
    rates = rates_of(model, span_s)
    seeds = range(seed, seed + runs)
    best = sum(hindsight.best_schedule(model, rates, span_s, n) for n in seeds)
    rows = []
    for mode, known in enumerate(model.modes):
        machines = [hindsight.fixed(model, rates, span_s, n, mode) for n in seeds]
        rows.append(_row(f"always {known.name}", machines, [0] * runs, best, span_s))
    for name, configured in policies.items():
        outcomes = [engine.simulate(model, configured, span_s, n, rates) for n in seeds]
        row = _row(name, outcomes, [outcome.switches for outcome in outcomes], best, span_s)
        rows.append(msgspec.structs.replace(row, **_shown(model, outcomes[0], span_s)))
    whole = Row(
        policy="best schedule",
        goodput_steps_per_s=best / runs / span_s,
        share_of_best=1.0,
        crashes_per_week=0.0,
        switches_per_week=0.0,
    )
    return [*rows, whole]


def _row(
    name: str, ends: Sequence[Machine | engine.Outcome], switches: Sequence[int], best: float, span_s: float
) -> Row:
    weeks = len(ends) * span_s / (7 * DAY_S)
    useful = sum(end.useful for end in ends)
    return Row(
        policy=name,
        goodput_steps_per_s=useful / len(ends) / span_s,
        share_of_best=useful / best if best > 0 else 0.0,
        crashes_per_week=sum(end.crashes for end in ends) / weeks,
        switches_per_week=sum(switches) / weeks,
    )


def _shown(model: HostModel, outcome: engine.Outcome, span_s: float) -> dict[str, list[float] | list[str]]:
    """Return the curve of one run, its modes and its first mode changes."""
    width_s = span_s / BINS
    fastest = max(mode.speed for mode in model.modes)
    marks = [_useful_at(outcome.progress, width_s * n) for n in range(BINS + 1)]
    starts = [since for since, _ in outcome.spans]
    at = [outcome.spans[max(0, bisect.bisect_right(starts, width_s * (n + 0.5)) - 1)][1] for n in range(BINS)]
    changes = [(t, decision.reason) for t, decision in outcome.decisions if decision.kind != "shadow"]
    return {
        "curve": [round(max(0.0, b - a) / width_s / fastest, 4) for a, b in itertools.pairwise(marks)],
        "modes": [model.modes[mode].name for mode in at],
        "why": [f"after {duration(t)}: {reason}" for t, reason in changes[:5]],
    }


def _useful_at(progress: Sequence[tuple[float, float]], t: float) -> float:
    index = bisect.bisect_right(progress, (t, float("inf")))
    if index == 0 or index == len(progress):
        return progress[min(index, len(progress) - 1)][1]
    (before, low), (after, high) = progress[index - 1], progress[index]
    return low + (high - low) * (t - before) / (after - before)


def _mode(text: str, rung: int) -> ModeModel:
    parts = text.split(":")
    try:
        name, speed, crashes = parts[0], float(parts[1]), float(parts[2])
        good = len(parts) == 3 and name != "" and 0 < speed < 1e12 and 0 <= crashes <= 3600
    except (IndexError, ValueError):
        good = False
    if not good:
        fault = "write name:steps per second:crashes per hour, for example medium:1800:5"
        raise ScenarioError(f"--mode {text!r}: {fault}")
    return ModeModel(name=name, slots=2 * (rung + 1), speed=speed, crashes_per_h=crashes)
