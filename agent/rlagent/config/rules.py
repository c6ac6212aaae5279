"""The policy's rules from the configuration: minutes become seconds, sections become values. Pure."""

from __future__ import annotations

import msgspec

from rlagent.config.schema import Config, ModeSection
from rlagent.policy.model import GameRule, Mode, Rules


def to_rules(config: Config) -> Rules:
    """Return what the policy needs of a configuration."""
    policy, supervisor = config.policy, config.supervisor
    return Rules(
        modes=tuple(Mode(name=mode.name, slots=mode.games, settings=_settings(config, mode)) for mode in config.modes),
        games=tuple(GameRule(name=game.name, target_frames=game.target_frames) for game in config.games),
        stable_s=policy.stable_minutes * 60,
        max_crashes=policy.max_crashes,
        window_s=policy.window_minutes * 60,
        cooldown_s=policy.cooldown_minutes * 60,
        cooldown_factor=policy.cooldown_factor,
        cooldown_max_s=policy.cooldown_max_minutes * 60,
        forget_s=policy.forget_hours * 3600,
        count_clean_reboots=policy.count_clean_reboots,
        blind_spot_incidents=policy.blind_spot_incidents,
        backoff_s=supervisor.restart_backoff_s,
        backoff_reset_s=supervisor.backoff_reset_minutes * 60,
        max_barren_attempts=supervisor.max_barren_attempts,
        policy=policy.policy,
        max_crashes_cap=policy.max_crashes_cap,
        crash_price_s=policy.crash_price_minutes * 60,
        checkpoint_interval_s=config.trainer.checkpoint_interval_s,
    )


def _settings(config: Config, mode: ModeSection) -> str:
    """Return everything that a trainer of this mode is started with, so that a change is noticed."""
    settings = {
        "games": mode.games,  # the share of the CPU depends on it
        "num_envs": mode.num_envs,
        "batch_size": mode.batch_size,
        "command": mode.command or config.trainer.command,
        "checkpoint_interval_s": config.trainer.checkpoint_interval_s,
        "env": dict(sorted(config.trainer.env.items())),
    }
    return msgspec.json.encode(settings).decode()
