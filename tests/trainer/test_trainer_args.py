"""The values of a run: defaults, what follows from them, and where each one's limit lies."""

import os
from pathlib import Path

import pytest

from rltrainer import args as args_module
from rltrainer.args import Args, complaint, flag, usable_threads

RUN = Path("runs/pong")


def args(**changes):
    return Args(**({"run_dir": RUN} | changes))


def test_defaults_are_cleanrls_but_for_longer_rollouts_more_environments_and_fewer_epochs():
    """Of cleanrl's ppo_atari.py: learning rate, gamma, lambda, the coefficients, the norm and what is clipped."""
    assert vars(args()) == {
        "run_dir": RUN, "game": "MsPacman", "progress_file": None,
        "num_envs": 32, "batch_size": 2048, "num_minibatches": None, "update_epochs": 2,
        "learning_rate": 2.5e-4, "anneal_lr": True, "gamma": 0.99, "gae_lambda": 0.95, "norm_adv": True,
        "clip_coef": 0.1, "clip_vloss": True, "ent_coef": 0.01, "vf_coef": 0.5, "max_grad_norm": 0.5, "target_kl": None,
        "episodic_life": True, "clip_rewards": True, "noop_max": 30, "repeat_action_probability": 0.0,
        "full_action_space": False, "target_frames": 40_000_000,
        "checkpoint_interval_s": 90.0, "keep_checkpoints": 3, "checkpoint_disk_mib": 1024,
        "start_afresh_if_damaged": False, "threads": usable_threads(), "seed": 1, "device": "auto", "bf16": None,
        "deterministic": False, "env_groups": None,
    }  # fmt: skip


def test_what_follows_from_the_values():
    run = args(num_envs=8, batch_size=96, num_minibatches=4, target_frames=1001)
    assert (run.num_steps, run.minibatches, run.minibatch_size) == (12, 4, 24)
    assert (run.target_steps, args(target_frames=1000).target_steps) == (251, 250)
    assert (run.progress_path, args(progress_file=Path("beat")).progress_path) == (RUN / "progress.json", Path("beat"))


@pytest.mark.parametrize(
    ("batch_size", "minibatches"),
    [(2048, 16), (4096, 32), (1024, 8), (512, 4), (128, 4), (960, 6), (66, 3), (7, 1), (640, 5), (3, 3)],
)
def test_minibatches_have_128_steps_unless_fewer_than_four_or_odd(batch_size, minibatches):
    run = args(num_envs=1, batch_size=batch_size)
    assert (run.minibatches, run.minibatch_size) == (minibatches, batch_size // minibatches)
    assert complaint(run) is None


def test_told_minibatches_are_taken_as_told():
    run = args(num_minibatches=2)
    assert (run.minibatches, run.minibatch_size) == (2, 1024)


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (3, 3), (4, 4), (64, 4)])
def test_a_run_takes_the_cores_it_may_use_but_no_more_than_four(monkeypatch, cores, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert usable_threads() == expected
    assert args().threads == expected


@pytest.mark.parametrize(
    ("name", "least"),
    [("num_envs", 1), ("batch_size", 1), ("target_frames", 1), ("keep_checkpoints", 1), ("checkpoint_disk_mib", 1),
     ("threads", 1), ("seed", 0), ("env_groups", 1), ("num_minibatches", 1), ("update_epochs", 1), ("noop_max", 0),
     ("ent_coef", 0), ("vf_coef", 0)],
)  # fmt: skip
def test_the_least_is_taken_and_less_is_refused(name, least):
    sizes = {"num_envs": 1, "batch_size": 1} | {name: least}
    assert complaint(args(**sizes)) is None
    assert complaint(args(**(sizes | {name: least - 1}))) == f"{flag(name)} {least - 1}: must be at least {least}"


@pytest.mark.parametrize("name", ["checkpoint_interval_s", "learning_rate", "clip_coef", "max_grad_norm"])
def test_what_must_be_positive_may_be_small(name):
    assert complaint(args(**{name: 1e-9})) is None
    for value in (0.0, -1e-9, float("nan")):
        assert complaint(args(**{name: value})) == f"{flag(name)} {value}: must be more than 0"


@pytest.mark.parametrize("name", ["gamma", "gae_lambda", "repeat_action_probability"])
def test_shares_lie_between_zero_and_one_with_both(name):
    for value in (0.0, 0.5, 1.0):
        assert complaint(args(**{name: value})) is None
    for value in (-0.001, 1.001, float("nan")):
        assert complaint(args(**{name: value})) == f"{flag(name)} {value}: must be between 0 and 1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_envs": 32, "batch_size": 500}, "--num-envs 32; the nearest is 480 or 512"),
        ({"num_envs": 32, "batch_size": 20}, "--num-envs 32; the nearest is 32"),
        ({"num_envs": 8, "num_minibatches": 5}, "--num-minibatches 5; the nearest is 2045 or 2050"),
    ],
)
def test_a_batch_is_a_multiple_of_environments_and_minibatches(changes, expected):
    run = args(**changes)
    assert complaint(run) == f"--batch-size {run.batch_size}: must be a multiple of {expected}"


def test_there_are_no_more_groups_than_environments():
    assert complaint(args(env_groups=32)) is None
    assert complaint(args(env_groups=33)) == "--env-groups 33: must be at most --num-envs 32"


def test_every_field_has_a_docstring_which_is_its_help():
    docs = args_module.field_docs()
    assert list(vars(args())) == list(docs)
    assert all(docs.values())
    assert docs["gamma"] == "discount of future rewards"


def test_without_its_source_a_field_has_no_help(monkeypatch):
    def no_source(_):
        raise OSError

    monkeypatch.setattr(args_module.inspect, "getsource", no_source)
    assert args_module.field_docs() == {}
