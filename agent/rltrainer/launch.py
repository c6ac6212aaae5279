"""From parsed arguments to a run: signals and heartbeat first, then the newest checkpoint, and only then torch.

Imports nothing heavy itself, so that a stop while starting up, or a run that is done, costs no seconds of imports.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rltrainer import games
from rltrainer.args import FRAMESKIP, Args
from rltrainer.checkpoint_file import Checkpoint
from rltrainer.checkpoint_store import CheckpointStore
from rltrainer.console import say
from rltrainer.errors import ConfigurationError
from rltrainer.progress_file import ProgressFile
from rltrainer.rundir import RunDir
from rltrainer.signals import StopSignal

if TYPE_CHECKING:
    from rltrainer.envs import GameEnvs
    from rltrainer.train import Run


def launch(args: Args) -> int:
    """Train as a process of its own and return the exit code.

    Raises:
        TrainerError: with an exit code and a message for a person.
    """
    stop = StopSignal()
    stop.install()
    lock = RunDir(args.run_dir).take()
    progress = ProgressFile(args.progress_path, say)
    with stop.at_once(progress.farewell):
        run = _prepare(args, progress, stop)
    if run is None:
        progress.write(phase="done", finished=True)
    else:
        from rltrainer.train import train  # noqa: PLC0415 - torch, which `_prepare` has loaded

        train(run)
    stop.ignore_from_now_on()
    os.close(lock)
    return 0


def _prepare(args: Args, progress: ProgressFile, stop: StopSignal) -> Run | None:
    """Return a run that is ready to train; None: its target is reached already."""
    rom = games.find_rom(args.game, games.installed_roms())
    store = CheckpointStore(
        RunDir(args.run_dir).checkpoints, args.keep_checkpoints, say, disk_mib=args.checkpoint_disk_mib
    )
    checkpoint = find_checkpoint(args, rom, store)
    if checkpoint:
        tally = checkpoint.header.tally
        progress.count(tally)
        progress.saved(checkpoint)
        if tally.global_step * FRAMESKIP >= args.target_frames:
            say(f"done: target reached before this start | step {tally.global_step} | episode {tally.episodes}")
            return None
    # Not before the checkpoint is known: a step count that begins at 0 and jumps to it would look like new steps.
    with progress.beating():
        envs = start_games(args, rom, checkpoint)
        from rltrainer.train import prepare  # noqa: PLC0415 - torch: seconds in which heartbeat and SIGTERM work

        return prepare(args, envs, rom, checkpoint, store, progress, stop)


def start_games(args: Args, rom: str, checkpoint: Checkpoint | None) -> GameEnvs:
    """Start the workers that play; they make their games while this process imports torch."""
    from rltrainer.envs import GameEnvs  # noqa: PLC0415 - numpy, which a run that is done does without

    step = checkpoint.header.tally.global_step if checkpoint else 0
    with_gpu = args.device != "cpu" and Path("/proc/driver/nvidia").exists()
    groups = args.env_groups or min(2 if with_gpu else 1, args.num_envs)
    return GameEnvs(rom, args, start=step, num_groups=groups)


def find_checkpoint(args: Args, rom: str, store: CheckpointStore) -> Checkpoint | None:
    """Return the checkpoint to go on from; None: begin at step 0.

    Raises:
        ConfigurationError: it is another game's, or every checkpoint that there was is damaged.
    """
    store.remove_stale_temporaries()
    checkpoint = store.newest()
    if checkpoint is None and store.has_damaged():
        _begin_after_damage(args, store)
    if checkpoint and checkpoint.header.game != rom:
        raise ConfigurationError(
            f"--run-dir {args.run_dir}: holds a run of {games.camel_case(checkpoint.header.game)}, not of {args.game}; "
            "name another folder, one for each game"
        )
    return checkpoint


def _begin_after_damage(args: Args, store: CheckpointStore) -> None:
    if not args.start_afresh_if_damaged:
        raise ConfigurationError(
            f"--run-dir {args.run_dir}: EVERY CHECKPOINT IS DAMAGED (kept in {store.quarantine}). Put a backup into "
            f"{store.folder}, or begin again at step 0 with --start-afresh-if-damaged"
        )
    aside = RunDir(args.run_dir).set_metrics_aside()
    say(
        f"AFRESH: every checkpoint is damaged (kept in {store.quarantine}); beginning at step 0, as "
        f"--start-afresh-if-damaged says; earlier metrics are in {aside}"
    )
