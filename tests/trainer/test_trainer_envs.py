"""The games as the learner sees them, and as they are reported."""

import os
import signal

import ale_py.roms
import numpy as np
import pytest
from ale_py import ALEInterface, LoggerMode
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from rltrainer.atari.game import Game
from rltrainer.atari.resize import AreaResize
from rltrainer.atari.rules import OBS_SHAPE, Rules
from rltrainer.envs import Episode, GameEnvs
from rltrainer.errors import WorkerLostError
from trainer_runs import tiny_args


def played_by_hand(rom, actions, steps):
    """Each game that ends and each step that loses a life, stepping the bare emulator frame by frame."""
    ale = ALEInterface()
    ale.setLoggerMode(LoggerMode.Error)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(ale_py.roms.get_rom_path(rom))
    legal = ale.getMinimalActionSet()
    fire = [action for action in legal if action.name == "FIRE"]
    games, score, length, lives_lost = [], 0, 0, []
    ale.reset_game()
    for action in fire:
        ale.act(action)
    for t in range(steps):
        lives = ale.lives()
        for _ in range(4):
            score += ale.act(legal[actions[t]])
            if ale.game_over():
                break
        length += 1
        if ale.game_over():
            games.append(Episode(float(score), length))
            score, length = 0, 0
            ale.reset_game()
            for action in fire:
                ale.act(action)
        elif 0 < ale.lives() < lives:
            lives_lost.append(t)
    return games, lives_lost


@pytest.mark.parametrize(("rom", "steps"), [("ms_pacman", 1500), ("breakout", 900), ("space_invaders", 1200)])
def test_reported_returns_are_raw_scores_of_whole_games_and_learning_sees_clipped_rewards_and_lives(
    tmp_path, rom, steps
):
    """Everything is compared with the bare emulator under the same actions."""
    envs = GameEnvs(rom, tiny_args(tmp_path, num_envs=1, batch_size=64, noop_max=0))
    actions = np.random.default_rng(5).integers(0, envs.num_actions, (steps, 1))
    envs.reset()
    played = [envs.step(each) for each in actions]
    games, lives_lost = played_by_hand(rom, actions[:, 0], steps)
    assert [episode for step in played for episode in step.episodes] == games
    assert len(games) >= 2
    game_ends = [t for t, step in enumerate(played) if step.episodes]
    assert [t for t, step in enumerate(played) if step.dones[0]] == sorted(game_ends + lives_lost)
    assert len(lives_lost) >= 2
    assert {float(step.rewards[0]) for step in played} <= {-1.0, 0.0, 1.0}
    envs.close()


def test_without_episodic_life_only_whole_games_end_episodes(tmp_path):
    envs = GameEnvs("breakout", tiny_args(tmp_path, num_envs=2, batch_size=64, episodic_life=False))
    envs.reset()
    rng = np.random.default_rng(5)
    for _ in range(600):
        step = envs.step(rng.integers(0, envs.num_actions, 2))
        assert int(step.dones.sum()) == len(step.episodes)
    envs.close()


def trajectory(args, steps=30, **options):
    envs = GameEnvs("pong", args, **options)
    envs.reset()
    rng = np.random.default_rng(9)
    seen = [envs.obs.copy()]
    rewards = []
    for _ in range(steps):
        rewards.append(envs.step(rng.integers(0, envs.num_actions, args.num_envs)).rewards)
        seen.append(envs.obs.copy())
    envs.close()
    return np.stack(seen), np.stack(rewards)


@pytest.mark.parametrize(("threads", "groups"), [(2, 1), (1, 3)])
def test_neither_groups_nor_workers_change_the_games(tmp_path, threads, groups):
    expected_obs, expected_rewards = trajectory(tiny_args(tmp_path, num_envs=6, batch_size=60))
    obs, rewards = trajectory(tiny_args(tmp_path, num_envs=6, batch_size=60, threads=threads), num_groups=groups)
    assert np.array_equal(expected_obs, obs)
    assert np.array_equal(expected_rewards, rewards)


def test_environments_differ_from_each_other_and_with_the_seed_and_the_start(tmp_path):
    args = tiny_args(tmp_path, num_envs=3, batch_size=60)
    seen = [trajectory(args), trajectory(args, start=512), trajectory(tiny_args(tmp_path, num_envs=3, seed=4))]
    assert len({obs[-1, env].tobytes() for obs, _ in seen for env in range(3)}) == 9


@pytest.mark.parametrize(("rom", "steps"), [("pong", 100), ("ms_pacman", 800), ("carnival", 100)])
def test_frames_are_those_of_ale_pys_own_preprocessing(rom, steps):
    """Scores, lives, ends and frames of AtariVectorEnv under the same actions; its rounding may differ by one."""
    native = AtariVectorEnv(
        rom, 1, num_threads=1, autoreset_mode=AutoresetMode.SAME_STEP, noop_max=0, reward_clipping=False
    )
    stack = np.zeros(OBS_SHAPE, np.uint8)
    game = Game(Rules(rom=rom, noop_max=0, repeat_action_probability=0.0, full_action_space=False), 1, stack)
    game.reset()
    obs, _ = native.reset(seed=np.array([5]))
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(steps):
        assert int(np.abs(obs[0].astype(int) - np.moveaxis(stack, -1, 0)).max()) <= 1
        action = int(rng.integers(game.num_actions))
        obs, rewards, terminations, truncations, info = native.step(np.array([action]))
        played = game.step(action)
        assert played == (rewards[0], terminations[0] | truncations[0])
        assert game.lives == info["lives"][0]
        ends += played[1]
    assert ends >= (rom == "ms_pacman")


def test_shrinking_a_screen_is_the_mean_over_each_pixels_area():
    """Against the definition, worked out in exact fractions of pixels, for the heights that ALE's games have."""
    rng = np.random.default_rng(1)
    for height in (210, 214, 230, 250):
        screen = rng.integers(0, 256, (height, 160), np.uint8)
        rows, columns = area(height), area(160)
        small = np.zeros((84, 84), np.uint8)
        AreaResize(height, 160).to(small, screen)
        exact = rows @ screen.astype(float) @ columns.T
        assert np.abs(small - exact).max() <= 0.5 + 1e-9


def area(size):
    """How much of each output pixel each input pixel fills, [84, size]."""
    ends = np.arange(85) * size / 84
    inside = np.minimum(ends[1:, None], np.arange(1, size + 1)) - np.maximum(ends[:-1, None], np.arange(size))
    return np.maximum(inside, 0) * 84 / size


def test_sticky_frames_repeat_the_action_before_about_as_often_as_asked(monkeypatch):
    """Of the frames in which the action changes, a quarter still plays the old one."""
    game = Game(
        Rules(rom="pong", noop_max=0, repeat_action_probability=0.25, full_action_space=True),
        1,
        np.zeros(OBS_SHAPE, np.uint8),
    )
    assert game.num_actions == 18
    game.reset()
    acted = []
    act = game._ale.act

    class Spy:
        def __getattr__(self, name):
            return getattr(real, name)

        def act(self, action):
            acted.append(action.value)
            return act(action)

    real, game._ale = game._ale, Spy()
    for step in range(400):
        game.step(3 + step % 2)
    late = sum(acted[4 * step] != 3 + step % 2 for step in range(1, 400))
    assert 0.18 < late / 399 < 0.32


def test_a_worker_that_dies_ends_the_trainer_with_a_clear_error(tmp_path):
    envs = GameEnvs("pong", tiny_args(tmp_path, num_envs=2, batch_size=64, threads=2))
    envs.reset()
    os.kill(envs.worker_pids[1], signal.SIGKILL)

    def play():
        while True:
            envs.step(np.zeros(2, np.int64))

    with pytest.raises(WorkerLostError, match=r"was killed by SIGKILL \(out of memory\?\)"):
        play()
    envs.close()


def test_a_worker_that_fails_says_why(tmp_path):
    envs = GameEnvs("no_such_game", tiny_args(tmp_path, num_envs=1, batch_size=64))
    with pytest.raises(WorkerLostError, match="ale_py has no ROM no_such_game"):
        envs.reset()
    envs.close()
