"""What a trainer is started with: command, environment, folders, from configuration and state."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rlagent.config import Config, ModeSection
from rlagent.paths import Paths
from rlagent.policy.model import Game
from rlagent.probe import host
from rlagent.protocol import contract
from rlagent.supervisor import Launch

_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What systemd says to the agent alone."""


def launch(config: Config, paths: Paths, mode: ModeSection, game: Game, environ: Mapping[str, str]) -> Launch:
    """Return how to start the present attempt of a game in a mode."""
    target = next(rule.target_frames for rule in config.games if rule.name == game.name)
    values = {
        "game": game.name,
        "mode": mode.name,
        "num_envs": mode.num_envs,
        "batch_size": mode.batch_size,
        "run_dir": paths.run_dir(game.name),
        "progress_file": paths.progress_file(game.name),
        "target_frames": target,
        "checkpoint_interval_s": config.trainer.checkpoint_interval_s,
        "threads": threads(mode.games),
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


def threads(games: int) -> int:
    """Return the CPU threads of one of several trainers: together they don't ask for more than there are."""
    return max(1, (host.cpu_count() or 1) // games)
