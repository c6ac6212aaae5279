"""The status: every field from the policy's state and the probes' readings; values in, values out."""

from __future__ import annotations

import types

import pytest

from agent_world import config, readings
from policy_driver import WALL, Host, rules
from rlagent import statusview
from rlagent.protocol.progress import CheckpointReport, Progress
from rlagent.protocol.status import ModeGoodput
from rlagent.statusview import GameReading, build

CONFIG = config()
"""Games A, B and C of 1000 frames each; modes light (one game) and medium (two)."""


@pytest.fixture
def host():
    return Host(rules(modes=(("light", 1), ("medium", 2)), games="ABC")).up()


def seen(host: Host, after_s: float = 0.0, **games: GameReading):
    """Return the status so long after the last event."""
    return build(CONFIG, host.state, readings(host.state, now=host.state.t + after_s, games=games))


def running(step: int = 100, **report) -> GameReading:
    return GameReading(pid=7, progress=Progress(global_step=step, **report))


def test_mode_ladder_and_time(host):
    host.climb()
    status = seen(host, 25.0)
    assert (status.mode, status.ladder, status.changing_to) == ("medium", ["light", "medium"], None)
    assert status.in_mode_s == 25.0
    assert (status.written_at, status.mode_since) == ("2027-01-15T09:00:25Z", "2027-01-15T09:00:00Z")
    assert (status.stable_s, status.stable_needed_s) == (25.0, 3600.0)
    assert (status.uptime_s, status.boot, status.policy, status.stopped) == (5000.0, "boot-0", "ladder", False)


def test_a_change_a_stop_and_an_announced_reboot(host):
    host.climb()
    host.rollback(at=host.t + 1)
    assert seen(host).changing_to == "light"
    host.settle_drain(at=host.t + 1)
    host.announce_reboot(at=host.t + 1)
    assert seen(host).reboot_announced_until == "2027-01-15T09:30:03Z"
    host.stop(at=host.t + 1)
    assert seen(host).stopped is True


def test_a_hold_with_its_end(host):
    assert seen(host).hold is None
    host.hold("light", at=100, for_s=600)
    hold = seen(host, 50.0).hold
    assert (hold.mode, hold.until, hold.no_fallback, hold.who) == ("light", "2027-01-15T08:11:40Z", False, "ana")
    host.hold("light", at=200, no_fallback=True)
    hold = seen(host).hold
    assert (hold.until, hold.no_fallback) == (None, True)


def test_incidents_of_the_last_hour_to_the_second(host):
    host.crash_and_recover("A", at=100, checkpoint=True)
    host.reboot(at=200)
    at = host.state.incidents[-1].t
    for after_s, incidents, reboots in ((3599.0, 1, 1), (3600.0, 0, 0)):
        status = build(CONFIG, host.state, readings(host.state, now=at + after_s))
        assert (status.incidents_last_hour, status.reboots_last_hour) == (incidents, reboots)


def test_an_incident_says_what_it_was_and_whether_it_is_over_and_counts(host):
    host.crash_and_recover("A", at=100, checkpoint=True)
    host.crash("A", at=300)
    host.gpu_fault(at=301)
    first, second = seen(host).incidents
    assert (first.what, first.open, first.counts, first.mode) == ("trainer A SIGKILL", False, True, "light")
    assert (second.what, second.open, second.counts) == ("trainer A SIGKILL; GPU 0 lost", True, True)
    assert second.at == "2027-01-15T08:05:00Z"
    host.scale("medium", at=400)
    host.settle_drain(at=401)
    assert [incident.counts for incident in seen(host).incidents] == [False, False]


def test_games_with_a_slot_are_trainers(host):
    status = seen(host, A=running())
    assert [game.game for game in status.trainers] == ["A"]
    assert [(game.game, game.state, game.pid, game.attempt) for game in status.games] == [
        ("A", "RUNNING", 7, 1),
        ("B", "QUEUED", None, 0),
        ("C", "QUEUED", None, 0),
    ]


def test_a_game_without_a_report_has_no_numbers(host):
    game = seen(host).games[0]
    assert (game.global_step, game.sps, game.progress, game.target_frames) == (None, None, None, 1000)
    assert game.state_since == "2027-01-15T08:00:00Z"


def test_a_report_is_shown(host):
    report = {"episodes": 3, "episodes_per_hour": 4.0, "best_return": 5.0, "mean_return_100": 6.0, "sps": 50.0}
    saved = CheckpointReport(global_step=90, saved_at=WALL - 12.5)
    (game,) = seen(host, A=running(100, checkpoint=saved, **report)).trainers
    assert (game.global_step, game.episodes, game.episodes_per_hour) == (100, 3, 4.0)
    assert (game.best_return, game.mean_return_100, game.sps) == (5.0, 6.0, 50.0)
    assert (game.progress, game.checkpoint_age_s) == (0.4, 12.5)


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (249, 0.996), (250, 1.0), (251, 1.0)])
def test_progress_is_the_share_of_the_target_in_frames(host, step, share):
    assert seen(host, A=running(step)).trainers[0].progress == share


def test_a_checkpoint_of_the_future_is_new_and_a_silent_trainer_has_no_speed(host):
    saved = CheckpointReport(global_step=1, saved_at=WALL + 99.0)
    host.stall("A", at=5)
    (game,) = seen(host, A=running(1, checkpoint=saved, sps=50.0)).trainers
    assert (game.checkpoint_age_s, game.sps) == (0.0, None)


def test_a_game_that_waits_to_start_again_says_when(host):
    host.crash("A", at=5)
    game = seen(host).games[0]
    assert (game.state, game.retry_at, game.last_error) == ("BACKOFF", "2027-01-15T08:00:10Z", "SIGKILL")
    assert seen(host).games[1].retry_at is None


def test_the_next_action_says_when_and_in_how_long(host):
    action = seen(host, 600.0).next_action
    assert (action.kind, action.at, action.in_s) == ("promote", "2027-01-15T09:00:00Z", 3000.0)
    assert seen(host, 9999.0).next_action.in_s == 0.0
    host.stop(at=700)
    action = seen(host).next_action
    assert (action.kind, action.at, action.in_s) == ("none", None, None)


def test_the_agent_s_own_troubles_come_after_the_policy_s(host):
    told = readings(host.state)
    told.alerts.append("a full disk")
    assert build(CONFIG, host.state, told).alerts == ["a full disk"]


@pytest.mark.parametrize(
    ("games", "hours"),
    [
        ({}, None),
        ({"A": running(50, sps=None)}, None),
        ({"A": running(50, sps=0.0)}, None),
        # A has 800 frames to go, B and C 1000 each, at 10 steps of 4 frames a second.
        ({"A": running(50, sps=10.0)}, 2800 / 40 / 3600),
        ({"A": running(50, sps=10.0, frameskip=2)}, 2900 / 20 / 3600),
        ({"A": running(9999, sps=10.0)}, 2000 / 40 / 3600),
        # Only who makes progress has a speed.
        ({"A": running(50, sps=10.0), "B": running(50, sps=90.0)}, 2600 / 40 / 3600),
    ],
    ids=str,
)
def test_hours_left_at_the_present_speed(host, games, hours):
    found = seen(host, **games).projection.hours_left
    assert found == (None if hours is None else pytest.approx(hours))


def test_nothing_is_left_when_every_game_is_done(host):
    for game in "ABC":
        host.exit(game, "done", at=host.t + 1)
        host.recover(at=host.t)
    assert seen(host).projection.hours_left == 0.0
    host = Host(rules(modes=(("light", 1), ("medium", 2)), games="ABC")).up()
    assert seen(host, **dict.fromkeys("ABC", running(250))).projection.hours_left == 0.0


def costs(*each: float | None) -> dict[str, GameReading]:
    reports = [CheckpointReport(global_step=1, saved_at=1.0, cost_s=cost) for cost in each]
    return {str(n): running(1, checkpoint=report) for n, report in enumerate(reports)}


@pytest.mark.parametrize(
    ("games", "cost_s"),
    [
        ({}, None),
        ({"A": GameReading(), "B": running()}, None),
        (costs(None), None),
        (costs(-0.1), None),
        (costs(0.0), 0.0),
        (costs(0.2, None, 0.7, 0.5), 0.7),
    ],
    ids=str,
)
def test_the_dearest_checkpoint_counts(games, cost_s):
    assert statusview.checkpoint_cost_s(games) == cost_s


def test_how_often_to_take_checkpoints(host):
    status = seen(host, A=costs(0.5)["0"])
    assert (status.checkpoint.interval_s, status.checkpoint.cost_s) == (90.0, 0.5)
    assert (status.checkpoint.best_interval_s, status.checkpoint.adaptive) == (None, False)
    state, t = host.state, host.state.t
    assert statusview.best_interval_s(CONFIG, state, t, WALL + t, None) is None


def believed(mode: str, *, tried: bool = True, measured: bool = True):
    numbers = {"speed": 1.0, "rate": 2.0, "rate_low": 3.0, "rate_high": 4.0, "restart_s": 5.0, "goodput": 6.0}
    return types.SimpleNamespace(mode=mode, tried=tried, measured=measured, **numbers)


def test_only_what_was_tried_and_measured_is_told_of_a_mode(host, monkeypatch):
    beliefs = [believed("a"), believed("b", measured=False), believed("c", tried=False)]
    monkeypatch.setattr(statusview.compare, "mode_beliefs", lambda *_: beliefs)
    whole = {"crashes_per_h": 2.0, "crashes_per_h_low": 3.0, "crashes_per_h_high": 4.0, "restart_s": 5.0}
    assert seen(host).modes == [
        ModeGoodput(mode="a", steps_per_s=1.0, goodput_steps_per_s=6.0, **whole),
        ModeGoodput(mode="b", **whole),
        ModeGoodput(mode="c"),
    ]


@pytest.mark.parametrize(
    ("belief", "cost_s", "best_s"),
    [
        (believed("light"), 0.5, 21.0),
        (believed("light"), None, None),
        (believed("light", tried=False), 0.5, None),
        (believed("medium"), 0.5, None),
    ],
)
def test_the_best_interval_needs_the_present_mode_s_crash_rate_and_a_cost(host, monkeypatch, belief, cost_s, best_s):
    asked = []
    monkeypatch.setattr(statusview.compare, "mode_beliefs", lambda *_: [belief])
    monkeypatch.setattr(statusview.checkpoints, "best_interval_s", lambda *what: asked.append(what) or 21.0)
    assert statusview.best_interval_s(CONFIG, host.state, 1.0, WALL, cost_s) == best_s
    assert asked == ([] if best_s is None else [(2.0, 0.5, 90)])


def test_what_is_believed_of_the_modes(host):
    told = seen(host).modes
    assert [mode.mode for mode in told] == ["light", "medium"]
    assert (told[1].steps_per_s, told[1].crashes_per_h, told[1].goodput_steps_per_s) == (None, None, None)
