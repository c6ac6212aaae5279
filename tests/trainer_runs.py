"""Tiny real training runs, in this process and as processes of their own. Shared by the trainer's tests."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import torch

from rlagent.protocol import progress
from rltrainer import checkpoint_file, launch
from rltrainer.args import Args
from rltrainer.checkpoint_store import CheckpointStore, paths
from rltrainer.console import say
from rltrainer.progress_file import ProgressFile
from rltrainer.rundir import RunDir
from rltrainer.signals import StopSignal
from rltrainer.train import Run, prepare

TINY = {"num_envs": 8, "batch_size": 64, "threads": 1, "update_epochs": 1, "num_minibatches": 2, "seed": 3}


def tiny_args(run_dir, **changes) -> Args:
    """Arguments of a run whose iterations take a fraction of a second."""
    return Args(**({"run_dir": run_dir, "game": "Pong"} | TINY | changes))


def prepared(args: Args, rom: str = "pong") -> Run:
    """A run in this process, resumed from the newest checkpoint of its folder."""
    run_dir = RunDir(args.run_dir)
    run_dir.checkpoints.mkdir(parents=True, exist_ok=True)
    store = CheckpointStore(run_dir.checkpoints, args.keep_checkpoints, say)
    checkpoint = store.newest()
    envs = launch.start_games(args, rom, checkpoint)
    return prepare(args, envs, rom, checkpoint, store, ProgressFile(args.progress_path, say), StopSignal())


def parameters(run):
    """A copy of what a run has learned."""
    return {name: value.clone() for name, value in run.learner.model.state_dict().items()}


def command(run_dir, **changes) -> list[str]:
    """The command line of a tiny run."""
    values = TINY | {"game": "Pong", "run_dir": run_dir, "target_frames": 4_000_000} | changes
    flags = [text for name, value in values.items() for text in ("--" + name.replace("_", "-"), str(value))]
    return [sys.executable, "-m", "rltrainer", "train", *flags]


@contextmanager
def trainer(run_dir, prefix=(), switches=(), **changes):
    """A tiny run as a process, killed at the end if it still runs; its output is in `run_dir.log` beside the folder.

    The prefix is a program that begins the run in its own place; switches are flags without a value.
    """
    log = run_dir.with_suffix(".log").open("ab")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RLFLEET_")}
    process = subprocess.Popen([*prefix, *command(run_dir, **changes), *switches], stdout=log, stderr=log, env=environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        log.close()


def log_of(run_dir) -> str:
    """All that the runs in a folder have said."""
    return run_dir.with_suffix(".log").read_text()


def wait_until(condition, timeout_s: float = 300.0):
    """Return the first true value of a condition; fail with its name after a long time."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"never true: {condition}")


def last_report(run_dir) -> progress.Progress | None:
    """The progress file's content; None: there is none."""
    path = run_dir / "progress.json"
    return progress.decode(path.read_bytes()) if path.exists() else None


def checkpoints(run_dir):
    """The checkpoint files of a run, oldest first."""
    return paths(run_dir / "checkpoints")


def metrics(run_dir, kind: str) -> list[dict]:
    """The records of one kind in metrics.jsonl."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def stop(process, run_dir) -> int:
    """Ask a trainer to stop, and return its exit code."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=180)
    except subprocess.TimeoutExpired:
        raise AssertionError("deaf to SIGTERM:\n" + log_of(run_dir)) from None


def without_clocks(run_dir) -> list[dict]:
    """A run's records without what the clock says."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("time", "sps")} for line in lines]


def final(run_dir):
    """The last checkpoint's counters, games and learner."""
    newest = checkpoint_file.read(checkpoints(run_dir)[-1])
    state = torch.load(io.BytesIO(newest.payload), weights_only=True)
    return newest.header.tally, newest.envs, state


def assert_same(one, other) -> None:
    """Of two runs: what `final` returned is the same, bit for bit."""
    assert one[:2] == other[:2]
    for name, value in one[2]["model"].items():
        assert torch.equal(value, other[2]["model"][name]), name
    for mine, theirs in zip(one[2]["optimizer"], other[2]["optimizer"], strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
