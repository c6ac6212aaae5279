"""Ends of a trainer's process that need a run of their own; what one run sees of others is in `test_trainer_lives`."""

import io
import subprocess
import sys
import time

import pytest
import torch

from rltrainer import checkpoint_file
from trainer_runs import checkpoints, command, last_report, log_of, stop, trainer, wait_until
from trainer_samples import sampled


@pytest.mark.parametrize("after_s", sampled([0.0, 0.2, 0.5, 1.0, 2.0], 1, always=[0.0]))
def test_sigterm_while_starting_up_ends_with_0_and_harms_nothing(tmp_path, after_s):
    """From the first heartbeat on, through the imports, the building of games and the first steps."""
    run_dir = tmp_path / "run"
    with trainer(run_dir) as process:
        wait_until(lambda: last_report(run_dir))
        time.sleep(after_s)
        assert stop(process, run_dir) == 0
    report = last_report(run_dir)
    assert (report.phase, report.finished) == ("stopping", False)
    assert "Traceback" not in log_of(run_dir)
    saved = [checkpoint_file.read(path).header.tally.global_step for path in checkpoints(run_dir)]
    # On a slow machine there may be some before the last.
    assert saved[-1:] == ([report.global_step] if report.global_step else [])


def test_sigterm_within_an_update_saves_the_minibatches_that_are_done(tmp_path):
    """The first update has so many epochs that it does not end here; reports go on within it.

    The first one after its rollout may be of the rollout's last step, the second of the update's very beginning.
    """
    run_dir = tmp_path / "run"
    with trainer(run_dir, update_epochs=100_000) as process:
        wait_until(lambda: (report := last_report(run_dir)) and report.global_step >= 64)
        for _ in range(3):
            before = (run_dir / "progress.json").stat().st_mtime_ns
            wait_until(lambda: (run_dir / "progress.json").stat().st_mtime_ns > before)  # noqa: B023 - used at once
        assert stop(process, run_dir) == 0
    state = torch.load(io.BytesIO(checkpoint_file.read(checkpoints(run_dir)[-1]).payload), weights_only=True)
    assert 0 < state["interrupted"]["minibatches"] < 200_000
    assert len(state["interrupted"]["played"]["obs"]) == 8


RECORDS_FOR_EVER = """
import itertools, sys, torch
from rltrainer import __main__, graphs, learner

def record(work):
    for count in itertools.count(1):
        work()
        if count == 3:
            print("recording", flush=True)

def build(args, num_actions, *, bf16=None):
    return learner._with_graphs(learner._plain(args, num_actions, torch.device("cpu"), bf16=False), args)

graphs._record, graphs.fetching, learner.build = record, lambda: None, build
sys.exit(__main__.main(sys.argv[1:]))
"""
"""On a CPU there are no graphs to record, and nothing to fetch; this records one that is never ready."""


def test_sigterm_while_the_learners_graphs_are_recorded_ends_with_0_and_saves_nothing(tmp_path):
    run_dir = tmp_path / "run"
    arguments = [sys.executable, "-c", RECORDS_FOR_EVER, *command(run_dir)[3:]]
    with run_dir.with_suffix(".log").open("wb") as log, subprocess.Popen(arguments, stdout=log, stderr=log) as process:
        try:
            wait_until(lambda: "recording" in log_of(run_dir))
            assert stop(process, run_dir) == 0
        finally:
            process.kill()
    report = last_report(run_dir)
    assert (report.phase, report.global_step, checkpoints(run_dir)) == ("stopping", 0, [])
    assert "Traceback" not in log_of(run_dir)


def test_a_full_disk_stops_checkpoints_but_not_training(tmp_path):
    """No file may grow over 1 MB: each checkpoint fails and is said, no temporary file stays, training goes on."""
    run_dir = tmp_path / "run"
    limited = ("sh", "-c", 'ulimit -S -f 2000 && exec "$0" "$@"')  # in blocks of 512 bytes
    with trainer(run_dir, limited, checkpoint_interval_s=0.2) as process:
        wait_until(lambda: log_of(run_dir).count("checkpoint: FAILED") >= 3)
        wait_until(lambda: (last_report(run_dir).warning or "").startswith("checkpoint failed at step "))
        assert stop(process, run_dir) == 1
    assert list((run_dir / "checkpoints").iterdir()) == []
    assert "the last checkpoint could not be written" in log_of(run_dir)
    assert last_report(run_dir).checkpoint is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"game": "Pung"}, "rltrain: --game Pung: no such Atari game in ale_py (did you mean Pong?)"),
        ({"run_dir": "/dev/null/run"}, "can't write there (Not a directory: /dev/null/run"),
    ],
)
def test_wrong_configuration_is_one_line_and_exit_code_2(tmp_path, changes, expected):
    done = subprocess.run(
        command(**({"run_dir": tmp_path / "run"} | changes)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
