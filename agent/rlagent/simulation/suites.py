"""The hosts that policies are measured on: random ones of several families, and the adversarial ones by name."""

from __future__ import annotations

import math
from random import Random

import msgspec

from rlagent.simulation.hosts import HostModel, ModeModel

WEEK_H = 168
NAMES = ("light", "medium", "heavy")
SLOTS = (2, 4, 6)
DRIFTS = ("none", "steps", "walk", "daily", "burst")


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of random hosts: ranges that are drawn from, log-uniform unless said."""

    light_rate: tuple[float, float] = (0.01, 0.4)
    upper_rate: tuple[float, float] = (0.05, 12.0)
    gain: tuple[float, float] = (1.15, 2.4)
    """Speed of a rung over the one below, uniform."""
    slower: float = 0.08
    """Share of rungs that are slower than the one below."""
    reboot_s: tuple[float, float] = (45.0, 600.0)
    drifting: float = 0.68
    """Share of hosts whose rates change."""


FAMILIES = {
    "usual": Family(),
    "harsh": Family(light_rate=(0.03, 1.2), upper_rate=(0.15, 36.0), reboot_s=(300.0, 1800.0)),
    "small gain": Family(gain=(1.03, 1.25)),
}
"""harsh: three times the crashes and 5 to 30 min reboots."""


def random_hosts(family: Family, count: int, seed: int) -> list[HostModel]:
    """Return random hosts, the same for the same seed."""
    return [_host(family, Random(f"{seed}/{n}"), f"host-{seed}-{n}") for n in range(count)]


def _host(family: Family, random: Random, name: str) -> HostModel:
    rungs = 2 if random.random() < 0.6 else 3
    drift = random.choice(DRIFTS[1:]) if random.random() < family.drifting else "none"
    modes, speed, rate = [], 1000.0, _log(random, *family.light_rate)
    for rung in range(rungs):
        if rung:
            slower = random.random() < family.slower
            speed *= random.uniform(0.6, 0.98) if slower else random.uniform(*family.gain)
            rate = _log(random, *family.upper_rate) if rung == 1 else rate * _log(random, 0.5, 6.0)
        mode = ModeModel(name=NAMES[rung], slots=SLOTS[rung], speed=speed, crashes_per_h=rate)
        modes.append(_drifting(mode, drift, random))
    return HostModel(name=name, modes=tuple(modes), reboot_s=_log(random, *family.reboot_s))


def _drifting(mode: ModeModel, drift: str, random: Random) -> ModeModel:
    match drift:
        case "steps":
            hours = sorted(random.uniform(0, WEEK_H) for _ in range(random.choice((1, 2, 3))))
            steps = tuple((hour, _log(random, 0.1, 10.0)) for hour in hours)
            return msgspec.structs.replace(mode, steps=steps)
        case "walk":
            return msgspec.structs.replace(mode, walk=_walk(random))
        case "daily":
            return msgspec.structs.replace(mode, daily=random.uniform(0.3, 1.2))
        case "burst":
            burst = (random.uniform(6, 36), random.uniform(0.2, 1.5), _log(random, 3.0, 20.0))
            return msgspec.structs.replace(mode, burst=burst)
        case _:
            return mode


def _walk(random: Random) -> tuple[float, ...]:
    """Return hourly factors that wander around 1: an AR(1) of the logarithm, time constant a day."""
    value, factors = random.gauss(0.0, 0.8), []
    for _ in range(WEEK_H + 1):
        value = value * math.exp(-1 / 24) + random.gauss(0.0, 0.8 * math.sqrt(1 - math.exp(-2 / 24)))
        factors.append(math.exp(value))
    return tuple(factors)


def _log(random: Random, low: float, high: float) -> float:
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _two(name: str, medium: dict[str, object], light: dict[str, object] | None = None, **host: float) -> HostModel:
    """Return a host with a light and a medium mode; medium is 1.8 times as fast unless it says otherwise."""
    usual = {"speed": 1800.0, "crashes_per_h": 0.05, **medium}
    low = {"speed": 1000.0, "crashes_per_h": 0.05, **(light or {})}
    modes = (
        msgspec.convert({"name": "light", "slots": 2, **low}, ModeModel),
        msgspec.convert({"name": "medium", "slots": 4, **usual}, ModeModel),
    )
    return HostModel(name=name, modes=modes, **host)


def _three(name: str, *modes: tuple[float, float]) -> HostModel:
    models = (
        ModeModel(name=NAMES[n], slots=SLOTS[n], speed=speed, crashes_per_h=rate)
        for n, (speed, rate) in enumerate(modes)
    )
    return HostModel(name=name, modes=tuple(models))


SWING = math.log(12.0 / 0.1) / 2
"""From 0.1 to 12 crashes an hour around their geometric mean."""
MIDDLE = math.sqrt(12.0 * 0.1)

ADVERSARIAL = (
    _two("all stable", {}),
    _two("medium dies at minute 55", {"dies_after_s": 3300.0}),
    _two("medium at 0.6 of the speed", {"speed": 600.0}),
    _two("medium at 0.9 of the speed", {"speed": 900.0}),
    _two("3 an hour, slow restart", {"crashes_per_h": 3.0}, reboot_s=600.0),
    _two("3 an hour, fast restart", {"crashes_per_h": 3.0}, reboot_s=45.0),
    _two("5 an hour, twice the speed", {"crashes_per_h": 5.0, "speed": 2000.0}),
    _two("bursts x40 every 12 h", {"crashes_per_h": 0.4, "burst": (12.0, 0.5, 40.0)}),
    _two("medium swings daily", {"crashes_per_h": MIDDLE, "daily": SWING}, reboot_s=600.0),
    _two(
        "all swing daily",
        {"crashes_per_h": MIDDLE, "daily": SWING},
        {"crashes_per_h": MIDDLE / 4, "daily": SWING},
        reboot_s=300.0,
    ),
    _two("good turns bad on day 3", {"crashes_per_h": 0.2, "steps": ((60.0, 75.0),)}),
    _two("bad turns good on day 3", {"crashes_per_h": 15.0, "steps": ((60.0, 0.01),)}),
    _two("light itself at 4 an hour", {"crashes_per_h": 6.0}, {"crashes_per_h": 4.0}),
    _two("medium dies instantly", {"crashes_per_h": 60.0}),
    _two("heat builds up", {"crashes_per_h": 0.5, "heat": 3.5, "warms": 1.0}, {"heat": 3.5}),
    _two("infant mortality", {"crashes_per_h": 0.3, "infant": 12.0}),
    _two("20-minute reboots", {"crashes_per_h": 1.0}, reboot_s=1200.0),
    _three("bad middle, good top", (1000.0, 0.05), (1500.0, 20.0), (2200.0, 0.3)),
    _two("a tie", {"crashes_per_h": 10.0, "speed": 1720.0}, {"crashes_per_h": 0.3}, reboot_s=150.0),
    _three("bad top", (1000.0, 0.05), (1600.0, 0.5), (2000.0, 25.0)),
)
"""The 20 adversarial hosts."""
