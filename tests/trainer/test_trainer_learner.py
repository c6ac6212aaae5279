"""A learner as it is built: seeded, on a device, in a precision, with so many threads."""

import os

import pytest
import torch

from rltrainer import learner
from rltrainer.errors import ConfigurationError, DeviceLostError
from trainer_runs import tiny_args


@pytest.mark.parametrize(
    ("flag", "recorded", "expected"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_a_run_goes_on_in_the_precision_it_began_with_unless_told(tmp_path, flag, recorded, expected):
    assert learner.build(tiny_args(tmp_path, device="cpu", bf16=flag), 3, bf16=recorded).model.bf16 is expected


@pytest.mark.parametrize("has_units", [False, True])
def test_a_new_run_computes_in_the_precision_that_the_hardware_has_units_for(tmp_path, monkeypatch, has_units):
    monkeypatch.setattr(learner, "has_bf16_units", lambda _device: has_units)
    assert learner.build(tiny_args(tmp_path, device="cpu"), 3).model.bf16 is has_units


@pytest.mark.parametrize(("avx512", "amx"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_cpu_has_bf16_units_of_either_kind(monkeypatch, avx512, amx):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert learner.has_bf16_units(torch.device("cpu")) is (avx512 or amx)


def test_the_seed_determines_what_a_learner_begins_with(tmp_path):
    first, second, other = (learner.build(tiny_args(tmp_path, device="cpu", seed=seed), 3).model for seed in (3, 3, 4))
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.actor.weight, other.actor.weight)


@pytest.mark.parametrize("threads", [1, 3])
def test_it_computes_with_as_many_threads_as_it_was_told(tmp_path, monkeypatch, threads):
    told = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    learner.build(tiny_args(tmp_path, device="cpu", threads=threads), 3)
    assert told == [threads]


def test_its_first_learning_rate_is_the_one_it_was_told_and_may_be_changed(tmp_path):
    pupil = learner.build(tiny_args(tmp_path, device="cpu", learning_rate=0.007), 3)
    assert pupil.optimizer.lr == 0.007
    pupil.set_learning_rate(0.003)
    assert pupil.optimizer.lr == 0.003


def test_a_learning_rate_that_a_graph_reads_is_changed_where_it_is(tmp_path):
    pupil = learner.build(tiny_args(tmp_path, device="cpu"), 3)
    pupil.optimizer.lr = rate = torch.tensor(0.007)
    pupil.set_learning_rate(0.003)
    assert pupil.optimizer.lr is rate
    assert rate.item() == pytest.approx(0.003)


@pytest.mark.parametrize(("is_asked_for", "expected"), [(False, []), (True, [True])])
def test_only_a_run_that_asks_for_it_is_confined_to_deterministic_algorithms(
    tmp_path, monkeypatch, is_asked_for, expected
):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "so that it is put back")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    told = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *, mode: told.append(mode))
    learner.build(tiny_args(tmp_path, device="cpu", deterministic=is_asked_for), 3)
    assert told == expected
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if is_asked_for else None)


def machine(monkeypatch, *, has_gpu, cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.version, "cuda", cuda)


@pytest.mark.parametrize(
    ("wanted", "has_gpu", "expected"), [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"),
                                        ("cpu", False, "cpu"), ("cuda", True, "cuda")]
)  # fmt: skip
def test_a_device_is_what_was_asked_for_or_the_best_there_is(monkeypatch, wanted, has_gpu, expected):
    machine(monkeypatch, has_gpu=has_gpu, cuda="12.8")
    assert learner.pick_device(wanted).type == expected


def test_a_gpu_that_torch_cannot_use_is_a_configuration_error_and_one_that_is_away_may_come_back(monkeypatch):
    machine(monkeypatch, has_gpu=False, cuda=None)
    with pytest.raises(ConfigurationError, match="built for CPUs only"):
        learner.pick_device("cuda")
    machine(monkeypatch, has_gpu=False, cuda="12.8")
    with pytest.raises(DeviceLostError, match="torch sees no GPU"):
        learner.pick_device("cuda")
