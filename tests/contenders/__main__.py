"""`python -m contenders NAME GAME THREADS`: one contender, for ever; a JSON line on stdout after each piece of work."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from contenders import cleanrl_shaped, games, packages

PIECE = 16
"""Steps of all environments between two lines of those that only play."""
SAVE_EVERY_S = 5.0
"""Our workers' state is saved as often as checkpoints come at their shortest interval."""


def say(steps: int) -> None:
    """Tell how many steps were taken so far."""
    print(json.dumps({"global_step": steps, "time": time.time()}), flush=True)


def play(step: Callable[[np.ndarray], object], actions: int) -> None:
    """Step environments with random actions for ever."""
    rng = np.random.default_rng(1)
    total = 0
    while True:
        for _ in range(PIECE):
            step(rng.integers(actions, size=games.NUM_ENVS))
        total += PIECE * games.NUM_ENVS
        say(total)


def env_ale(game: str, threads: int) -> None:
    envs = games.ale(game, threads)
    envs.reset(seed=1)
    play(envs.step, envs.single_action_space.n)


def env_envpool(game: str, threads: int) -> None:
    envs = games.envpool(game, threads)
    envs.reset()
    play(envs.step, envs.action_space.n)


def env_ours(game: str, threads: int) -> None:
    """Our environment workers alone, their state saved as for checkpoints."""
    from rltrainer import launch  # noqa: PLC0415
    from trainer_runs import tiny_args  # noqa: PLC0415

    args = tiny_args(Path(), game=game, num_envs=games.NUM_ENVS, batch_size=512, threads=threads, device="cpu")
    envs = launch.start_games(args, games.snake_case(game), None)
    envs.reset()
    saved_s = time.monotonic()

    def step(actions):
        nonlocal saved_s
        envs.step(actions)
        if time.monotonic() > saved_s + SAVE_EVERY_S:
            envs.save()
            saved_s = time.monotonic()

    play(step, envs.num_actions)


def cleanrl_ale(game: str, threads: int) -> None:
    envs = games.ale(game, threads)
    cleanrl_shaped.train(envs, int(envs.single_action_space.n), say)


def cleanrl_envpool(game: str, threads: int) -> None:
    envs = games.envpool(game, threads)
    cleanrl_shaped.train(envs, int(envs.action_space.n), say)


def learner_ours(game: str, threads: int) -> None:
    """Our trainer's loop around games that stand still: all that is not emulation."""
    from contenders import still  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        still.train(Path(folder), game, threads, say)


def sb3(game: str, threads: int) -> None:
    """Stable-Baselines3's PPO on what its own `make_atari_env` makes."""
    packages.provide(packages.SB3)
    import ale_py  # noqa: PLC0415
    import gymnasium  # noqa: PLC0415
    from stable_baselines3 import PPO  # noqa: PLC0415
    from stable_baselines3.common.callbacks import BaseCallback  # noqa: PLC0415
    from stable_baselines3.common.env_util import make_atari_env  # noqa: PLC0415
    from stable_baselines3.common.vec_env import VecFrameStack  # noqa: PLC0415

    class Say(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:  # which follows an update
            if self.num_timesteps:
                say(self.num_timesteps)

    gymnasium.register_envs(ale_py)
    envs = VecFrameStack(make_atari_env(f"{game}NoFrameskip-v4", n_envs=games.NUM_ENVS, seed=1), n_stack=4)
    model = PPO(
        "CnnPolicy", envs, n_steps=16, batch_size=128, n_epochs=4, learning_rate=2.5e-4, clip_range=0.1, ent_coef=0.01,
        device="cpu", seed=1,
    )  # fmt: skip
    model.learn(total_timesteps=10**9, callback=Say())


CONTENDERS = {
    each.__name__: each for each in (env_ale, env_envpool, env_ours, cleanrl_ale, cleanrl_envpool, learner_ours, sb3)
}


def main() -> None:
    name, game, threads = sys.argv[1:]
    if name.endswith("_ours"):
        from rltrainer import process  # noqa: PLC0415

        process.begin_again()
    if not name.startswith("env_"):
        import torch  # noqa: PLC0415

        torch.set_num_threads(int(threads))
    CONTENDERS[name](game, int(threads))


if __name__ == "__main__":
    main()
