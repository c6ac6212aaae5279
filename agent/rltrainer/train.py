"""The training run, from the first rollout to the last checkpoint.

`prepare` puts a run where its newest checkpoint left it; `train` is the loop. Everything that lasts is written through
the store and the reporter; signals arrive as a flag that is looked at after every step and before every minibatch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec

from rltrainer import __version__, learner, ppo, snapshot
from rltrainer.args import Args
from rltrainer.checkpoint_file import Checkpoint
from rltrainer.checkpoint_store import CheckpointStore
from rltrainer.console import say
from rltrainer.envs import Episode, GameEnvs, derive_seeds
from rltrainer.errors import CheckpointNotSavedError
from rltrainer.learner import Learner
from rltrainer.metrics_file import MetricsFile
from rltrainer.progress_file import ProgressFile
from rltrainer.report import Reporter
from rltrainer.rollout import Rollout, play
from rltrainer.rundir import RunDir
from rltrainer.signals import StopSignal
from rltrainer.tally import Tally
from rltrainer.tensorboard import Board


@dataclass
class Run:
    """A run that is ready to train."""

    args: Args
    rom: str
    learner: Learner
    envs: GameEnvs
    tally: Tally
    store: CheckpointStore
    report: Reporter
    stop: StopSignal
    saved_s: float = field(default_factory=time.monotonic)
    """When a checkpoint was last tried (monotonic)."""

    def go_on(self) -> bool:
        """Beat, and return whether nobody has asked to stop."""
        self.report.beat()
        return not self.stop.requested

    def after_step(self, episodes: list[Episode]) -> bool:
        """Count one step of all environments; return whether to go on."""
        self.tally.global_step += self.args.num_envs
        for episode in episodes:
            self.tally.add_episode(episode.episodic_return)
            self.report.episode(episode)
        return self.go_on()

    def save(self) -> bool:
        """Write a checkpoint; return whether it is on disk. A failure is said and leaves the older ones."""
        began_s = time.monotonic()
        try:
            offset = self.report.settle()
            checkpoint = self.store.save(self.rom, self.tally, offset, snapshot.pack(self.learner))
        except OSError as error:
            say(f"checkpoint: FAILED at step {self.tally.global_step}: {error.strerror}; the older ones are kept")
            return False
        finally:
            self.saved_s = time.monotonic()
        self.report.saved(checkpoint, self.saved_s - began_s)
        return True


def prepare(
    args: Args,
    rom: str,
    checkpoint: Checkpoint | None,
    store: CheckpointStore,
    progress: ProgressFile,
    stop: StopSignal,
) -> Run:
    """Build the games and the learner and put them where the checkpoint left them (None: at the start)."""
    run_dir = RunDir(args.run_dir)
    tally = msgspec.structs.replace(checkpoint.header.tally) if checkpoint else Tally()
    envs = GameEnvs(rom, args)
    pupil = learner.build(args, envs.num_actions)
    if checkpoint:
        snapshot.unpack(checkpoint.payload, pupil)
    envs.reset(derive_seeds(args.seed, tally.global_step, args.num_envs))
    metrics = MetricsFile(run_dir.metrics, checkpoint.header.metrics_offset if checkpoint else 0, say)
    report = Reporter(tally, progress, metrics, Board(run_dir.tensorboard, tally.global_step, say), say)
    say(
        f"start: rltrain {__version__} | {rom} | {args.num_envs} envs x {args.num_steps} steps | "
        f"target {args.target_steps} steps | {pupil.device.type}, {args.threads} threads | seed {args.seed}"
    )
    if checkpoint:
        rate = ppo.learning_rate(args, tally.global_step)
        say(
            f"resume: {checkpoint.path.name} | step {tally.global_step} | episode {tally.episodes} | "
            f"iteration {tally.iteration} | learning rate {rate:.3g}"
        )
    return Run(args, rom, pupil, envs, tally, store, report, stop)


def train(run: Run) -> bool:
    """Train until the target or until asked to stop, write a last checkpoint, return whether the target is reached.

    Raises:
        CheckpointNotSavedError: the last checkpoint could not be written.
    """
    args, pupil = run.args, run.learner
    rollout = Rollout(args, pupil.device)
    run.report.phase("training")
    while run.tally.global_step < args.target_steps:
        began_s = time.monotonic()
        rate = ppo.learning_rate(args, run.tally.global_step)
        pupil.set_learning_rate(rate)

        if not play(rollout, pupil.model, run.envs, run.after_step):
            break
        batch = ppo.batch_of(rollout, args)
        losses = ppo.update(pupil.model, pupil.optimizer, batch, args, pupil.rng, run.go_on)
        if losses is None:
            break

        run.tally.iteration += 1
        run.report.iteration(rate, losses)
        iteration_s = time.monotonic() - began_s
        if time.monotonic() + iteration_s >= run.saved_s + args.checkpoint_interval_s:
            run.report.phase("checkpointing")
            run.save()
            run.report.phase("training")
    return _end(run)


def _end(run: Run) -> bool:
    """Save, report how the run ended and let go of everything."""
    finished = run.tally.global_step >= run.args.target_steps
    run.report.phase("checkpointing" if finished else "stopping")
    try:
        if not run.save():
            raise CheckpointNotSavedError(
                f"{run.args.run_dir}: the last checkpoint could not be written (see above); "
                "free some disk space, then start again to repeat the work since the one before"
            )
        run.report.phase("done" if finished else "stopping", finished=finished)
        what = "done: target reached" if finished else "stop: as asked"
        say(f"{what} | step {run.tally.global_step} | episode {run.tally.episodes}")
    finally:
        run.report.close()
        run.envs.close()
    return finished
