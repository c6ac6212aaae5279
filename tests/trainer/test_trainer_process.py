"""The trainer as the agent sees it: a process with real games, signals, exit codes and files."""

import io
import itertools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
import torch

from rltrainer import checkpoint_file
from trainer_runs import checkpoints, command, last_report, log_of, metrics, stop, trainer, wait_until


def newest_header(run_dir):
    return checkpoint_file.read(checkpoints(run_dir)[-1]).header


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.5, 1.0, 2.0])
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


def test_sigterm_while_training_saves_everything_and_two_more_do_not_hurt(tmp_path):
    run_dir = tmp_path / "run"
    with trainer(run_dir) as process:
        wait_until(lambda: (report := last_report(run_dir)) and report.global_step > 200)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert stop(process, run_dir) == 0
    report = last_report(run_dir)
    assert (report.phase, report.finished) == ("stopping", False)
    assert newest_header(run_dir).tally.global_step == report.global_step == report.checkpoint.global_step
    assert log_of(run_dir).splitlines()[-1].startswith("stop: as asked | step ")


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


def workers_of(process):
    return [
        child
        for child in psutil.Process(process.pid).children()
        if "rltrainer.atari.worker" in " ".join(child.cmdline())
    ]


def test_after_sigkill_no_worker_and_no_shared_memory_is_left(tmp_path):
    run_dir = tmp_path / "run"
    shared = set(Path("/dev/shm").iterdir())  # noqa: S108 - looked at, not written
    with trainer(run_dir, threads=2) as process:
        wait_until(lambda: (report := last_report(run_dir)) and report.global_step > 0)
        workers = workers_of(process)
        assert len(workers) == 2
        process.kill()
        wait_until(lambda: not any(worker.is_running() for worker in workers))
    mine = [path for path in set(Path("/dev/shm").iterdir()) - shared if "rltrain" in path.name]  # noqa: S108
    assert mine == []


def test_when_a_worker_dies_the_trainer_ends_with_1_and_says_so(tmp_path):
    run_dir = tmp_path / "run"
    with trainer(run_dir, threads=2) as process:
        wait_until(lambda: (report := last_report(run_dir)) and report.global_step > 0)
        workers = workers_of(process)
        workers[0].kill()
        assert process.wait(timeout=60) == 1
        wait_until(lambda: not any(worker.is_running() for worker in workers))
    assert log_of(run_dir).splitlines()[-1] == (
        f"rltrain: an environment worker (PID {workers[0].pid}) was killed by SIGKILL (out of memory?); start again to "
        "resume from the last checkpoint"
    )


def test_a_signal_to_the_whole_group_is_still_answered_with_a_checkpoint(tmp_path):
    """As a terminal's Ctrl-C, or a supervisor that signals the group: the workers leave it to the trainer."""
    run_dir = tmp_path / "run"
    with trainer(run_dir, threads=2) as process:
        wait_until(lambda: (report := last_report(run_dir)) and report.global_step > 0)
        for each in (*workers_of(process), process):
            each.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert newest_header(run_dir).tally.global_step == last_report(run_dir).global_step


def episodes_saved(run_dir):
    """How many episodes the newest checkpoint counts, as the log tells."""
    told = re.findall(r"^checkpoint: ckpt-.* \| episode (\d+) \|", log_of(run_dir), flags=re.MULTILINE)
    return int(told[-1]) if told else 0


@pytest.mark.slow
def test_after_sigkill_numbers_continue_from_the_checkpoint_without_gap_or_repeat(tmp_path):
    """Two kills at any moment; then every episode and iteration is recorded once, and returns are those reported."""
    run_dir = tmp_path / "run"
    for attempt in (1, 2):
        with trainer(run_dir, game="Breakout", checkpoint_interval_s=1) as process:
            wait_until(lambda: episodes_saved(run_dir) >= 2 * attempt)  # noqa: B023 - called in this round
            wait_until(lambda: last_report(run_dir).checkpoint)
            games = log_of(run_dir).count("\nEp ")
            wait_until(lambda: log_of(run_dir).count("\nEp ") >= games + 4)  # noqa: B023 - called in this round
            process.kill()
        saved = newest_header(run_dir).tally
        # A checkpoint may be on disk a moment before the report that tells of it.
        assert 0 < last_report(run_dir).checkpoint.global_step <= saved.global_step
    with trainer(run_dir, game="Breakout") as process:
        wait_until(lambda: log_of(run_dir).count("resume: ") == 2)
        assert stop(process, run_dir) == 0
    assert (
        f"resume: ckpt-{saved.global_step:012d}.pt | step {saved.global_step} | episode {saved.episodes} | "
        in log_of(run_dir)
    )
    iterations, episodes = metrics(run_dir, "iteration"), metrics(run_dir, "episode")
    assert [record["iteration"] for record in iterations] == list(range(1, len(iterations) + 1))
    steps = [record["global_step"] for record in iterations]
    assert steps == sorted(set(steps))
    assert len(episodes) >= 2
    assert [record["episode"] for record in episodes] == list(range(1, len(episodes) + 1))
    tally = newest_header(run_dir).tally
    assert tally.episodes == len(episodes)
    assert tally.recent_returns == [record["episodic_return"] for record in episodes][-100:]


def test_a_damaged_newest_checkpoint_is_put_aside_and_the_run_goes_on_from_the_one_before(tmp_path):
    run_dir = tmp_path / "run"
    with trainer(run_dir, checkpoint_interval_s=0.1) as process:
        wait_until(lambda: len(checkpoints(run_dir)) >= 3)
        process.kill()
    before, newest = checkpoints(run_dir)[-2:]
    newest.write_bytes(newest.read_bytes()[:-1000])
    with trainer(run_dir) as process:
        wait_until(lambda: "resume: " in log_of(run_dir))
        assert stop(process, run_dir) == 0
    assert f"QUARANTINE: {newest.name} is damaged" in log_of(run_dir)
    assert f"resume: {before.name}" in log_of(run_dir)
    assert (run_dir / "checkpoints" / "quarantine" / newest.name).exists()


def test_a_finished_run_exits_0_and_once_started_again_at_once_without_torch(tmp_path):
    run_dir = tmp_path / "run"
    with trainer(run_dir, target_frames=200 * 4) as process:
        assert process.wait(timeout=120) == 0
    finished = last_report(run_dir)
    assert (finished.phase, finished.finished, finished.global_step) == ("done", True, 256)
    code = "import sys; from rltrainer.__main__ import main; code = main(sys.argv[1:])\n"
    code += "sys.exit(9 if 'torch' in sys.modules else code)"
    argv = command(run_dir, target_frames=200 * 4)[3:]
    again = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert "done: target reached before this start | step 256" in again.stdout
    # All but the speeds and costs: nothing runs any more, so there are none.
    saved = msgspec.structs.replace(finished.checkpoint, cost_s=None)
    expected = msgspec.structs.replace(finished, sps=None, episodes_per_hour=None, checkpoint=saved)
    assert last_report(run_dir) == expected


def test_a_higher_target_continues_a_finished_run(tmp_path):
    run_dir = tmp_path / "run"
    for target_steps in (64, 128):
        with trainer(run_dir, target_frames=target_steps * 4) as process:
            assert process.wait(timeout=120) == 0
    assert [record["global_step"] for record in metrics(run_dir, "iteration")] == [64, 128]


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


def test_two_trainers_never_share_a_folder(tmp_path):
    run_dir = tmp_path / "run"
    with trainer(run_dir) as process:
        wait_until(lambda: last_report(run_dir))
        other = subprocess.run(command(run_dir), capture_output=True, text=True, check=False)
        assert other.returncode == 1
        assert f"in use by another rltrain (PID {process.pid})" in other.stderr
        assert stop(process, run_dir) == 0


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


@pytest.mark.timeout(900)
def test_the_heartbeat_is_never_older_than_two_seconds_for_long(tmp_path):
    """Reports are replaced about every second from the start-up on; the bound leaves room for a loaded machine.

    A machine that is busier than that leaves a gap here and there, a trainer that does not beat leaves it every time.
    """
    assert any(longest_gap_s(tmp_path / f"run-{attempt}") < 4.0 for attempt in range(5))


def longest_gap_s(run_dir):
    """The longest time between two reports of a new run, from its start-up into its training."""
    written = set()
    with trainer(run_dir) as process:

        def trained_a_while():
            if (run_dir / "progress.json").exists():
                written.add((run_dir / "progress.json").stat().st_mtime)
            return len(written) > 6 and last_report(run_dir).global_step > 0

        wait_until(trained_a_while)
        assert stop(process, run_dir) == 0
    return max(later - earlier for earlier, later in itertools.pairwise(sorted(written)))
