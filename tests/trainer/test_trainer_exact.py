"""A killed run, resumed, is the run that was never killed: bit for bit, in all ten default games."""

import random
import shutil
import time

import numpy as np
import pytest
import torch

import soak
from rltrainer import checkpoint_file, snapshot
from rltrainer.atari.game import Game
from rltrainer.atari.pool import Pool
from rltrainer.atari.rules import OBS_SHAPE, Rules
from rltrainer.train import train
from trainer_runs import (
    assert_same,
    checkpoints,
    final,
    last_report,
    log_of,
    parameters,
    prepared,
    tiny_args,
    trainer,
    wait_until,
    without_clocks,
)
from trainer_samples import sampled

GAMES = {
    "pong": "Pong", "breakout": "Breakout", "ms_pacman": "MsPacman", "space_invaders": "SpaceInvaders",
    "qbert": "Qbert", "seaquest": "Seaquest", "beam_rider": "BeamRider", "enduro": "Enduro", "asteroids": "Asteroids",
    "freeway": "Freeway",
}  # fmt: skip
RUNS = [
    *(pytest.param(game, 2, id=game) for game in soak.drawn(list(GAMES.values()), 1)),
    *(pytest.param(game, 5, id=f"{game}-soak", marks=soak.tenth(n)) for n, game in enumerate(GAMES.values(), 1)),
]
"""Game and kills of its run: 50 in all in soak, and every day another game has two."""


def played(pool, actions):
    """All that comes out of a pool under these actions [steps, envs]."""
    seen = []
    for each in actions:
        pool.arrays.actions[:] = each
        pool.send(0)
        pool.receive(0)
        seen.append([array.tobytes() for array in vars(pool.arrays).values()])
    return seen


EVERY_ROM = [*GAMES, "tetris"]
"""With the two, Qbert and Tetris, whose restored state is only complete on an emulator that has played a frame."""


def steps_of(game, stack, actions):
    """All that comes out of one game under these actions."""
    return [(game.step(int(action)), game.lives, stack.tobytes()) for action in actions]


@pytest.mark.parametrize("sticky", [0.0, 0.25])
@pytest.mark.parametrize("rom", EVERY_ROM)
def test_a_game_restored_in_a_fresh_emulator_goes_on_bit_for_bit(rom, sticky):
    """Through the ends of games and their idle starts; the emulator has another seed and has played another game."""
    rules = Rules(rom=rom, noop_max=30, repeat_action_probability=sticky, full_action_space=False)
    stacks = np.zeros((2, *OBS_SHAPE), np.uint8)
    first, other = Game(rules, 1, stacks[0]), Game(rules, 99, stacks[1])
    actions = np.random.default_rng(5).integers(0, first.num_actions, 180)
    first.reset()
    steps_of(first, stacks[0], actions[:60])
    state, frames = first.save(), stacks[0].copy()
    expected = steps_of(first, stacks[0], actions[60:])
    other.reset()
    steps_of(other, stacks[1], actions[30:40])
    other.restore(state)
    stacks[1] = frames
    assert steps_of(other, stacks[1], actions[60:]) == expected


@pytest.mark.parametrize("rom", sampled(EVERY_ROM, 1, always=["qbert"]))
def test_games_restored_in_a_fresh_process_go_on_bit_for_bit(rom):
    """As above, with sticky actions, of several games in workers, the second time with another number of them."""
    rules = Rules(rom=rom, noop_max=30, repeat_action_probability=0.25, full_action_space=False)
    first = Pool(rules, seed=1, num_envs=3, num_workers=2)
    other = Pool(rules, seed=99, num_envs=3, num_workers=1)
    actions = np.random.default_rng(5).integers(0, first.num_actions, (260, 3))
    first.reset(range(3))
    played(first, actions[:60])
    states, frames = first.save(), first.arrays.obs.copy()
    expected = played(first, actions[60:])
    other.reset(range(3))
    other.restore(dict(enumerate(states)))
    other.arrays.obs[:] = frames
    assert played(other, actions[60:]) == expected
    first.close()
    other.close()


def settings(number):
    """Every other game with sticky actions; two epochs, so that a kill can fall between them."""
    return {
        "num_envs": 4, "batch_size": 64, "threads": 1, "update_epochs": 2, "num_minibatches": 2, "seed": 7 + number,
        "repeat_action_probability": 0.25 * (number % 2), "target_frames": 4 * 64 * 16,
    }  # fmt: skip


def kill_at_random(process, run_dir, chance, until_step):
    """SIGKILL somewhere in the start-up, or somewhere in the run before `until_step`."""
    if chance.random() < 0.25:
        time.sleep(chance.uniform(0.0, 3.0))
    else:
        step = chance.randrange(until_step)
        wait_until(lambda: process.poll() is not None or ((r := last_report(run_dir)) and r.global_step >= step))
        time.sleep(chance.uniform(0.0, 0.3))
    process.kill()
    return process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("game", "kills"), RUNS)
def test_a_run_killed_often_ends_with_the_bits_of_one_never_killed(tmp_path, game, kills):
    number, rom = next((n, rom) for n, rom in enumerate(GAMES) if GAMES[rom] == game)
    chance = random.Random(f"{soak.SEED} {game}")
    args = settings(number)
    assert train(prepared(tiny_args(tmp_path / "whole", game=game, **args), rom)) is True
    killed = tmp_path / "killed"
    done = 0
    while done < kills:
        with trainer(killed, game=game, checkpoint_interval_s=0.2, **args) as process:
            if kill_at_random(process, killed, chance, 64 * 10) == -9:
                done += 1
            else:  # it reached its target before the kill: begin anew
                shutil.rmtree(killed)
                done = 0
    with trainer(killed, game=game, checkpoint_interval_s=0.2, **args) as process:
        assert process.wait(timeout=300) == 0, log_of(killed)
    print(log_of(killed))
    assert without_clocks(killed) == without_clocks(tmp_path / "whole")
    assert_same(final(tmp_path / "whole"), final(killed))


def stopped_after(run, calls):
    """Ask a run to stop when it has asked so many times whether to go on."""
    go_on, left = run.go_on, [calls]

    def ask():
        left[0] -= 1
        if left[0] <= 0:
            run.stop.requested = True
        return go_on()

    run.go_on = ask
    return run


@pytest.mark.usefixtures("games_here")
@pytest.mark.parametrize("groups", [1, 2])
def test_a_run_stopped_at_every_point_of_an_iteration_goes_on_bit_for_bit(tmp_path, groups):
    """In each step of the rollout and before each minibatch; a stop in time is not a stop of learning."""
    sizes = {"num_envs": 4, "batch_size": 16, "update_epochs": 2, "num_minibatches": 2, "env_groups": groups}
    args = {"target_frames": 4 * 16 * 2, "game": "Breakout", "bf16": False} | sizes
    whole = prepared(tiny_args(tmp_path / "whole", **args), "breakout")
    assert train(whole) is True
    starts = 0
    while True:
        run = prepared(tiny_args(tmp_path / "stopped", **args), "breakout")
        starts += 1
        if train(stopped_after(run, starts % 3 + 1)):
            break
    assert starts > 5
    assert without_clocks(tmp_path / "stopped") == without_clocks(tmp_path / "whole")
    assert_same(final(tmp_path / "whole"), final(tmp_path / "stopped"))


def test_another_size_after_a_stop_gives_up_the_interrupted_iteration_and_keeps_the_games(tmp_path, games_here, capfd):
    args = {"num_envs": 4, "batch_size": 32, "bf16": False}
    assert train(stopped_after(prepared(tiny_args(tmp_path, **args)), 11)) is False
    stopped = checkpoint_file.read(checkpoints(tmp_path)[-1])
    assert stopped.header.tally.global_step == 8 * 4 + 4
    run = prepared(tiny_args(tmp_path, num_envs=6, batch_size=48, bf16=False))
    assert "4 of 6 games go on" in capfd.readouterr().out
    assert run.rollout.filled == 0
    assert run.tally == stopped.header.tally
    run.envs.close()


def test_a_checkpoint_of_the_first_format_is_gone_on_from_with_new_games(tmp_path, games_here, monkeypatch, capfd):
    """All that was learned is kept; the games, which it does not hold, begin anew."""
    first = prepared(tiny_args(tmp_path, target_frames=4 * 64 * 3))
    assert train(first) is True
    path = checkpoints(tmp_path)[-1]
    whole = checkpoint_file.read(path)
    moments = dict(enumerate(first.learner.state()["optimizer"]))
    old = {"model": first.learner.model.state_dict(), "optimizer": {"state": moments, "param_groups": []}}
    header = checkpoint_file.Header(
        game="pong", written_by="0.1.0", saved_at=1.0, tally=whole.header.tally, metrics_offset=0
    )
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_file, "FORMAT", 1)
        checkpoint_file.write(path, header, b"", snapshot.pack(old))
    second = prepared(first.args)
    assert "0 of 8 games go on" in capfd.readouterr().out
    before, after = parameters(first), parameters(second)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert second.tally == first.tally
    second.envs.close()
