"""The goodput policy: what it learns from events, when it moves, and what it leaves to operators and hard limits."""

from __future__ import annotations

import msgspec
import pytest

from policy_driver import WALL, Host, rules
from rlagent.policy import State, checkpoints, explain
from rlagent.policy import events as ev
from rlagent.policy.belief import beliefs, break_even, goodput_of, told
from rlagent.policy.evidence import ModeEvidence, daily_factor, faded, with_incident, with_speed, with_time
from rlagent.policy.goodput import UNSEEN_S

LADDER = rules(games="ABCD")
GOODPUT = rules(games="ABCD", policy="goodput")


def speed(host, steps_per_s, *, at):
    host.feed(ev.SpeedMeasured, at=at, steps_per_s=steps_per_s, over_s=300.0)


def crash(host, *, at, back_s=30):
    """A reboot, seen 60 s after the last sign of life, and some seconds until the trainers are back."""
    host.tick(at - 60)
    host.checkpoint(at=at - 60)
    host.reboot(at=at)
    if host.state.transition is None:
        host.recover(at=at + back_s)


def in_medium(how=GOODPUT, medium=1800.0):
    """A host that knows light and has just entered medium."""
    host = Host(how).up()
    speed(host, 1000.0, at=300)
    speed(host, 1000.0, at=1000)
    speed(host, 1000.0, at=3600)
    assert host.state.transition.to == "medium"
    host.settle_drain(at=3610)
    if medium:
        speed(host, medium, at=3910)
    return host


def evidence(host, mode):
    return host.state.evidence.of(mode)


def test_progressing_time_crashes_restarts_and_speed_are_counted_for_their_mode():
    host = in_medium()
    crash(host, at=7270)
    speed(host, 2000.0, at=8200)
    light, medium = evidence(host, "light"), evidence(host, "medium")
    assert light.hours == pytest.approx(1.0, rel=0.02)
    assert light.incidents == 0
    assert medium.incidents == pytest.approx(1.0, rel=0.02)
    assert medium.hours == pytest.approx((7240 - 3610 + 900) / 3600, rel=0.02)
    assert (medium.restarts, medium.down_s) == (pytest.approx(1.0, rel=0.01), pytest.approx(60.0, rel=0.01))
    assert medium.speed == pytest.approx(1900.0)


def test_time_in_which_nobody_watched_is_no_progress():
    host = in_medium()
    before = evidence(host, "medium").hours
    host.tick(4200)
    host.reboot(at=7000)
    assert evidence(host, "medium").hours - before <= (4200 - 3610 + UNSEEN_S) / 3600


def test_an_untried_mode_is_tried_after_half_the_stable_time_and_not_before():
    host = Host(GOODPUT).up()
    for t in range(0, 1800, 60):
        host.tick(t)
    assert host.said("promote") == []
    host.tick(1800)
    (decision,) = host.said("promote")
    assert "medium was never tried" in decision.reason


def test_a_mode_that_crashes_too_often_is_left_and_the_reason_has_the_numbers():
    host = in_medium()
    for n in range(40):
        crash(host, at=4000 + 200 * n, back_s=100)
        if host.state.transition or host.state.mode == "light":
            break
    (decision,) = host.said("demote")
    assert (decision.from_mode, decision.to_mode) == ("medium", "light")
    for words in ("demote medium -> light: the better score", "crashes/h (", "useful of", "medium pays below"):
        assert words in decision.reason
    assert host.state.retry_at == {}


def test_crashes_below_the_break_even_rate_are_borne():
    host = in_medium()
    for n in range(24):
        crash(host, at=5500 + 900 * n)
    assert host.said("demote") == []
    assert len(host.said("incident")) == 24


def test_the_cap_demotes_all_the_same():
    host = in_medium(msgspec.structs.replace(GOODPUT, max_crashes_cap=True))
    for n in range(4):
        crash(host, at=5500 + 700 * n)
    (decision,) = host.said("demote")
    assert "4 incidents in 60 min (limit 3)" in decision.reason
    assert host.state.retry_at["medium"] > host.t


def test_a_price_makes_it_leave_sooner():
    def demoted_after(price_s):
        host = in_medium(msgspec.structs.replace(GOODPUT, crash_price_s=price_s))
        for n in range(60):
            crash(host, at=4500 + 600 * n)
            if host.said("demote"):
                return n
        return 60

    assert demoted_after(1800.0) < demoted_after(0.0)


def test_a_bad_mode_is_tried_again_when_its_evidence_has_faded():
    host = in_medium()
    for n in range(40):
        if host.state.mode == "medium" and host.state.transition is None:
            crash(host, at=4000 + 200 * n, back_s=100)
    host.settle_drain(at=host.t + 10)
    assert host.state.mode == "light"
    left = host.t
    while not host.said("promote")[1:] and host.t < left + 7 * 86400:
        speed(host, 1000.0, at=host.t + 900)
    waited_h = (host.t - left) / 3600
    assert 2 < waited_h < 120
    assert host.state.transition.to == "medium"


def test_held_it_neither_climbs_nor_leaves_for_a_score_but_falls_back_at_the_limit():
    host = Host(GOODPUT).up()
    host.hold("light", at=10)
    speed(host, 1000.0, at=7200)
    assert host.said("promote") == []
    host = in_medium()
    host.hold("medium", at=3950)
    speed(host, 100.0, at=7200)
    speed(host, 100.0, at=9000)
    assert host.said("demote") == []
    for n in range(4):
        crash(host, at=9100 + 300 * n)
    assert "limit 3" in host.said("demote")[0].reason


def test_stopped_nothing_is_chosen():
    host = in_medium()
    host.stop(at=4000)
    for t in range(5000, 20000, 900):
        host.tick(t)
    assert host.said("demote") == []


def test_a_rollback_is_not_undone_before_its_cooldown():
    host = in_medium()
    host.rollback(at=4000)
    host.settle_drain(at=4010)
    for t in range(4200, 7500, 300):
        speed(host, 1000.0, at=t)
    assert len(host.said("promote")) == 1
    for t in range(7600, 9600, 300):
        speed(host, 1000.0, at=t)
    assert len(host.said("promote")) == 2


def test_the_ladder_rules_and_goodput_says_once_what_it_would_do():
    host = in_medium(LADDER)
    for n in range(3):
        crash(host, at=4000 + 130 * n)
    speed(host, 300.0, at=6000)
    for t in range(6300, 7200, 300):
        speed(host, 300.0, at=t)
    shadows = [d for d in host.said("shadow") if d.from_mode == "medium"]
    assert [d.to_mode for d in shadows] == ["light"]
    assert "goodput would go medium -> light" in shadows[0].reason
    assert host.said("demote") == []
    text = "\n".join(explain.lines(host.state, host.t))
    assert "The ladder rules and would stay in medium" in text
    assert "Goodput would go to light" in text


def test_explain_tells_each_modes_numbers_and_what_the_ladder_would_do():
    host = in_medium()
    text = "\n".join(explain.lines(host.state, host.t))
    assert "Goodput of light: " in text
    assert ", better than light below " in text
    assert "Goodput rules and would stay in medium." in text
    assert "The ladder would stay in medium." in text
    assert "that a promotion needs" not in text
    assert explain.next_action(host.state, host.t).kind == "review"


def test_changed_settings_make_old_evidence_worthless():
    host = in_medium()
    modes = tuple(msgspec.structs.replace(m, settings="new" if m.name == "light" else "") for m in GOODPUT.modes)
    host.feed(ev.Configured, at=host.t, rules=msgspec.structs.replace(GOODPUT, modes=modes))
    assert not evidence(host, "light").seen
    assert evidence(host, "medium").seen


def test_a_state_of_an_older_journal_reads():
    old = msgspec.json.decode(msgspec.json.encode(Host(LADDER).up().state))
    del old["evidence"]
    for key in ("policy", "max_crashes_cap", "crash_price_s", "checkpoint_interval_s"):
        del old["rules"][key]
    state = msgspec.json.decode(msgspec.json.encode(old), type=State)
    assert state.rules.policy == "ladder"
    host = Host(LADDER)
    host.state = state
    host.tick(900)
    assert host.state.evidence.since is not None


def test_goodput_and_its_break_even_rate_agree():
    host = in_medium()
    light, medium = beliefs(host.state.evidence, GOODPUT, host.t, 0)
    limit = break_even(medium, light, 0.0)
    assert goodput_of(medium.speed, limit, medium.lost_s, medium.restart_s) == pytest.approx(light.goodput)
    assert break_even(light, medium, 0.0) is None


def test_evidence_fades_by_half_in_30_hours():
    known = with_incident(with_time(ModeEvidence(mode="m"), 3600.0, 3600.0, 0), 3600.0, 0)
    later = faded(known, 3600.0 + 30 * 3600.0)
    assert (later.hours, later.incidents) == (pytest.approx(0.5), pytest.approx(0.5))


def test_recent_evidence_that_contradicts_replaces_the_old():
    known, t = ModeEvidence(mode="m"), 0.0
    for _ in range(120):  # 6 crashes an hour for 20 hours
        t += 600.0
        known = with_incident(with_time(known, t, 600.0, 0), t, 0)
    bad = known.incidents / known.hours
    for _ in range(9):  # three hours without
        t += 1200.0
        known = with_time(known, t, 1200.0, 0)
    assert bad > 5
    assert known.incidents / known.hours < 0.5


def test_a_daily_swing_is_found_and_chance_is_not():
    swinging = steady = ModeEvidence(mode="m")
    for hour in range(120):
        t = 3600.0 * (hour + 1)
        swinging = with_time(swinging, t, 3600.0, hour % 24)
        steady = with_time(steady, t, 3600.0, hour % 24)
        for _ in range(6 if hour % 24 < 8 else 0):
            swinging = with_incident(swinging, t, hour % 24)
        for _ in range(2):
            steady = with_incident(steady, t, hour % 24)
    assert daily_factor(swinging, 4) > 2.0
    assert daily_factor(swinging, 16) < 0.5
    assert [daily_factor(steady, hour) for hour in range(24)] == [1.0] * 24


def test_one_wild_speed_moves_little():
    known = ModeEvidence(mode="m")
    for _ in range(20):
        known = with_speed(known, 1000.0)
    assert with_speed(known, 1e9).speed == pytest.approx(1000.0, rel=0.06)


def test_the_checkpoint_interval_is_youngs_within_its_limits():
    assert checkpoints.best_interval_s(1.0, 1.1, 600.0) == pytest.approx(89.0, abs=0.1)
    assert checkpoints.best_interval_s(1.0, 1.1, 60.0) == 60.0
    assert checkpoints.best_interval_s(1.0, 0.0, 90.0) == 5.0
    assert checkpoints.best_interval_s(0.0, 1.0, 90.0) == 90.0
    assert checkpoints.best_interval_s(1.0, 0.0, 2.0) == 2.0


def test_wall_clock_jumps_do_no_harm():
    host = in_medium()
    for wall in (0.0, -1e9, 1e12, WALL):
        host.state, _ = host_step(host, wall)
    assert host.state.mode == "medium"


def host_step(host, wall):
    from rlagent.policy import step  # noqa: PLC0415

    host.t += 1000
    return step(host.state, ev.Tick(t=host.t, wall=wall))


def test_a_host_that_only_ever_crashes_is_survived():
    """Crashes of a mode that has not made progress for a second yet have no rate."""
    known = ModeEvidence(mode="light")
    for n in range(20):
        known = with_incident(known, float(n), hour=3)
    assert (known.incidents, daily_factor(known, 3)) == (pytest.approx(20, rel=0.01), 1.0)


def test_a_speed_that_was_guessed_is_never_told_as_measured():
    host = in_medium(medium=0.0)
    crash(host, at=4000)
    light, medium = beliefs(host.state.evidence, host.state.rules, host.t, 0)
    assert (light.measured, medium.measured) == (True, False)
    assert "useful of 1,000 steps/s" in told(light)
    assert told(medium).startswith("medium: speed not measured, ")
    assert "steps/s" not in told(medium)
