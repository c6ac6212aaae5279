"""The measured speed: steps that were really taken, while all the same trainers made progress."""

from __future__ import annotations

import pytest

from policy_driver import WALL, Host, rules
from rlagent import files
from rlagent.config import Config, GameSection
from rlagent.journal import Stamp
from rlagent.paths import Paths
from rlagent.policy import events as ev
from rlagent.probe.throughput import Throughput
from rlagent.protocol.progress import CheckpointReport, Progress, encode
from rlagent.senses import Senses
from rlagent.world import World

WHO = {"Pong": 1, "Qbert": 4}


def test_all_trainers_together_are_measured_over_a_while():
    speed = Throughput()
    assert speed.look(100.0, WHO, {"Pong": 1000, "Qbert": 50}) is None
    assert speed.look(250.0, WHO, {"Pong": 2000, "Qbert": 60}) is None
    found = speed.look(400.0, WHO, {"Pong": 1000 + 300_000, "Qbert": 50 + 30_000})
    assert found == (pytest.approx(1100.0), pytest.approx(300.0))
    assert speed.look(401.0, WHO, {"Pong": 301_500, "Qbert": 30_100}) is None


@pytest.mark.parametrize("between", [({}, {}), ({"Pong": 2, "Qbert": 4}, {"Pong": 5, "Qbert": 70}), (WHO, {"Pong": 5})])
def test_a_pause_a_new_attempt_or_a_missing_report_starts_afresh(between):
    speed = Throughput()
    speed.look(0.0, WHO, {"Pong": 0, "Qbert": 0})
    speed.look(299.0, *between)
    assert speed.look(301.0, WHO, {"Pong": 9000, "Qbert": 9000}) is None


@pytest.mark.parametrize(("over_s", "found"), [(299.9, None), (300.0, (10.0, 300.0)), (600.0, (5.0, 600.0))])
def test_a_speed_is_measured_over_300_seconds_or_more(over_s, found):
    speed = Throughput()
    speed.look(50.0, {"Pong": 1}, {"Pong": 500})
    assert speed.look(50.0 + over_s, {"Pong": 1}, {"Pong": 3500, "Gone": 9}) == found


@pytest.mark.parametrize(("count", "found"), [(501, (1 / 300, 300.0)), (500, None)])
def test_one_step_is_a_speed_and_none_is_not(count, found):
    speed = Throughput()
    speed.look(0.0, {"Pong": 1}, {"Pong": 500})
    assert speed.look(300.0, {"Pong": 1}, {"Pong": count}) == found


def test_a_measurement_begins_anew_after_each():
    speed = Throughput()
    seen = [speed.look(float(at), {"Pong": 1}, {"Pong": 10 * at}) for at in range(0, 1000, 100)]
    assert [at * 100 for at, found in enumerate(seen) if found is not None] == [300, 600, 900]


def test_nobody_has_no_speed():
    speed = Throughput()
    assert [speed.look(at, {}, {}) for at in (0.0, 400.0, 800.0)] == [None, None, None]


def test_an_older_attempt_is_another_one():
    speed = Throughput()
    speed.look(0.0, {"Pong": 2}, {"Pong": 0})
    assert speed.look(300.0, {"Pong": 1}, {"Pong": 900}) is None
    assert speed.look(600.0, {"Pong": 1}, {"Pong": 1200}) == (1.0, 300.0)


def test_steps_lost_to_a_crash_are_no_speed():
    speed = Throughput()
    speed.look(0.0, {"Pong": 1}, {"Pong": 5000})
    assert speed.look(300.0, {"Pong": 1}, {"Pong": 4000}) is None


class Nothing:
    """A supervisor and a GPU probe with nothing to tell."""

    has_answered = False

    def processes(self):
        return {}

    def lost(self):
        return set()


def test_the_agent_tells_the_policy_what_the_progress_files_show(tmp_path, monkeypatch):
    monkeypatch.setattr("rlagent.probe.throughput.SPEED_EVERY_S", 10.0)
    paths = Paths(tmp_path)
    host = Host(rules(modes=(("light", 1),), games=["Pong"])).up()
    senses = Senses(Config(games=(GameSection(name="Pong"),)), paths, Nothing(), Nothing(), World())
    report = paths.progress_file("Pong")
    report.parent.mkdir(parents=True)
    found = []
    for second in range(24):
        files.replace(report, encode(Progress(global_step=1000 * second)))
        stamp = Stamp(t=float(second), wall=WALL, monotonic=500.0 + second, boot="b")
        found += [e for e in senses.look(host.state, lambda now=stamp: now) if isinstance(e, ev.SpeedMeasured)]
    assert [(event.steps_per_s, event.over_s) for event in found] == [(1000.0, 10.0), (1000.0, 10.0)]
    assert senses.checkpoint_cost_s() is None
    costly = CheckpointReport(global_step=5, saved_at=1.0, cost_s=0.5)
    files.replace(report, encode(Progress(global_step=99_000, checkpoint=costly)))
    senses.look(host.state, lambda: Stamp(t=30.0, wall=WALL, monotonic=530.0, boot="b"))
    assert senses.checkpoint_cost_s() == 0.5
