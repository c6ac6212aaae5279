"""What a real run leaves for people and programs: TensorBoard events with CleanRL's names, JSON lines, progress."""

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer_runs import checkpoints, last_report, metrics

LOSSES = {"value_loss", "policy_loss", "entropy", "old_approx_kl", "approx_kl", "clipfrac", "explained_variance"}


@pytest.fixture(scope="module")
def run_dir(breakout):
    """The folder of a run of Breakout in which whole games end."""
    return breakout.run_dir


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


def test_every_iteration_and_every_game_is_a_line_with_all_its_fields(run_dir, breakout):
    iterations, episodes = metrics(run_dir, "iteration"), metrics(run_dir, "episode")
    assert [each["iteration"] for each in iterations] == list(range(1, breakout.iterations + 1))
    assert [each["global_step"] for each in iterations] == [64 * n for n in range(1, breakout.iterations + 1)]
    fields = {"kind", "iteration", "global_step", "learning_rate", "sps", "time"} | LOSSES
    assert {frozenset(each) for each in iterations} == {frozenset(fields)}
    assert all(math.isfinite(each[name]) for each in iterations for name in LOSSES)
    rates = [each["learning_rate"] for each in iterations]
    assert rates == pytest.approx([2.5e-4 * (1 - n / breakout.iterations) for n in range(breakout.iterations)])
    assert [each["episode"] for each in episodes] == list(range(1, len(episodes) + 1))
    assert {frozenset(each) for each in episodes} == {
        frozenset({
            "kind", "episode", "episodic_return", "episodic_length", "mean_return_100", "best_return", "global_step",
            "time",
        })
    }  # fmt: skip


def test_the_last_progress_report_agrees_with_the_metrics_and_the_checkpoint(run_dir, breakout):
    returns = [each["episodic_return"] for each in metrics(run_dir, "episode")]
    progress = last_report(run_dir)
    assert (progress.global_step, progress.phase, progress.finished) == (breakout.steps, "done", True)
    assert (progress.episodes, progress.best_return, progress.last_return) == (len(returns), max(returns), returns[-1])
    assert progress.mean_return_100 == pytest.approx(sum(returns) / len(returns))
    assert progress.sps > 0
    assert progress.checkpoint.global_step == breakout.steps
    assert progress.checkpoint.path == str(checkpoints(run_dir)[-1])


def test_every_gradient_of_an_iteration_is_taken_with_the_rate_that_its_record_says(run_dir, breakout):
    rates = [each["learning_rate"] for each in metrics(run_dir, "iteration")]
    assert breakout.rates == pytest.approx([rate for rate in rates for _ in range(breakout.args.minibatches)])


def test_the_first_new_step_is_reported_at_once(breakout):
    """The one after it is due a second later."""
    assert breakout.reported[0] == 0
    assert next(step for step in breakout.reported if step > 0) == breakout.args.num_envs
