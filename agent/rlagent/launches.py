"""What a trainer is started with: command, environment, folders, from configuration and state."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rlagent.config import Config, ModeSection
from rlagent.paths import Paths
from rlagent.policy.model import Game
from rlagent.protocol import contract
from rlagent.supervisor import Launch

_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What systemd says to the agent alone."""


def launch(  # all of it, and nothing else, decides what is started
    config: Config,
    paths: Paths,
    mode: ModeSection,
    game: Game,
    *,
    cpu_count: int,
    environ: Mapping[str, str],
    checkpoint_interval_s: float | None = None,
) -> Launch:
    """Return how to start the present attempt of a game in a mode; an interval of None is the configured one."""
    target = next(rule.target_frames for rule in config.games if rule.name == game.name)
    values = {
        "game": game.name,
        "mode": mode.name,
        "num_envs": mode.num_envs,
        "batch_size": mode.batch_size,
        "run_dir": paths.run_dir(game.name),
        "progress_file": paths.progress_file(game.name),
        "target_frames": target,
        "checkpoint_interval_s": checkpoint_interval_s or config.trainer.checkpoint_interval_s,
        # Together they don't ask for more CPUs than there are.
        "threads": max(1, cpu_count // mode.games),
        "attempt": game.attempt,
    }
    inherited = {name: value for name, value in environ.items() if name not in _NOT_INHERITED}
    return msgspec.structs.replace(
        identity(paths, game),
        command=contract.expand(mode.command or config.trainer.command, values),
        env={**inherited, **config.trainer.env, **contract.environment(values)},
    )


def identity(paths: Paths, game: Game) -> Launch:
    """Return what names the present attempt of a game, without what it takes to start it."""
    return Launch(
        game=game.name,
        attempt=game.attempt,
        run_dir=paths.run_dir(game.name),
        log_path=paths.game_log(game.name),
    )
