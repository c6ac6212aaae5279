"""On a GPU: graphs compute what their kernels do, runs are exact where they promise it. Skipped without a GPU."""

import msgspec
import numpy as np
import pytest
import torch

from rltrainer import checkpoint_file, graphs, learner, ppo
from rltrainer.envs import EnvsState
from rltrainer.network import ActorCritic
from rltrainer.train import train
from trainer_runs import (
    assert_same,
    checkpoints,
    final,
    last_report,
    log_of,
    prepared,
    tiny_args,
    trainer,
    wait_until,
    without_clocks,
)

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: torch sees none"),
    pytest.mark.timeout(300),
]
EXACT = {
    "device": "cuda", "deterministic": True, "num_envs": 8, "batch_size": 128, "threads": 4, "update_epochs": 2,
    "num_minibatches": 2, "game": "Breakout",
}  # fmt: skip


@pytest.fixture(autouse=True)
def as_before():
    """What `--deterministic` changes in this process is changed back."""
    yield
    torch.use_deterministic_algorithms(mode=False)


def batches(count, size=64):
    """Steps that differ, on the GPU."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        batch = ppo.blank_batch(size, torch.device("cpu"))
        batch.obs.random_(0, 256, generator=generator)
        batch.actions.random_(0, 4, generator=generator)
        batch.advantages.normal_(generator=generator)
        batch.returns.normal_(generator=generator)
        batch.log_probs.fill_(-1.4)
        yield ppo.Batch(*(getattr(batch, name).cuda() for name in ppo.Batch.__dataclass_fields__))


def built(folder, *, recorded, monkeypatch, **changes):
    args = tiny_args(folder, device="cuda", batch_size=128, deterministic=True, **changes)
    if not recorded:
        monkeypatch.setattr(learner, "_with_graphs", lambda pupil, _: pupil)
    pupil = learner.build(args, num_actions=4)
    monkeypatch.undo()
    return pupil


@pytest.mark.parametrize("bf16", [True, False])
def test_recorded_work_is_the_work_itself_bit_for_bit(tmp_path, monkeypatch, capfd, bf16):
    """Acting and learning, in groups of two sizes, with a learning rate that changes."""
    recorded = built(tmp_path, recorded=True, monkeypatch=monkeypatch, bf16=bf16)
    assert "no CUDA graphs" not in capfd.readouterr().out
    plain = built(tmp_path, recorded=False, monkeypatch=monkeypatch, bf16=bf16)
    for number, batch in enumerate(batches(4)):
        for pupil in (recorded, plain):
            pupil.set_learning_rate(2.5e-4 / (number + 1))
        mine, theirs = recorded.step(batch), plain.step(batch)
        assert torch.equal(recorded.fetch(mine.total.detach()), theirs.total.detach().cpu())
        noise = torch.rand(64, 4, device="cuda")
        for size in (64, 24):
            with torch.no_grad():
                acted, expected = (pupil.act(batch.obs[:size], noise[:size]) for pupil in (recorded, plain))
            assert all(torch.equal(one, other) for one, other in zip(acted, expected, strict=True))
    before, after = recorded.state(), plain.state()
    assert all(torch.equal(value, after["model"][name]) for name, value in before["model"].items())


def test_frames_are_read_where_the_games_write_them():
    frames = np.random.default_rng(1).integers(0, 256, (32, 84, 84, 4), np.uint8)
    assert graphs.lock(frames)
    assert torch.from_numpy(frames[16:]).is_pinned()
    assert not graphs.lock(frames), "twice is refused, and does no harm"
    assert np.array_equal(torch.from_numpy(frames).to("cuda", non_blocking=True).cpu().numpy(), frames)
    graphs.unlock(frames)
    assert not torch.from_numpy(frames).is_pinned()


def test_a_run_killed_twice_ends_with_the_bits_of_one_never_killed(tmp_path):
    args = EXACT | {"target_frames": 4 * 128 * 60, "seed": 11}
    run = prepared(tiny_args(tmp_path / "whole", **args), "breakout")
    assert train(run) is True
    killed = tmp_path / "killed"
    flags = {name: value for name, value in args.items() if name != "deterministic"}
    words = {"checkpoint_interval_s": 0.2, **flags}
    for step in (1000, 3000):
        with trainer(killed, switches=("--deterministic",), **words) as process:
            wait_until(lambda: process.poll() is not None or beyond(killed, step))  # noqa: B023
            process.kill()
            assert process.wait() == -9, log_of(killed)
    with trainer(killed, switches=("--deterministic",), **words) as process:
        assert process.wait(timeout=120) == 0, log_of(killed)
    assert log_of(killed).count("resume: ") == 2
    assert "no CUDA graphs" not in log_of(killed)
    assert without_clocks(killed) == without_clocks(tmp_path / "whole")
    assert_same(final(tmp_path / "whole"), final(killed))


def beyond(run_dir, step):
    """Whether a run has a checkpoint and has come so far."""
    report = last_report(run_dir)
    return checkpoints(run_dir) and report is not None and report.global_step >= step


@pytest.mark.parametrize("other", ["cpu", "cuda"])
def test_games_counters_and_learner_go_on_as_they_were_saved_on_any_device(tmp_path, other):
    """Without `--deterministic`: all that was saved is there again, bit for bit."""
    args = EXACT | {"deterministic": False, "target_frames": 4 * 128 * 20}
    assert train(prepared(tiny_args(tmp_path, **args), "breakout")) is True
    saved = checkpoint_file.read(checkpoints(tmp_path)[-1])
    again = prepared(tiny_args(tmp_path, **(args | {"device": other, "target_frames": 4 * 128 * 30})), "breakout")
    state = again.learner.state()
    _, _, expected = final(tmp_path)
    assert again.envs.save() == msgspec.msgpack.decode(saved.envs, type=EnvsState)
    assert again.tally == saved.header.tally
    assert all(torch.equal(value, expected["model"][name]) for name, value in state["model"].items())
    for mine, theirs in zip(state["optimizer"], expected["optimizer"], strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert train(again) is True
    assert final(tmp_path)[0].global_step == 128 * 30


def test_the_network_computes_on_a_gpu_about_what_it_does_on_a_cpu():
    torch.manual_seed(0)
    here = ActorCritic(6)
    there = ActorCritic(6, bf16=True).cuda()
    there.load_state_dict(here.state_dict())
    obs = torch.randint(0, 256, (8, 84, 84, 4), dtype=torch.uint8)
    with torch.no_grad():
        (log_probs, values), (theirs, their_values) = here(obs), there(obs.cuda())
    torch.testing.assert_close(theirs.cpu(), log_probs, atol=0.02, rtol=0.02)
    torch.testing.assert_close(their_values.cpu(), values, atol=0.05, rtol=0.05)
