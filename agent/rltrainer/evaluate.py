"""`rltrain eval DIR`: play whole games with the trained actor, and say how well it does.

Reads the newest whole checkpoint and nothing else: no lock, no quarantine, one thread. So it may run beside the trainer
that writes into the same folder. Signals end it at once: there is nothing to save.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from rltrainer import checkpoint_file, checkpoint_store, games
from rltrainer.checkpoint_file import Checkpoint
from rltrainer.cli import Evaluate
from rltrainer.errors import ConfigurationError, DamagedCheckpointError, TrainerError
from rltrainer.rundir import RunDir

if TYPE_CHECKING:
    from rltrainer.episode import Player

SCHEMA_VERSION: Final = 1
VIDEO_FORMATS: Final = {".gif": "GIF", ".png": "PNG", ".webp": "WEBP"}
LISTINGS_MAX: Final = 5
"""A running trainer may remove a checkpoint between being listed and being read; then the list is read again."""


class EpisodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """One whole game."""

    episode: int
    """From 1; with the seed it determines the game."""
    episodic_return: float
    """Raw score."""
    episodic_length: int
    """In steps."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `-o json` prints."""

    schema_version: int
    game: str
    run_dir: str
    checkpoint: str
    global_step: int
    """Of the checkpoint."""
    policy: str
    """sample or greedy."""
    seed: int
    repeat_action_probability: float
    episodes: list[EpisodeReport]
    mean_return: float
    std_return: float
    """Population standard deviation."""
    best_return: float
    worst_return: float
    video: str | None


def run(wanted: Evaluate) -> int:
    """Evaluate, print the report on stdout and what goes on meanwhile on stderr, and return the exit code.

    Raises:
        ConfigurationError: no such run, no such game, every checkpoint damaged, or nowhere to write the video.
        TrainerError: the run has no checkpoint yet.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    _check_video(wanted.video)
    checkpoint = newest(wanted.run_dir)
    rom = games.find_rom(checkpoint.header.game, games.installed_roms())
    _note(f"{checkpoint.path.name}: {games.camel_case(rom)} at step {checkpoint.header.tally.global_step}")
    from rltrainer.episode import Player  # noqa: PLC0415 - torch: seconds that a wrong path must not cost

    player = Player(checkpoint.payload, rom, wanted)
    episodes = [_episode(player, number) for number in range(1, wanted.episodes + 1)]
    if wanted.video is not None:
        best = max(episodes, key=lambda each: each.episodic_return)
        _film(player, best, wanted.video)
    report = _report(wanted, checkpoint, episodes)
    sys.stdout.write(_json(report) if wanted.output == "json" else _table(report))
    return 0


def newest(root: Path) -> Checkpoint:
    """Return the newest whole checkpoint of a run directory, and change nothing there.

    Raises:
        ConfigurationError: there is no such folder, or every checkpoint is damaged.
        TrainerError: there is no checkpoint yet.
    """
    if not root.is_dir():
        raise ConfigurationError(f"eval {root}: no such folder; give a run directory, as in train --run-dir")
    damaged: dict[Path, str] = {}
    for _ in range(LISTINGS_MAX):
        listed = checkpoint_store.paths(RunDir(root).checkpoints)
        for path in reversed(listed):
            try:
                return checkpoint_file.read(path)
            except FileNotFoundError:
                continue
            except DamagedCheckpointError as damage:
                if path not in damaged:
                    _note(f"{path.name} is damaged ({damage.why}); trying the one before")
                damaged[path] = damage.why
            except OSError as error:
                raise TrainerError(f"eval {root}: can't read {path.name} ({error.strerror})") from error
        if not listed or all(path in damaged for path in listed):
            break
    if damaged:
        raise ConfigurationError(f"eval {root}: every checkpoint is damaged; rltrain verify {root} lists them")
    raise TrainerError(f"eval {root}: no checkpoint yet; a run in training writes its first within its interval")


def _check_video(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix.lower() not in VIDEO_FORMATS:
        known = ", ".join(VIDEO_FORMATS)
        raise ConfigurationError(f"--video {path}: unknown kind of file; end its name in one of {known}")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--video {path}: there is no folder {path.parent}; make it first")


def _episode(player: Player, number: int) -> EpisodeReport:
    """Play one game; on a terminal show every second how it goes."""
    shown_s = time.monotonic()

    def watch(score: int, step: int) -> None:
        nonlocal shown_s
        if sys.stderr.isatty() and time.monotonic() > shown_s + 1.0:
            shown_s = time.monotonic()
            sys.stderr.write(f"\repisode {number}: step {step}, score {score} ...")
            sys.stderr.flush()

    score, steps = player.play(number, watch)
    _note(f"episode {number}: return {score}, {steps} steps")
    return EpisodeReport(episode=number, episodic_return=float(score), episodic_length=steps)


def _film(player: Player, episode: EpisodeReport, path: Path) -> None:
    """Play a game again, which it does exactly, and write what could be seen."""
    from rltrainer import video  # noqa: PLC0415 - only what the command needs

    _note(f"filming episode {episode.episode}, the best ...")
    film = video.Film()
    player.play(episode.episode, lambda _score, _step: film.add(player.screen()))
    try:
        film.write(path, VIDEO_FORMATS[path.suffix.lower()])
    except OSError as error:
        raise TrainerError(f"--video {path}: can't write ({error.strerror})") from error
    if film.is_cut:
        _note(f"{path}: only the first {video.STEPS_MAX} steps")


def _report(wanted: Evaluate, checkpoint: Checkpoint, episodes: list[EpisodeReport]) -> Report:
    returns = [each.episodic_return for each in episodes]
    mean = sum(returns) / len(returns)
    return Report(
        schema_version=SCHEMA_VERSION,
        game=games.camel_case(checkpoint.header.game),
        run_dir=str(wanted.run_dir),
        checkpoint=checkpoint.path.name,
        global_step=checkpoint.header.tally.global_step,
        policy="greedy" if wanted.greedy else "sample",
        seed=wanted.seed,
        repeat_action_probability=wanted.repeat_action_probability,
        episodes=episodes,
        mean_return=mean,
        std_return=(sum((each - mean) ** 2 for each in returns) / len(returns)) ** 0.5,
        best_return=max(returns),
        worst_return=min(returns),
        video=None if wanted.video is None else str(wanted.video),
    )


def _json(report: Report) -> str:
    return msgspec.json.encode(report).decode() + "\n"


def _table(report: Report) -> str:
    rows = {
        "game": report.game,
        "checkpoint": f"{report.checkpoint}, step {report.global_step}",
        "episodes": f"{len(report.episodes)} ({report.policy}, seed {report.seed})",
        "mean return": f"{report.mean_return:.1f}",
        "std": f"{report.std_return:.1f}",
        "best": f"{report.best_return:.0f}",
        "worst": f"{report.worst_return:.0f}",
    } | ({} if report.video is None else {"video": report.video})
    return "".join(f"{name:12} {value}\n" for name, value in rows.items())


def _note(line: str) -> None:
    sys.stderr.write(("\r\x1b[K" if sys.stderr.isatty() else "") + line + "\n")
    sys.stderr.flush()
