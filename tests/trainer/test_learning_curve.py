"""The run that `make bench-learning` trains, and the learning curve that it reads from its metrics."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from contenders.curves import Curve
from trainer_runs import wait_until


def episode(step, time, episodic_return):
    return {"kind": "episode", "global_step": step, "time": time, "episodic_return": episodic_return}


def test_a_curve_counts_frames_and_the_hours_since_the_first_record(tmp_path):
    records = [
        {"kind": "iteration", "global_step": 512, "time": 1000.0},
        episode(600, 1900.0, 2.0),
        {"kind": "iteration", "global_step": 1024, "time": 2000.0},
        episode(1100, 4600.0, 5.0),
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + '{"kind": "episode", "global_st')
    assert Curve.of(path) == Curve(frames=[2400, 4400], hours=[0.25, 1.0], returns=[2.0, 5.0])


def test_it_is_smoothed_over_the_last_hundred_games():
    returns = [float(number) for number in range(150)]
    smooth = Curve(frames=[0] * 150, hours=[0.0] * 150, returns=returns).smooth()
    assert smooth[:3] == [0.0, 0.5, 1.0]
    assert smooth[-1] == sum(range(50, 150)) / 100
    assert len(smooth) == 150


@pytest.mark.slow
def test_a_benchmark_that_is_told_to_end_leaves_no_trainer_behind(tmp_path):
    """Also when it trains several at once, each in a thread."""
    code = (
        "import pathlib, sys; from concurrent.futures import ThreadPoolExecutor; from contenders import training\n"
        "training.end_trainers_on_sigterm()\n"
        "with ThreadPoolExecutor() as pool:\n"
        "    folder, flags = pathlib.Path(sys.argv[1]), ['--threads', '1']\n"
        "    pool.submit(training.train, folder, 'Pong', 5, flags, tell=False).result()"
    )
    tests = str(Path(__file__).resolve().parents[1])
    bench = subprocess.Popen([sys.executable, "-c", code, tmp_path / "run"], env=os.environ | {"PYTHONPATH": tests})
    try:
        wait_until(lambda: bench.poll() is not None or (tmp_path / "run" / "metrics.jsonl").exists())
        (trainer,) = psutil.Process(bench.pid).children()
        bench.terminate()
        assert bench.wait(60) == 143
        assert not psutil.pid_exists(trainer.pid)
    finally:
        bench.kill()
        bench.wait()
