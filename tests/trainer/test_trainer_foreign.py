"""The example of a foreign trainer follows the contract, and the misbehaving one breaks it as told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlagent.protocol import contract, progress
from trainer_runs import wait_until

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def start(tmp_path):
    """Starts an example in tmp_path, with the contract's variables; kills what is left."""
    processes = []

    def starter(name, *, target_frames=400_000, sps=1000):
        values = dict.fromkeys(contract.PLACEHOLDERS, "1") | {
            "run_dir": tmp_path,
            "progress_file": tmp_path / "progress.json",
            "target_frames": target_frames,
            "checkpoint_interval_s": 0.3,
        }
        environ = os.environ | contract.environment(values) | {"RLFLEET_EXAMPLE_SPS": str(sps)}
        processes.append(subprocess.Popen([sys.executable, EXAMPLES / name], env=environ, stderr=subprocess.DEVNULL))
        return processes[-1]

    yield starter
    for process in processes:
        process.kill()
        process.wait()


def report(tmp_path):
    path = tmp_path / "progress.json"
    return progress.decode(path.read_bytes()) if path.exists() else None


def steps(tmp_path):
    return found.global_step if (found := report(tmp_path)) else 0


def test_it_reports_steps_and_checkpoints_that_are_on_disk(start, tmp_path):
    start("foreign_trainer.py")
    found = wait_until(lambda: (r := report(tmp_path)) and r.checkpoint and r)
    assert found.finished is False
    assert json.loads((tmp_path / "checkpoint.json").read_text())["global_step"] >= found.checkpoint.global_step


def test_asked_to_stop_it_saves_its_last_step_and_exits_0(start, tmp_path):
    process = start("foreign_trainer.py")
    wait_until(lambda: steps(tmp_path) > 0)
    process.terminate()
    assert process.wait(timeout=60) == 0
    found = report(tmp_path)
    assert (found.finished, found.checkpoint.global_step) == (False, found.global_step)


def test_killed_it_resumes_from_its_checkpoint_and_finishes(start, tmp_path):
    first = start("foreign_trainer.py")
    wait_until(lambda: (r := report(tmp_path)) and r.checkpoint and r.checkpoint.global_step > 0)
    first.kill()
    first.wait()
    saved = json.loads((tmp_path / "checkpoint.json").read_text())["global_step"]
    (tmp_path / "progress.json").unlink()
    second = start("foreign_trainer.py", target_frames=4 * (saved + 400))
    resumed = wait_until(lambda: report(tmp_path))
    assert saved <= resumed.global_step <= saved + 400
    assert second.wait(timeout=60) == 0
    assert (report(tmp_path).finished, report(tmp_path).global_step) == (True, saved + 400)


@pytest.mark.parametrize(("word", "expected"), [("crash", 1), ("exit0", 0), ("config", 78)])
def test_told_to_misbehave_it_ends_as_told(start, tmp_path, word, expected):
    (tmp_path / "misbehave").write_text(word + "\n")
    assert start("misbehaving_trainer.py").wait(timeout=60) == expected
    assert report(tmp_path).finished is False


def test_told_to_be_stubborn_it_goes_on_after_sigterm(start, tmp_path):
    (tmp_path / "misbehave").write_text("stubborn")
    process = start("misbehaving_trainer.py")
    wait_until(lambda: steps(tmp_path) > 0)
    process.send_signal(signal.SIGTERM)
    before = steps(tmp_path)
    wait_until(lambda: steps(tmp_path) > before + 200)
    assert process.poll() is None


def test_told_to_hang_it_reports_no_more_until_it_is_killed(start, tmp_path):
    process = start("misbehaving_trainer.py")
    wait_until(lambda: steps(tmp_path) > 0)
    (tmp_path / "misbehave").write_text("hang")
    unchanged_since = [0, 0.0]

    def silent_for_a_second():
        mtime_ns = (tmp_path / "progress.json").stat().st_mtime_ns
        if mtime_ns != unchanged_since[0]:
            unchanged_since[:] = mtime_ns, time.monotonic()
        return time.monotonic() > unchanged_since[1] + 1.0

    wait_until(silent_for_a_second)
    assert process.poll() is None


def test_left_alone_the_misbehaving_one_behaves(start, tmp_path):
    assert start("misbehaving_trainer.py", target_frames=1600).wait(timeout=60) == 0
    assert report(tmp_path).finished is True
