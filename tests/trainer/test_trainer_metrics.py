"""What a real run leaves for people and programs: TensorBoard events with CleanRL's names, JSON lines, progress."""

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rltrainer import report
from rltrainer.train import train
from trainer_runs import checkpoints, last_report, metrics, prepared, tiny_args

ITERATIONS = 60
STEPS = 64
"""Of one tiny iteration."""
LOSSES = {"value_loss", "policy_loss", "entropy", "old_approx_kl", "approx_kl", "clipfrac", "explained_variance"}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """The folder of a run of Breakout in which whole games end."""
    folder = tmp_path_factory.mktemp("metrics") / "Breakout"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "RATE_MIN_S", 0.2)
        run = prepared(tiny_args(folder, game="Breakout", target_frames=4 * ITERATIONS * STEPS), "breakout")
        assert train(run) is True
    return folder


@pytest.fixture(scope="module")
def events(run_dir):
    """TensorBoard's own reading of the events."""
    accumulator = EventAccumulator(str(run_dir / "tb"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_has_cleanrl_s_names_and_no_others(events):
    charts = {"charts/episodic_return", "charts/episodic_length", "charts/SPS", "charts/learning_rate"}
    assert set(events.Tags()["scalars"]) == charts | {f"losses/{name}" for name in LOSSES}


def test_tensorboard_and_json_lines_say_the_same(run_dir, events):
    episodes, iterations = metrics(run_dir, "episode"), metrics(run_dir, "iteration")
    assert len(episodes) > 0
    assert [(each.step, each.value) for each in events.Scalars("charts/episodic_return")] == [
        (each["global_step"], each["episodic_return"]) for each in episodes
    ]
    assert [(each.step, each.value) for each in events.Scalars("charts/episodic_length")] == [
        (each["global_step"], each["episodic_length"]) for each in episodes
    ]
    for name in LOSSES:
        scalars = events.Scalars(f"losses/{name}")
        assert [each.step for each in scalars] == [each["global_step"] for each in iterations]
        assert [each.value for each in scalars] == pytest.approx([each[name] for each in iterations], rel=1e-6)


def test_every_iteration_and_every_game_is_a_line_with_all_its_fields(run_dir):
    iterations, episodes = metrics(run_dir, "iteration"), metrics(run_dir, "episode")
    assert [each["iteration"] for each in iterations] == list(range(1, ITERATIONS + 1))
    assert [each["global_step"] for each in iterations] == [STEPS * n for n in range(1, ITERATIONS + 1)]
    fields = {"kind", "iteration", "global_step", "learning_rate", "sps", "time"} | LOSSES
    assert {frozenset(each) for each in iterations} == {frozenset(fields)}
    assert all(math.isfinite(each[name]) for each in iterations for name in LOSSES)
    rates = [each["learning_rate"] for each in iterations]
    assert rates[0] == 2.5e-4
    assert rates == sorted(rates, reverse=True)
    assert [each["episode"] for each in episodes] == list(range(1, len(episodes) + 1))
    assert {frozenset(each) for each in episodes} == {
        frozenset({
            "kind", "episode", "episodic_return", "episodic_length", "mean_return_100", "best_return", "global_step",
            "time",
        })
    }  # fmt: skip


def test_the_last_progress_report_agrees_with_the_metrics_and_the_checkpoint(run_dir):
    returns = [each["episodic_return"] for each in metrics(run_dir, "episode")]
    progress = last_report(run_dir)
    assert (progress.global_step, progress.phase, progress.finished) == (ITERATIONS * STEPS, "done", True)
    assert (progress.episodes, progress.best_return, progress.last_return) == (len(returns), max(returns), returns[-1])
    assert progress.mean_return_100 == pytest.approx(sum(returns) / len(returns))
    assert progress.sps > 0
    assert progress.checkpoint.global_step == ITERATIONS * STEPS
    assert progress.checkpoint.path == str(checkpoints(run_dir)[-1])
