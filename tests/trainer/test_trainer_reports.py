"""What a run counts and tells: tally, rates, metrics.jsonl, progress file, TensorBoard events."""

import json
import resource
import time

import pytest

from rlagent.protocol import progress
from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.metrics_file import MetricsFile
from rltrainer.progress_file import ProgressFile
from rltrainer.tally import Rate, Tally
from rltrainer.tensorboard import Board
from trainer_runs import wait_until


def test_a_tally_keeps_the_last_hundred_returns_and_the_best_of_all():
    tally = Tally()
    assert (tally.last_return, tally.mean_return_100, tally.best_return) == (None, None, None)
    tally.add_episode(900.0)
    for score in range(100):
        tally.add_episode(float(score))
    assert tally.episodes == 101
    assert tally.recent_returns == [float(score) for score in range(100)]
    assert (tally.last_return, tally.mean_return_100, tally.best_return) == (99.0, 49.5, 900.0)


def test_a_best_return_may_be_negative():
    tally = Tally()
    tally.add_episode(-21.0)
    tally.add_episode(-20.0)
    assert tally.best_return == -20.0


def test_a_rate_is_unknown_at_first_and_then_that_of_the_window():
    rate = Rate(window_s=10.0, min_s=2.0, started_s=100.0, count=5000)
    rate.mark(101.0, 5100)
    assert rate.per_second() is None
    rate.mark(102.0, 5200)
    assert rate.per_second() == 100.0
    for second in range(103, 120):
        rate.mark(float(second), 5200 + 300 * (second - 102))
    assert rate.per_second() == 300.0


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0, print)
    first.add("episode", episode=1)
    offset = first.flush()
    first.sync()
    first.add("episode", episode=2)
    first.flush()
    second = MetricsFile(path, offset, print)
    second.add("episode", episode=2)
    second.close()
    assert records(path) == [{"kind": "episode", "episode": 1}, {"kind": "episode", "episode": 2}]


def test_metrics_shorter_than_the_checkpoint_says_go_on_at_their_end(tmp_path):
    said = []
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"kind":"episode","episode":1}\n')
    metrics = MetricsFile(path, 1000, said.append)
    metrics.add("episode", episode=9)
    metrics.close()
    assert [record["episode"] for record in records(path)] == [1, 9]
    assert "969 bytes shorter" in said[0]


def test_a_full_disk_delays_metrics_and_is_said_once(tmp_path):
    said = []
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path, 0, said.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))
    try:
        for episode in (1, 2, 3):
            metrics.add("episode", episode=episode)
            metrics.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    metrics.flush()
    assert [record["episode"] for record in records(path)] == [1, 2, 3]
    assert len(said) == 1
    metrics.close()


def test_progress_says_what_the_tally_and_the_checkpoint_say(tmp_path):
    path = tmp_path / "progress.json"
    tally = Tally(global_step=640, episodes=2, recent_returns=[-20.0, -18.0], best_return=-18.0)
    file = ProgressFile(path, print)
    file.count(tally)
    header = Header(game="pong", written_by="1", saved_at=5.0, tally=tally, metrics_offset=0)
    file.saved(Checkpoint(tmp_path / "c.pt", header, b"", b""))
    file.write(phase="training", sps=100.0)
    expected = progress.Progress(
        global_step=640,
        phase="training",
        finished=False,
        sps=100.0,
        episodes=2,
        best_return=-18.0,
        mean_return_100=-19.0,
        last_return=-18.0,
        checkpoint=progress.CheckpointReport(global_step=640, saved_at=5.0, path=str(tmp_path / "c.pt")),
    )
    assert progress.decode(path.read_bytes()) == expected
    assert list(tmp_path.iterdir()) == [path]


def test_a_progress_file_that_cannot_be_written_is_said_once_and_costs_nothing_else(tmp_path):
    said = []
    file = ProgressFile(tmp_path / "missing" / "progress.json", said.append)
    file.write(phase="training")
    file.write(phase="training")
    assert len(said) == 1
    assert "can't write" in said[0]


def test_while_starting_up_somebody_else_beats(tmp_path):
    path = tmp_path / "progress.json"
    file = ProgressFile(path, print)
    with file.beating():
        wait_until(path.exists)
    assert progress.decode(path.read_bytes()).phase == "starting"


def test_events_of_lost_work_are_hidden_after_a_resume(tmp_path):
    """TensorBoard itself reads the folder: the values of the lost steps are gone, those of the repeated ones there."""
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = Board(tmp_path, 0, print)
    for step in (64, 128, 192):
        first.add({"charts/SPS": float(step)}, step)
    first.flush()
    time.sleep(1.1)  # event files of one process are told apart by their second
    second = Board(tmp_path, 128, print)
    second.add({"charts/SPS": 1.0}, 192)
    second.close()
    accumulator = event_accumulator.EventAccumulator(str(tmp_path))
    accumulator.Reload()
    assert [(event.step, event.value) for event in accumulator.Scalars("charts/SPS")] == [
        (64, 64.0),
        (128, 128.0),
        (192, 1.0),
    ]
    first.close()


def test_the_last_word_of_a_stop_while_starting_up_is_not_written_over(tmp_path):
    """The heartbeat goes on until the process ends, which it does not here, but writes nothing any more."""
    path = tmp_path / "progress.json"
    file = ProgressFile(path, print)
    with file.beating():
        file.farewell()
        time.sleep(1.5)
        assert progress.decode(path.read_bytes()).phase == "stopping"
        file._writing.release()
