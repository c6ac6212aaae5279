"""The training run, from the first rollout to the last checkpoint.

`prepare` puts a run where its newest checkpoint left it; `train` is the loop. Everything that lasts is written through
the checkpointer and the reporter; signals arrive as a flag that is looked at after every step and before every
minibatch. A stop in between is saved as it is, so that the run goes on as if it had not been stopped.
"""

from __future__ import annotations

import time

import msgspec
import torch

from rltrainer import __version__, chance, learner, ppo, snapshot
from rltrainer.args import Args
from rltrainer.checkpoint_file import Checkpoint, Header
from rltrainer.checkpoint_store import CheckpointStore
from rltrainer.checkpointer import Checkpointer, Shot
from rltrainer.console import say
from rltrainer.envs import EnvsState, Episode, GameEnvs
from rltrainer.errors import CheckpointNotSavedError
from rltrainer.learner import Learner
from rltrainer.metrics_file import MetricsFile
from rltrainer.ppo import Update
from rltrainer.progress_file import ProgressFile
from rltrainer.report import Reporter
from rltrainer.rollout import Player, Rollout
from rltrainer.rundir import RunDir
from rltrainer.signals import StopSignal
from rltrainer.tally import Tally
from rltrainer.tensorboard import Board


class Run:
    """A run that is ready to train.

    Args:
        args: what it was told.
        rom: the game.
        learner: in its last state.
        envs: at rest, in their last state.
        tally: of all that was done so far.
        report: tells the outside.
        stop: the wish to stop.
    """

    def __init__(  # noqa: PLR0913 - a run is the sum of its parts
        self,
        args: Args,
        *,
        rom: str,
        learner: Learner,
        envs: GameEnvs,
        tally: Tally,
        store: CheckpointStore,
        report: Reporter,
        stop: StopSignal,
    ) -> None:
        self.args = args
        self.rom = rom
        self.learner = learner
        self.envs = envs
        self.tally = tally
        self.report = report
        self.stop = stop
        self.rollout = Rollout(args, learner.device)
        self.unshare = learner.share(envs.obs)
        self.minibatches = 0
        """Of the present iteration, learned from."""
        self.checkpointer = Checkpointer(store, report, self._shoot, args.checkpoint_interval_s)

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

    def continue_from(self, interrupted: snapshot.Interrupted) -> None:
        """Go on in the middle of an iteration, unless it has other sizes now."""
        if interrupted.sizes == snapshot.sizes(self.args):
            self.rollout.fill(interrupted.played)
            self.minibatches = interrupted.minibatches
        else:
            say("resume: other sizes than before; the iteration that the stop interrupted is given up")

    def _shoot(self) -> Shot:
        state = snapshot.take(self.learner, self.rollout, self.minibatches, self.args)
        envs = self.envs.save()
        header = Header(
            game=self.rom,
            written_by=__version__,
            saved_at=time.time(),
            tally=msgspec.structs.replace(self.tally),  # the run goes on counting in its own
            metrics_offset=self.report.settle(),
            bf16=self.learner.model.bf16,
        )
        return Shot(header, lambda: msgspec.msgpack.encode(envs), lambda: snapshot.pack(state))


def prepare(
    args: Args,
    envs: GameEnvs,
    rom: str,
    checkpoint: Checkpoint | None,
    store: CheckpointStore,
    progress: ProgressFile,
    stop: StopSignal,
) -> Run:
    """Build the learner and put it and the games where the checkpoint left them (None: at the start)."""
    run_dir = RunDir(args.run_dir)
    header = checkpoint.header if checkpoint else None
    tally = msgspec.structs.replace(header.tally) if header else Tally()
    pupil = learner.build(args, envs.num_actions, bf16=header.bf16 if header else None)
    metrics = MetricsFile(run_dir.metrics, header.metrics_offset if header else 0, say)
    report = Reporter(tally, progress, metrics, Board(run_dir.tensorboard, tally.global_step, say), say)
    run = Run(args, rom=rom, learner=pupil, envs=envs, tally=tally, store=store, report=report, stop=stop)
    say(
        f"start: rltrain {__version__} | {rom} | {args.num_envs} envs x {args.num_steps} steps | "
        f"target {args.target_steps} steps | {pupil.device.type}, {args.threads} threads, "
        f"{'bfloat16' if pupil.model.bf16 else 'float32'} | seed {args.seed}"
    )
    if checkpoint:
        resume(run, checkpoint)
    else:
        envs.reset()
    return run


def resume(run: Run, checkpoint: Checkpoint) -> None:
    """Put a run, whose tally is that of the checkpoint, into the checkpoint's state."""
    tally = run.tally
    interrupted = snapshot.unpack(checkpoint.payload, run.learner)
    if checkpoint.envs:
        games = run.envs.restore(msgspec.msgpack.decode(checkpoint.envs, type=EnvsState))
    else:
        games = 0
        run.envs.reset()
    if interrupted and games == run.args.num_envs:
        run.continue_from(interrupted)
    rate = ppo.learning_rate(run.args, tally.global_step)
    say(
        f"resume: {checkpoint.path.name} | step {tally.global_step} | episode {tally.episodes} | "
        f"iteration {tally.iteration} | learning rate {rate:.3g} | {games} of {run.args.num_envs} games go on"
    )


def train(run: Run) -> bool:
    """Train until the target or until asked to stop, write a last checkpoint, return whether the target is reached.

    Raises:
        CheckpointNotSavedError: the last checkpoint could not be written.
        WorkerLostError: an environment worker died.
    """
    try:
        run.report.phase("training")
        player = Player(run.learner.act, run.learner.fetch, run.envs, run.after_step)
        began_s = time.monotonic()
        while _unfinished(run) and iterate(run, player):
            iteration_s, began_s = time.monotonic() - began_s, time.monotonic()
            if run.checkpointer.is_due(iteration_s):
                run.checkpointer.begin()
        return _end(run)
    finally:
        run.checkpointer.collect(wait=True)
        run.report.close()
        run.unshare()
        run.envs.close()


def _unfinished(run: Run) -> bool:
    return run.rollout.filled > 0 or run.tally.global_step < run.args.target_steps


def iterate(run: Run, player: Player) -> bool:
    """Play a rollout and learn from it, from wherever the run is in that; return whether it is through."""
    args, pupil, rollout, iteration = run.args, run.learner, run.rollout, run.tally.iteration
    rate = ppo.learning_rate(args, run.tally.global_step - rollout.filled * args.num_envs)
    pupil.set_learning_rate(rate)

    noise = chance.gumbel(args.seed, iteration, (args.num_steps, args.num_envs, run.envs.num_actions))
    noise_there = torch.from_numpy(noise).to(pupil.device)
    if not player.play(rollout, noise_there):
        return False
    if run.minibatches == 0:
        player.look_ahead(rollout, noise_there)

    update = Update(ppo.batch_of(rollout, args, pupil.fetch), args, iteration, done=run.minibatches)
    losses = update.run(pupil.step, run.go_on, pupil.fetch)
    run.minibatches = update.done
    if losses is None:
        return False

    rollout.filled = run.minibatches = 0
    run.tally.iteration += 1
    run.report.iteration(rate, losses)
    return True


def _end(run: Run) -> bool:
    """Save and report how the run ended."""
    finished = not _unfinished(run)
    run.report.phase("checkpointing" if finished else "stopping")
    if not run.checkpointer.save_now():
        raise CheckpointNotSavedError(
            f"{run.args.run_dir}: the last checkpoint could not be written (see above); "
            "free some disk space, then start again to repeat the work since the one before"
        )
    run.report.phase("done" if finished else "stopping", finished=finished)
    what = "done: target reached" if finished else "stop: as asked"
    say(f"{what} | step {run.tally.global_step} | episode {run.tally.episodes}")
    return finished
