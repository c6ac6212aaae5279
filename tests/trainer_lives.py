"""One run that is killed, damaged, stopped and finished, as processes; what was seen of each life, for many tests.

A trainer's start takes seconds, so its lives are lived once, and tests look at what they left.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rlagent.protocol.progress import Progress
from rltrainer import checkpoint_file
from rltrainer.tally import Tally
from trainer_runs import checkpoints, command, last_report, log_of, trainer, wait_until

RUN = {"game": "Breakout", "threads": 2, "checkpoint_interval_s": 0.2}
MODULES = "{'torch._dynamo', 'sympy', 'ale_py', 'gymnasium'}"
"""What a run to its end must not load."""
TO_THE_END = (
    "import sys, rltrainer.__main__ as main\n"
    "code = main.main(sys.argv[1:])\n"
    f"print(sorted({MODULES} & set(sys.modules)), 'torch' in sys.modules)\n"
    "sys.exit(code)"
)


@dataclass
class Life:
    """What was seen of one process from its start to its end."""

    first: Progress | None = None
    """The first report."""
    saved: Tally | None = None
    """Of the newest whole checkpoint, once it had ended."""
    report: Progress | None = None
    """The last one."""
    code: int | None = None
    log: str = ""
    """Of this life alone."""
    beats_s: list[float] = field(default_factory=list)
    """When reports were written, from the start-up into training."""
    phases: list[str] = field(default_factory=list)
    """What those reports said of it."""


def shared_memory():
    """What lies in the folder of shared memory that belongs to a trainer."""
    return {path for path in Path("/dev/shm").iterdir() if "rltrain" in path.name}  # noqa: S108 - looked at


def newest_header(run_dir):
    """The newest checkpoint's header, which must be whole."""
    return checkpoint_file.read(checkpoints(run_dir)[-1]).header


def workers_of(process):
    """The processes that play a trainer's games."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "rltrainer.atari.worker" in child.cmdline()]


def are_gone(processes):
    """Whether none of these runs any more."""
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


def episodes_saved(run_dir):
    """How many episodes the newest checkpoint counts, as the log tells."""
    told = re.findall(r"^checkpoint: ckpt-.* \| episode (\d+) \|", log_of(run_dir), flags=re.MULTILINE)
    return int(told[-1]) if told else 0


def longest_gap_s(beats_s):
    """The longest time between two reports."""
    return max(later - earlier for earlier, later in itertools.pairwise(beats_s))


def watched(run_dir, life, *, count=3):
    """A condition that notes when a life reports: whether so many reports were of training."""

    def look():
        path = run_dir / "progress.json"
        written_s = path.stat().st_mtime if path.exists() else None
        if written_s is not None and written_s not in life.beats_s[-1:]:
            life.beats_s.append(written_s)
            life.phases.append(last_report(run_dir).phase)
        return life.phases.count("training") >= count

    return look


class Lives:
    """The run in a folder; each method is one life, in this order."""

    def __init__(self, run_dir):
        self.run_dir = run_dir
        self.killed, self.orphaned, self.stopped, self.finished, self.done = (Life() for _ in range(5))
        self.live_until_killed()
        self.live_until_a_worker_dies()
        self.live_until_stopped()
        self.live_to_the_end()

    def _seen(self, life, begin, code):
        """Note what a life has left."""
        life.code, life.log, life.report = code, log_of(self.run_dir)[begin:], last_report(self.run_dir)
        life.saved = newest_header(self.run_dir).tally

    def _so_far(self):
        path = self.run_dir.with_suffix(".log")
        return len(path.read_text()) if path.exists() else 0

    def _wait_for_games(self, count):
        games = log_of(self.run_dir).count("\nEp ")
        wait_until(lambda: log_of(self.run_dir).count("\nEp ") >= games + count)

    def live_until_killed(self):
        """A second trainer is refused; somebody evaluates; then SIGKILL at any moment."""
        life, run_dir = self.killed, self.run_dir
        before = shared_memory()
        with trainer(run_dir, **RUN) as process:
            life.first = wait_until(lambda: last_report(run_dir))
            self.pid = process.pid
            self.second = subprocess.run(command(run_dir), capture_output=True, text=True, check=False)
            wait_until(watched(run_dir, life))
            self.workers = workers_of(process)
            self.schedulers = [os.sched_getscheduler(each.pid) for each in self.workers]
            self.environment = psutil.Process(process.pid).environ()
            wait_until(lambda: len(checkpoints(run_dir)) > 1)
            self.evaluation_code = evaluated_until_sigterm(run_dir)
            self.went_on = process.poll() is None
            self.quarantine_of_evaluation = (run_dir / "checkpoints" / "quarantine").exists()
            wait_until(lambda: episodes_saved(run_dir) >= 2)
            wait_until(lambda: last_report(run_dir).checkpoint)
            self._wait_for_games(4)
            process.kill()
            process.wait()
            wait_until(lambda: are_gone(self.workers))
        self.left_in_memory = shared_memory() - before
        self._seen(life, 0, process.returncode)

    def live_until_a_worker_dies(self):
        """It goes on from the checkpoint, plays, and one of its workers is killed."""
        life, run_dir, begin = self.orphaned, self.run_dir, self._so_far()
        (run_dir / "progress.json").unlink()
        with trainer(run_dir, **RUN) as process:
            life.first = wait_until(lambda: last_report(run_dir))
            wait_until(watched(run_dir, life, count=2))
            saved = episodes_saved(run_dir)
            wait_until(lambda: episodes_saved(run_dir) > saved)
            self._wait_for_games(2)
            workers = workers_of(process)
            workers[0].kill()
            self.dead_worker = workers[0].pid
            code = process.wait(timeout=120)
            wait_until(lambda: are_gone(workers))
        self._seen(life, begin, code)

    def live_until_stopped(self):
        """The newest checkpoint is damaged; from the one before it goes on, and the whole group gets every signal."""
        life, run_dir, begin = self.stopped, self.run_dir, self._so_far()
        self.intact, self.damaged = checkpoints(run_dir)[-2:]
        self.damaged.write_bytes(self.damaged.read_bytes()[:-1000])
        self.intact_tally = checkpoint_file.read(self.intact).header.tally
        with trainer(run_dir, **RUN) as process:
            wait_until(lambda: "resume: " in log_of(run_dir)[begin:])
            step = self.intact_tally.global_step
            wait_until(lambda: (report := last_report(run_dir)).phase == "training" and report.global_step > step)
            for each in (*workers_of(process), process):
                each.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=120)
        self._seen(life, begin, code)

    def live_to_the_end(self):
        """To a target that is near, and once more when there is nothing left to do."""
        target_frames = 4 * (self.stopped.saved.global_step + 100)
        arguments = command(self.run_dir, **(RUN | {"target_frames": target_frames}))[3:]
        self.target_steps = target_frames // 4
        for life in (self.finished, self.done):
            begun = subprocess.run(
                [sys.executable, "-c", TO_THE_END, *arguments], capture_output=True, text=True, check=False
            )
            life.log, life.code, life.report = begun.stdout + begun.stderr, begun.returncode, last_report(self.run_dir)
            life.saved = newest_header(self.run_dir).tally


def evaluated_until_sigterm(run_dir):
    """Evaluate beside the trainer, for ever if nobody ended it; return how SIGTERM ended it after its first game."""
    words = [sys.executable, "-m", "rltrainer", "eval", str(run_dir), "--episodes", "100000"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as evaluating:
        try:
            assert next(line for line in iter(evaluating.stderr.readline, "") if line.startswith("episode 1: "))
            evaluating.send_signal(signal.SIGTERM)
            return evaluating.wait(120)
        finally:
            evaluating.kill()
