"""What a reporter says of a run, word for word, on a clock that the test moves."""

import json
from types import SimpleNamespace

import pytest

from rlagent.protocol import progress
from rltrainer import progress_file, report
from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.envs import Episode
from rltrainer.metrics_file import MetricsFile
from rltrainer.progress_file import ProgressFile
from rltrainer.report import Reporter
from rltrainer.tally import Tally


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s

    def time(self):
        return self.now_s + 5000.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (report, progress_file):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def run(tmp_path, clock):
    """A reporter, its tally, what it said and charted, and readers of its files."""
    said, charts, events = [], [], []
    board = SimpleNamespace(
        add=lambda values, step: charts.append((dict(values), step)),
        flush=lambda: events.append("flush"),
        close=lambda: events.append("close"),
    )
    tally = Tally(global_step=640, iteration=10, episodes=2, recent_returns=[-20.0, -18.0], best_return=-18.0)
    path = tmp_path / "progress.json"
    metrics = MetricsFile(tmp_path / "metrics.jsonl", 0, said.append)
    reporter = Reporter(tally, ProgressFile(path, said.append), metrics, board, said.append)

    def records():
        return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]

    return SimpleNamespace(
        reporter=reporter, tally=tally, said=said, charts=charts, events=events, records=records,
        progress=lambda: progress.decode(path.read_bytes()), path=path, folder=tmp_path,
    )  # fmt: skip


def played(run, clock, *, seconds, steps, returns=()):
    """Let time pass, in which steps are taken and games end; beat after it."""
    clock.now_s += seconds
    run.tally.global_step += steps
    for each in returns:
        run.tally.add_episode(each)
    run.reporter.beat()


def test_a_report_holds_the_counts_and_the_rates_of_the_recent_past(run, clock):
    """320 steps in 40 s, of which the last 30 count; three games in 40 s are 270 an hour."""
    run.reporter.phase("training")
    played(run, clock, seconds=10, steps=20)
    played(run, clock, seconds=20, steps=200, returns=[-19.0])
    played(run, clock, seconds=10, steps=100, returns=[-15.0, -21.0])
    assert run.progress() == progress.Progress(
        global_step=960,
        frameskip=4,
        phase="training",
        finished=False,
        sps=10.0,
        episodes=5,
        episodes_per_hour=270.0,
        best_return=-15.0,
        mean_return_100=(-20 - 18 - 19 - 15 - 21) / 5,
        last_return=-21.0,
    )


def test_rates_are_unknown_until_there_was_time_to_measure(run, clock):
    """Of steps two seconds, of games half a minute."""
    run.reporter.phase("training")
    seen = []
    for seconds in (1.5, 1, 27, 1):
        played(run, clock, seconds=seconds, steps=60, returns=[1.0])
        seen.append((run.progress().sps is None, run.progress().episodes_per_hour is None))
    assert seen == [(True, True), (False, True), (False, True), (False, False)]


def test_games_of_an_hour_ago_do_not_count_in_their_rate(run, clock):
    """Fifty in the first minute, then none, one, two, none ... every 100 seconds: nine in the last quarter of one."""
    run.reporter.phase("training")
    played(run, clock, seconds=60, steps=1, returns=[1.0] * 50)
    for number in range(36):
        played(run, clock, seconds=100, steps=1, returns=[1.0] * (number % 3))
    assert run.progress().episodes_per_hour == pytest.approx(36.0)


def test_beats_come_once_a_second_but_the_first_of_training_at_once(run, clock):
    run.reporter.phase("training")
    run.tally.global_step = 648
    run.reporter.beat()
    assert run.progress().global_step == 648
    for seconds, step, expected in ((0.9, 656, 648), (0.1, 664, 664), (0.5, 672, 664), (0.5, 680, 680)):
        clock.now_s += seconds
        run.tally.global_step = step
        run.reporter.beat()
        assert run.progress().global_step == expected


def test_other_phases_do_not_hurry_and_the_last_says_that_it_is_finished(run):
    run.reporter.phase("checkpointing")
    run.tally.global_step = 648
    run.reporter.beat()
    assert (run.progress().phase, run.progress().finished, run.progress().global_step) == ("checkpointing", False, 640)
    run.reporter.phase("done", finished=True)
    assert (run.progress().phase, run.progress().finished, run.progress().global_step) == ("done", True, 648)


def test_a_game_is_a_line_in_the_log_a_record_and_two_points_of_charts(run, clock):
    """The steps per second are those up to the last beat."""
    played(run, clock, seconds=4, steps=401)
    run.tally.add_episode(-13.0)
    run.reporter.episode(Episode(-13.0, 777))
    assert run.said == ["Ep 3 | return -13 | mean100 -17.0 | best -13 | step 1041 | 100 sps"]
    run.reporter.settle()
    assert run.records() == [
        {
            "kind": "episode", "episode": 3, "episodic_return": -13.0, "episodic_length": 777, "mean_return_100": -17.0,
            "best_return": -13.0, "global_step": 1041, "time": 6004.0,
        }
    ]  # fmt: skip
    assert run.charts == [({"charts/episodic_return": -13.0, "charts/episodic_length": 777}, 1041)]


def test_a_first_game_has_no_speed_to_tell_of(run):
    run.tally.add_episode(30.0)
    run.reporter.episode(Episode(30.0, 5))
    assert run.said == ["Ep 3 | return 30 | mean100 -2.7 | best 30 | step 640 | n/a sps"]


def test_an_iteration_is_a_record_at_once_and_a_point_of_each_chart(run, clock):
    run.reporter.iteration(2e-4, {"entropy": 1.5})
    played(run, clock, seconds=4, steps=400)
    run.tally.iteration += 1
    run.reporter.iteration(1e-4, {"entropy": 1.25, "clipfrac": 0.5})
    first, second = run.records()
    assert first == {
        "kind": "iteration", "iteration": 10, "global_step": 640, "learning_rate": 2e-4, "sps": None, "entropy": 1.5,
        "time": 6000.0,
    }  # fmt: skip
    assert second == {
        "kind": "iteration", "iteration": 11, "global_step": 1040, "learning_rate": 1e-4, "sps": 100.0,
        "entropy": 1.25, "clipfrac": 0.5, "time": 6004.0,
    }  # fmt: skip
    assert run.charts == [
        ({"charts/learning_rate": 2e-4, "losses/entropy": 1.5}, 640),
        ({"charts/learning_rate": 1e-4, "charts/SPS": 100.0, "losses/entropy": 1.25, "losses/clipfrac": 0.5}, 1040),
    ]


def checkpoint(run):
    tally = Tally(global_step=600, episodes=1)
    header = Header(game="pong", written_by="1", saved_at=7.5, tally=tally, metrics_offset=0)
    return Checkpoint(run.folder / "ckpt-000000000600.pt", header, b"", b"")


def test_a_checkpoint_is_told_with_what_it_took_and_what_it_cost_and_ends_a_warning(run):
    """Its own counts, not those that the run has reached meanwhile."""
    run.reporter.not_saved(500, "No space left on device")
    what = "at step 500: No space left on device; the older ones are kept"
    assert run.said == [f"checkpoint: FAILED {what}"]
    run.reporter.phase("training")
    assert (run.progress().warning, run.progress().checkpoint) == (f"checkpoint failed {what}", None)
    run.reporter.saved(checkpoint(run), 1.234, 0.015)
    assert run.said[1:] == ["checkpoint: ckpt-000000000600.pt | step 600 | episode 1 | 1.23 s"]
    run.reporter.phase("training")
    assert run.progress().warning is None
    assert run.progress().checkpoint == progress.CheckpointReport(
        global_step=600, saved_at=7.5, cost_s=0.015, path=str(checkpoint(run).path)
    )


def test_all_that_was_noted_is_on_disk_once_it_is_settled_or_closed(run):
    run.tally.add_episode(1.0)
    run.reporter.episode(Episode(1.0, 5))
    length = run.reporter.settle()
    assert (length, run.events) == ((run.folder / "metrics.jsonl").stat().st_size, ["flush"])
    assert length > 50
    run.reporter.sync()
    run.reporter.episode(Episode(1.0, 5))
    run.reporter.close()
    assert (len(run.records()), run.events) == (2, ["flush", "close"])
