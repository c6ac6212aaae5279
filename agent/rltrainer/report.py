"""What the outside learns of a run: log lines, progress file, metrics.jsonl and TensorBoard events, kept in step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from rltrainer.checkpoint_file import Checkpoint
from rltrainer.envs import Episode
from rltrainer.metrics_file import MetricsFile
from rltrainer.progress_file import ProgressFile
from rltrainer.tally import Rate, Tally
from rltrainer.tensorboard import Board

SPS_WINDOW_S: Final = 30.0
EPISODES_WINDOW_S: Final = 900.0
RATE_MIN_S: Final = 2.0
EPISODE_RATE_MIN_S: Final = 30.0
"""A rate of rare things needs some time before it means anything."""


class Reporter:
    """One run's reports; everything it says comes from the tally."""

    def __init__(
        self, tally: Tally, progress: ProgressFile, metrics: MetricsFile, board: Board, say: Callable[[str], None]
    ) -> None:
        now_s = time.monotonic()
        self._tally = tally
        self._progress = progress
        self._metrics = metrics
        self._board = board
        self._say = say
        self._steps = Rate(SPS_WINDOW_S, RATE_MIN_S, now_s, tally.global_step)
        self._episodes = Rate(EPISODES_WINDOW_S, EPISODE_RATE_MIN_S, now_s, tally.episodes)
        progress.count(tally)

    def beat(self) -> None:
        """Write the progress file if it is time; cheap enough for every step."""
        if self._progress.is_due():
            self._write()

    def phase(self, phase: str, *, finished: bool = False) -> None:
        """Report a phase at once: training, checkpointing, stopping, done."""
        self._progress.update(phase=phase, finished=finished)
        self._write()
        if phase == "training":
            self._progress.hurry()  # the first new step ends an incident: it must not wait for its turn

    def episode(self, episode: Episode) -> None:
        """Report a whole game that the tally has just counted."""
        tally = self._tally
        sps = self._steps.per_second()
        self._say(
            f"Ep {tally.episodes} | return {episode.episodic_return:.0f} | mean100 {tally.mean_return_100:.1f} | "
            f"best {tally.best_return:.0f} | step {tally.global_step} | {'n/a' if sps is None else round(sps)} sps"
        )
        self._metrics.add(
            "episode",
            episode=tally.episodes,
            episodic_return=episode.episodic_return,
            episodic_length=episode.length,
            mean_return_100=tally.mean_return_100,
            best_return=tally.best_return,
            global_step=tally.global_step,
            time=time.time(),
        )
        self._board.add(
            {"charts/episodic_return": episode.episodic_return, "charts/episodic_length": episode.length},
            tally.global_step,
        )

    def iteration(self, learning_rate: float, losses: Mapping[str, float]) -> None:
        """Report an iteration that the tally has just counted."""
        tally = self._tally
        sps = self._steps.per_second()
        self._metrics.add(
            "iteration",
            iteration=tally.iteration,
            global_step=tally.global_step,
            learning_rate=learning_rate,
            sps=sps,
            **losses,
            time=time.time(),
        )
        self._metrics.flush()
        charts = {"charts/learning_rate": learning_rate} | ({} if sps is None else {"charts/SPS": sps})
        self._board.add(charts | {f"losses/{name}": value for name, value in losses.items()}, tally.global_step)

    def settle(self) -> int:
        """Write all records, before a checkpoint that counts on them; return the length of metrics.jsonl."""
        self._board.flush()
        return self._metrics.flush()

    def sync(self) -> None:
        """Let what is settled survive a power cut; the thread that writes checkpoints calls it."""
        self._metrics.sync()

    def saved(self, checkpoint: Checkpoint, took_s: float, stall_s: float) -> None:
        """Report a committed checkpoint: how long it took, and how long of that training stood still."""
        self._progress.saved(checkpoint, stall_s)
        self._progress.update(warning=None)
        tally = checkpoint.header.tally
        self._say(
            f"checkpoint: {checkpoint.path.name} | step {tally.global_step} | episode {tally.episodes} | {took_s:.2f} s"
        )

    def not_saved(self, global_step: int, why: str) -> None:
        """Report a checkpoint that could not be written."""
        what = f"at step {global_step}: {why}; the older ones are kept"
        self._progress.update(warning=f"checkpoint failed {what}")
        self._say(f"checkpoint: FAILED {what}")

    def close(self) -> None:
        """Write what is held back."""
        self._metrics.close()
        self._board.close()

    def _write(self) -> None:
        now_s = time.monotonic()
        self._steps.mark(now_s, self._tally.global_step)
        self._episodes.mark(now_s, self._tally.episodes)
        per_second = self._episodes.per_second()
        self._progress.count(self._tally)
        self._progress.write(
            sps=self._steps.per_second(), episodes_per_hour=None if per_second is None else per_second * 3600
        )
