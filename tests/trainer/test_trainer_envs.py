"""The games as the learner sees them, and as they are reported."""

import ale_py.roms
import numpy as np
import pytest
from ale_py import ALEInterface, LoggerMode

from rltrainer import envs as envs_module
from rltrainer.envs import Episode, GameEnvs, derive_seeds
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
    envs.reset(derive_seeds(1, 0, 1))
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
    envs.reset(derive_seeds(1, 0, 2))
    rng = np.random.default_rng(5)
    for _ in range(600):
        step = envs.step(rng.integers(0, envs.num_actions, 2))
        assert int(step.dones.sum()) == len(step.episodes)
    envs.close()


def trajectory(args, rom="pong", steps=60):
    envs = GameEnvs(rom, args)
    envs.reset(derive_seeds(args.seed, 0, args.num_envs))
    rng = np.random.default_rng(9)
    seen = [envs.obs.copy()]
    rewards = []
    for _ in range(steps):
        rewards.append(envs.step(rng.integers(0, envs.num_actions, args.num_envs)).rewards)
        seen.append(envs.obs.copy())
    envs.close()
    return np.stack(seen), np.stack(rewards)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_neither_grouping_nor_threads_change_the_games(tmp_path, monkeypatch, threads):
    """Six environments in groups of 2, taking turns or side by side, are the six of one group."""
    expected_obs, expected_rewards = trajectory(tiny_args(tmp_path, num_envs=6, batch_size=60))
    monkeypatch.setattr(envs_module, "GROUP_SIZE", 2)
    obs, rewards = trajectory(tiny_args(tmp_path, num_envs=6, batch_size=60, threads=threads))
    assert np.array_equal(expected_obs, obs)
    assert np.array_equal(expected_rewards, rewards)


def test_environments_differ_from_each_other_and_after_a_resume(tmp_path):
    assert len(set(derive_seeds(1, 0, 64)) | set(derive_seeds(1, 512, 64)) | set(derive_seeds(2, 0, 64))) == 192
    obs, _ = trajectory(tiny_args(tmp_path, num_envs=4, batch_size=64))
    assert len({obs[-1, env].tobytes() for env in range(4)}) == 4
