"""The guard: what it sees, after how long, and what the policy makes of it."""

from __future__ import annotations

import pytest

from policy_driver import Host, rules
from rlagent.config import GuardSection
from rlagent.guard import Guard, Sample, Speed
from rlagent.policy import events as ev
from rlagent.protocol.status import GpuStatus, HostReadings

GOOD = {"memory_total_mib": 16000.0, "memory_available_mib": 8000.0, "memory_pressure_percent": 0.0}


def watch(guard: Guard, seconds, *, gpu=None, sps=None, work="w", **host):
    """Feed one sample each 5 s; returns (when, evidence) of what was found."""
    found = []
    for at in seconds:
        sample = Sample(
            at=at,
            host=HostReadings(**(GOOD | {"disk_free_mib": 9000.0} | host)),
            gpus=() if gpu is None else (GpuStatus(index=0, **gpu),),
            sps=sps,
            work=work,
        )
        found += [(at, finding.cause, finding.evidence) for finding in guard.look(sample)]
    return found


@pytest.mark.parametrize(
    ("bad", "at", "cause", "evidence"),
    [
        ({"memory_pressure_percent": 63.0}, 30, "memory", "memory pressure 63% for 30 s (limit 40%)"),
        (
            {"memory_available_mib": 320.0},
            30,
            "memory",
            "320 of 16000 MiB memory available for 30 s: 2.0% (limit 3%)",
        ),
        ({"disk_free_mib": 512.0}, 0, "disk", "512 MiB free on the disk (limit 1024 MiB)"),
        ({"gpu": {"temperature_c": 93.0}}, 60, "gpu_temperature", "GPU 0 at 93 C for 60 s (limit 90 C)"),
        ({"gpu": {"throttled": True}}, 60, "gpu_throttle", "GPU 0 slowed down for heat or power for 60 s"),
    ],
)
def test_trouble_is_found_after_its_time_once_with_its_numbers(bad, at, cause, evidence):
    guard = Guard(GuardSection())
    assert watch(guard, range(0, 300, 5), **bad) == [(at, cause, evidence)]
    assert guard.warnings()[0].startswith(f"guard: {evidence.split(' for ')[0]}")
    assert watch(guard, [300]) == []
    assert guard.warnings() == []


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"memory_pressure_percent": 39.9},
        {"memory_pressure_percent": None, "memory_available_mib": None, "disk_free_mib": None},
        {"memory_available_mib": 481.0},
        {"disk_free_mib": 1024.1},
        {"gpu": {"temperature_c": 89.0, "throttled": False}},
        {"gpu": {}},
    ],
)
def test_what_is_within_limits_or_not_known_is_no_trouble(good):
    assert watch(Guard(GuardSection()), range(0, 1000, 5), **good) == []


NO_PATIENCE = {"memory_s": 0, "gpu_s": 0}


@pytest.mark.parametrize(
    ("reading", "beyond", "at", "within"),
    [
        ("memory_pressure_percent", 40.1, 40.0, 39.9),
        ("memory_available_mib", 479.9, 480.0, 480.1),
        ("disk_free_mib", 1023.9, 1024.0, 1024.1),
        ("temperature_c", 90.1, 90.0, 89.9),
    ],
)
def test_a_limit_that_is_met_exactly_is_trouble(reading, beyond, at, within):
    def found(value) -> int:
        bad = {"gpu": {reading: value}} if reading == "temperature_c" else {reading: value}
        return len(watch(Guard(GuardSection(**NO_PATIENCE)), [0], **bad))

    assert [found(value) for value in (beyond, at, within)] == [1, 1, 0]


@pytest.mark.parametrize("speed", [749.9, 750.0, 750.1])
def test_a_fall_by_exactly_the_limit_is_trouble(speed):
    guard = Guard(GuardSection(sps_fall_minutes=1))
    watch(guard, range(0, 600, 5), sps=1500.0)
    assert len(watch(guard, range(600, 900, 5), sps=speed)) == (1 if speed <= 750 else 0)


@pytest.mark.parametrize(
    ("bad", "patience_s"),
    [
        ({"memory_pressure_percent": 90.0}, 30),
        ({"memory_available_mib": 1.0}, 30),
        ({"gpu": {"temperature_c": 99.0}}, 60),
        ({"gpu": {"throttled": True}}, 60),
    ],
)
def test_trouble_is_borne_for_its_time_and_not_longer(bad, patience_s):
    guard = Guard(GuardSection())
    assert watch(guard, [0.0, patience_s - 0.1], **bad) == []
    assert guard.warnings() == []
    assert len(watch(guard, [patience_s], **bad)) == 1
    assert len(guard.warnings()) == 1


def test_each_gpu_has_its_own_patience():
    guard = Guard(GuardSection(gpu_s=10))
    host = HostReadings(**GOOD)

    def look(at, *temperatures):
        gpus = tuple(GpuStatus(index=n, temperature_c=celsius) for n, celsius in enumerate(temperatures))
        return [finding.evidence for finding in guard.look(Sample(at=at, host=host, gpus=gpus))]

    assert look(0, 95.0, 20.0) == []
    assert look(5, 20.0, 95.0) == []
    assert look(10, 95.0, 95.0) == []
    assert look(15, 95.0, 95.0) == ["GPU 1 at 95 C for 10 s (limit 90 C)"]


def test_a_host_that_does_not_tell_its_memory_in_all_is_not_short_of_it():
    for total in (None, 0.0):
        assert watch(Guard(GuardSection(memory_s=0)), [0], memory_total_mib=total, memory_available_mib=1.0) == []


@pytest.mark.parametrize(("gap_s", "found"), [(59.9, 1), (60.0, 1), (60.1, 0)])
def test_a_minute_without_a_look_is_not_yet_blindness(gap_s, found):
    guard = Guard(GuardSection())
    watch(guard, [0], memory_pressure_percent=90.0)
    assert len(watch(guard, [gap_s], memory_pressure_percent=90.0)) == found


def test_trouble_that_went_away_and_came_back_is_said_at_once():
    guard = Guard(GuardSection())
    assert len(watch(guard, [0], disk_free_mib=1.0)) == 1
    assert watch(guard, [5], disk_free_mib=1.0) == []
    assert watch(guard, [10]) == []
    assert len(watch(guard, [15], disk_free_mib=1.0)) == 1


def test_other_trouble_does_not_put_off_what_is_to_be_said_again():
    guard = Guard(GuardSection(mode="act"))
    assert [cause for _, cause, _ in watch(guard, [0], disk_free_mib=1.0)] == ["disk"]
    both = {"disk_free_mib": 1.0, "memory_pressure_percent": 90.0}
    found = [(at, cause) for at, cause, _ in watch(guard, range(500, 660, 5), **both)]
    assert found == [(530, "memory"), (600, "disk")]


def speed_of(window_s: float, *samples: tuple[float, float | None]) -> list[tuple[float, float] | None]:
    """Return what is known of the speed after each (time, steps per second)."""
    speed = Speed(window_s)
    return [speed.fall(Sample(at=at, host=HostReadings(), sps=sps)) for at, sps in samples]


def test_a_speed_is_known_once_its_window_is_full():
    assert speed_of(60, (0, 10.0), (59.9, 10.0), (60.0, 10.0)) == [None, None, (10.0, 10.0)]


def test_a_speed_is_sampled_every_ten_seconds():
    """Of many quick looks only those count that are ten seconds apart."""
    assert speed_of(20, (0, 10.0), (9.9, 90.0), (10.0, 20.0), (20.0, 30.0))[-1] == (20.0, 20.0)
    assert speed_of(20, (0, 10.0), (9.9, 90.0), (9.95, 90.0), (20.0, 30.0))[-1] == (20.0, 20.0)


def test_samples_older_than_the_window_do_not_count():
    seen = speed_of(20, (0, 90.0), (10, 90.0), (20, 90.0), (30, 10.0), (40, 10.0), (50, 10.0))
    assert seen[2:] == [(90.0, 90.0), (90.0, 90.0), (10.0, 90.0), (10.0, 90.0)]
    # One that is exactly as old as the window is the last that counts.
    assert speed_of(20, (0, 90.0), (10, 50.0), (29.9, 10.0))[-1] == (50.0, 50.0)
    assert speed_of(20, (0, 90.0), (10, 50.0), (30, 10.0))[-1] == (30.0, 30.0)


def test_a_window_shorter_than_the_pause_between_two_samples_is_the_newest_sample():
    assert speed_of(6, (0, 90.0), (10, 10.0), (15.9, 10.0))[-1] == (50.0, 50.0)
    assert speed_of(6, (0, 90.0), (10, 10.0), (16, 10.0))[-1] == (10.0, 50.0)


@pytest.mark.parametrize(("at", "found"), [(259.9, 0), (260.0, 1)])
def test_a_fall_is_known_after_exactly_its_minutes(at, found):
    guard = Guard(GuardSection(sps_fall_minutes=1))
    watch(guard, range(0, 70, 10), sps=1500.0)
    watch(guard, [100], sps=None)
    assert len(watch(guard, [200, 210, 220, 230, 240, 250, at], sps=10.0)) == found


def test_a_start_is_no_fall_but_the_best_speed_stays():
    seen = speed_of(20, (0, 90.0), (20, 90.0), (30, None), (40, 10.0), (59.9, 10.0), (60, 10.0))
    assert seen == [None, (90.0, 90.0), None, None, None, (10.0, 90.0)]


def test_an_interruption_begins_the_time_anew():
    guard = Guard(GuardSection())
    assert watch(guard, range(0, 30, 5), memory_pressure_percent=90.0) == []
    assert watch(guard, [30]) == []
    assert [at for at, *_ in watch(guard, range(35, 100, 5), memory_pressure_percent=90.0)] == [65]


def test_time_in_which_nobody_looked_is_no_evidence():
    guard = Guard(GuardSection())
    watch(guard, [0], memory_pressure_percent=90.0)
    assert watch(guard, [500], memory_pressure_percent=90.0) == []


@pytest.mark.parametrize(("mode", "repeat_s"), [("act", 600), ("log", 3600)])
def test_trouble_that_stays_is_said_again_later(mode, repeat_s):
    found = watch(Guard(GuardSection(mode=mode)), range(0, 8000, 5), disk_free_mib=1.0)
    assert [at for at, *_ in found] == [n * repeat_s for n in range(int(8000 / repeat_s) + 1) if n * repeat_s < 8000]


def test_off_looks_at_nothing():
    guard = Guard(GuardSection(mode="off"))
    assert watch(guard, range(0, 100, 5), disk_free_mib=1.0) == []
    assert guard.warnings() == []


def test_speed_that_falls_to_half_is_found_as_medians_over_the_window():
    guard = Guard(GuardSection(sps_fall_minutes=1))
    assert watch(guard, range(0, 600, 5), sps=1500.0) == []
    found = watch(guard, range(600, 900, 5), sps=700.0)
    assert found == [
        (630, "sps", "700 steps/s over 1 min where it was 1500 (limit: a fall of 50%)"),
    ]


def test_a_short_dip_a_restart_and_other_work_are_no_fall():
    guard = Guard(GuardSection(sps_fall_minutes=1))
    watch(guard, range(0, 600, 5), sps=1500.0)
    assert watch(guard, range(600, 620, 5), sps=10.0) == []
    assert watch(guard, range(620, 700, 5), sps=1500.0) == []
    assert watch(guard, range(700, 800, 5), sps=None) == []
    assert watch(guard, range(800, 855, 5), sps=300.0) == []
    assert watch(guard, range(900, 2000, 5), sps=300.0, work="other games") == []


SEEN = "guard: memory pressure 63% for 30 s (limit 40%)"


def trip(host: Host, *, at, act=True, actions_max=3):
    host.decisions.clear()
    evidence = SEEN.removeprefix("guard: ")
    host.feed(ev.GuardTripped, at=at, cause="memory", evidence=evidence, act=act, actions_max=actions_max)
    return [(d.kind, d.reason) for d in host.decisions]


def in_medium() -> Host:
    return Host(rules()).up().climb()


def test_acting_steps_down_one_rung_gracefully_with_the_evidence():
    host = in_medium()
    said = trip(host, at=4000)
    assert said[0] == ("demote", f"demote medium -> light: {SEEN}; retry not before 10:06:40Z")
    assert {game.status for game in host.state.games if game.has_process} == {"STOPPING"}
    host.settle_drain(at=host.t + 5)
    assert host.state.mode == "light"
    assert (host.state.retry_at, host.state.incidents) == ({"medium": 4000 + 3600}, ())


def test_by_default_it_only_says_what_it_would_do():
    host = in_medium()
    before = host.state.transition, host.state.mode
    assert trip(host, at=host.t + 10, act=False) == [
        ("guard", f'{SEEN}; would step down to light (guard.mode = "log")')
    ]
    assert (host.state.transition, host.state.mode) == before


def test_in_the_lowest_mode_it_is_an_alert():
    host = Host(rules()).up()
    assert trip(host, at=host.t + 10) == [("alert", f"{SEEN}; light is the lowest mode: nothing to step down to")]


def test_a_hold_without_fallback_holds():
    host = Host(rules()).up()
    host.hold("medium", at=host.t + 1, no_fallback=True)
    host.settle_drain(at=host.t + 5)
    assert trip(host, at=host.t + 10) == [("alert", f"{SEEN}; held in medium without fallback: not stepping down")]
    assert host.state.mode == "medium"


def test_during_a_drain_or_a_stop_nothing_is_done():
    host = in_medium()
    host.rollback(at=host.t + 1)
    assert trip(host, at=host.t + 2) == [("guard", f"{SEEN}; nothing to do while trainers are being stopped")]


def test_too_many_mode_changes_in_an_hour_stop_it_until_the_hour_is_over():
    """Counted are all that came without an operator: here the promotion, and then what the guard did."""
    host = Host(rules(modes=(("a", 1), ("b", 2), ("c", 3)))).up().climb().climb()
    start = host.t
    assert next(kind for kind, _ in trip(host, at=start + 1, actions_max=2)) == "demote"
    host.settle_drain(at=start + 10)
    assert host.state.mode == "b"
    stopped = trip(host, at=start + 700, actions_max=2)
    assert [kind for kind, _ in stopped] == ["alert"]
    assert "not acting: 2 automatic mode changes within an hour (at most 2)" in stopped[0][1]
    assert next(kind for kind, _ in trip(host, at=start + 3700, actions_max=2)) == "demote"


def test_a_mode_change_exactly_an_hour_old_no_longer_counts():
    host = in_medium()
    promoted = host.state.mode_changes[-1]
    assert next(kind for kind, _ in trip(host, at=promoted + 3599, actions_max=1)) == "alert"
    assert next(kind for kind, _ in trip(host, at=promoted + 3600, actions_max=1)) == "demote"


def test_zero_actions_an_hour_never_act():
    host = in_medium()
    kinds = [kind for kind, _ in trip(host, at=host.t + 7200, actions_max=0)]
    assert "alert" in kinds
    assert "demote" not in kinds
