"""A whole run in this process that many tests look at: what it left, what it reported, and how it learned."""

from types import SimpleNamespace

import pytest

from rltrainer import envs, report
from rltrainer.progress_file import ProgressFile
from rltrainer.train import train
from trainer_doubles import LocalPool
from trainer_runs import last_report, prepared, tiny_args

ITERATIONS = 60
STEPS = 64
"""Of one tiny iteration."""


@pytest.fixture
def games_here(monkeypatch):
    """Let games be played in this process: a worker takes half a second to start, and plays the same."""
    monkeypatch.setattr(envs, "Pool", LocalPool)


@pytest.fixture(scope="session")
def breakout(tmp_path_factory):
    """A run of Breakout, the game that beginners lose fastest, in which whole games have ended.

    `rates` are the learning rates of its gradients, `reported` the steps of each report.
    """
    folder = tmp_path_factory.mktemp("run") / "Breakout"
    args = tiny_args(folder, game="Breakout", target_frames=4 * ITERATIONS * STEPS)
    rates, reported = [], []
    write = ProgressFile.write

    def written(self, **changes):
        write(self, **changes)
        reported.append(last_report(folder).global_step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "RATE_MIN_S", 0.2)
        patch.setattr(ProgressFile, "write", written)
        run = prepared(args, "breakout")
        step = run.learner.step
        run.learner.step = lambda batch: rates.append(float(run.learner.optimizer.lr)) or step(batch)
        assert train(run) is True
    return SimpleNamespace(
        run_dir=folder, args=args, iterations=ITERATIONS, steps=ITERATIONS * STEPS, rates=rates, reported=reported
    )
