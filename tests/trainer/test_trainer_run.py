"""Whole runs in this process: determinism, resume, changed sizes, the end."""

import msgspec
import pytest
import torch

from rltrainer import checkpoint_file, ppo
from rltrainer.checkpointer import Checkpointer
from rltrainer.errors import CheckpointNotSavedError
from rltrainer.train import train
from trainer_runs import checkpoints, last_report, metrics, parameters, prepared, tiny_args, without_clocks

pytestmark = pytest.mark.usefixtures("games_here")
STEPS = 64
"""Of one tiny iteration."""


def trained(run_dir, steps, *, begin=lambda _: None, **changes):
    """A run that trains so many steps further than its folder is, under a far target, and is then stopped."""
    run = prepared(tiny_args(run_dir, **({"target_frames": 400_000} | changes)))
    begin(run)
    goal = run.tally.global_step + steps
    go_on = run.after_step

    def after_step(episodes):
        go_on(episodes)
        return run.tally.global_step < goal

    run.after_step = after_step
    assert train(run) is False
    return run


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    """Two iterations: parameters equal to the bit, and all recorded losses."""
    runs = {}
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        runs[name] = prepared(tiny_args(tmp_path / name, seed=seed, target_frames=2 * STEPS * 4))
        assert train(runs[name]) is True
    one, two, three = (parameters(runs[name]) for name in ("one", "two", "three"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], three[name]) for name in one)
    assert without_clocks(tmp_path / "one") == without_clocks(tmp_path / "two")
    assert len(metrics(tmp_path / "one", "iteration")) == 2


def test_parameters_rates_iterations_and_steps_continue_over_stops_and_changes_of_sizes(tmp_path):
    """8 environments and batch 64, then 16 and 128, then 4 and 32: one line from the first learning rate to zero."""
    first = trained(tmp_path, 3 * STEPS)
    report = last_report(tmp_path)
    assert (report.phase, report.finished) == ("stopping", False)
    seen = []
    second = trained(tmp_path, 3 * 128, num_envs=16, batch_size=128, begin=lambda run: seen.append(state_of(run)))
    assert same(state_of(first), seen[0])
    assert second.tally.global_step == 3 * STEPS + 3 * 128
    last = trained(tmp_path, 3 * 32, num_envs=4, batch_size=32, begin=lambda run: seen.append(state_of(run)))
    assert same(state_of(second), seen[1])
    found = metrics(tmp_path, "iteration")
    # The iteration that a stop cuts short is counted in steps, but under other sizes not learned from.
    assert [record["iteration"] for record in found] == list(range(1, len(found) + 1))
    steps = [record["global_step"] for record in found]
    assert steps == sorted(set(steps))
    assert last.tally.global_step == 3 * STEPS + 3 * 128 + 3 * 32
    starts = [record["global_step"] - size for record, size in zip(found, sizes(steps), strict=True)]
    assert [record["learning_rate"] for record in found] == [ppo.learning_rate(last.args, step) for step in starts]


def state_of(run):
    """What a run has learned and counted."""
    return parameters(run), msgspec.structs.replace(run.tally)


def same(one, other):
    return one[1] == other[1] and all(torch.equal(one[0][name], other[0][name]) for name in one[0])


def sizes(steps):
    """The batch sizes that belong to the iterations of the test above."""
    return [64 if step <= 192 else 128 if step <= 576 else 32 for step in steps]


def each_is_through(monkeypatch):
    """Let each checkpoint be written before the next is due, as on a disk that is quick enough."""
    collect = Checkpointer.collect
    monkeypatch.setattr(Checkpointer, "collect", lambda self, **_: collect(self, wait=True))


def test_a_checkpoint_that_cannot_be_written_costs_nothing_until_the_end(tmp_path, monkeypatch, capfd):
    """With no room for any checkpoint the run trains to its target, says each failure and ends with an error."""

    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file, "write", no_room)
    each_is_through(monkeypatch)
    run = prepared(tiny_args(tmp_path, target_frames=3 * STEPS * 4, checkpoint_interval_s=0.001))
    with pytest.raises(CheckpointNotSavedError, match="the last checkpoint could not be written") as error:
        train(run)
    assert error.value.exit_code == 1
    assert run.tally.global_step == 3 * STEPS
    assert capfd.readouterr().out.count("checkpoint: FAILED") == 4
    assert last_report(tmp_path).finished is False


def test_a_run_is_saved_as_often_as_asked_says_that_it_is_finished_and_goes_on_to_a_higher_target(
    tmp_path, monkeypatch
):
    """With an interval shorter than an iteration, and as quick a disk, each iteration is saved; three are kept."""
    each_is_through(monkeypatch)
    for target_steps, names in ((5 * STEPS - 30, (192, 256, 320)), (6 * STEPS, (256, 320, 384))):
        args = tiny_args(tmp_path, target_frames=target_steps * 4, checkpoint_interval_s=0.001)
        assert train(prepared(args)) is True
        assert [path.name for path in checkpoints(tmp_path)] == [f"ckpt-{step:012d}.pt" for step in names]
        report = last_report(tmp_path)
        assert (report.phase, report.finished, report.global_step) == ("done", True, names[-1])
        assert report.checkpoint.global_step == names[-1]
    assert [record["global_step"] for record in metrics(tmp_path, "iteration")] == [64 * n for n in range(1, 7)]
