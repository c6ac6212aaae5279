"""What a training run is told: its fields, their defaults and which combinations make sense.

The defaults are CleanRL's for PPO on Atari, but two epochs instead of four, as the update takes most of a CPU's time,
and rollouts half as long from four times the environments. The command line is built from this class (`rltrainer.cli`);
nothing here reads the environment or touches a disk.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from rlagent.protocol.progress import FRAMESKIP_DEFAULT

FRAMESKIP: Final = FRAMESKIP_DEFAULT
"""Emulator frames in one step; the standard of every published result."""

MINIBATCH_STEPS: Final = 128
"""In one gradient, by default, however large the batch: a larger batch is for longer rollouts, not fewer gradients."""

MINIBATCHES_LEAST: Final = 4

MAX_THREADS_DEFAULT: Final = 4
"""More threads than these slow a small network down unless somebody has measured it."""


def usable_threads() -> int:
    """Return how many CPU threads a run takes when nobody says."""
    return min(len(os.sched_getaffinity(0)), MAX_THREADS_DEFAULT)


@dataclass(frozen=True, kw_only=True)
class Args:
    """One training run."""

    run_dir: Path
    """the folder of this run: checkpoints, metrics.jsonl, TensorBoard events; it resumes from what lies there"""
    game: str = "MsPacman"
    """an Atari game, as MsPacman or ms_pacman"""
    progress_file: Path | None = None
    """the heartbeat, replaced every second [default: RUN_DIR/progress.json]"""
    num_envs: int = 32
    """games played side by side"""
    batch_size: int = 2048
    """environment steps in one iteration: num_envs times the length of a rollout"""
    target_frames: int = 40_000_000
    """emulator frames (4 per step) after which the run is done"""
    checkpoint_interval_s: float = 90.0
    """at most so many seconds between two checkpoints; cheap ones come more often, down to every 5 seconds"""
    keep_checkpoints: int = 3
    """newest checkpoints kept"""
    checkpoint_disk_mib: int = 1024
    """older checkpoints are given up when all take more disk than this"""
    start_afresh_if_damaged: bool = False
    """begin at step 0 when every checkpoint is damaged, instead of refusing to start"""
    threads: int = field(default_factory=usable_threads)
    """CPU threads for the network, and processes for the games; the two take turns. With a GPU: for the games alone"""
    seed: int = 1
    """on a CPU, the same seed and number of threads give the same run, however often it is killed"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where the network lives; auto: a GPU if there is one"""
    bf16: bool | None = None
    """compute the network in bfloat16 (autocast) [default: where the hardware has units for it]"""
    deterministic: bool = False
    """on a GPU, use only algorithms that give the same bits each time; slower (a CPU always does)"""
    env_groups: int | None = None
    """groups of environments that play while the actor decides for another [default: 2 with a GPU, else 1]"""
    learning_rate: float = 2.5e-4
    """of Adam, at the start"""
    anneal_lr: bool = True
    """let the learning rate fall to zero over the target"""
    gamma: float = 0.99
    """discount of future rewards"""
    gae_lambda: float = 0.95
    """lambda of the generalised advantage estimation"""
    num_minibatches: int | None = None
    """minibatches in each epoch [default: 128 steps each, but at least 4]"""
    update_epochs: int = 2
    """passes over a rollout"""
    norm_adv: bool = True
    """normalise advantages within each minibatch"""
    clip_coef: float = 0.1
    """clipping range of the policy ratio, and of the value if clip_vloss"""
    clip_vloss: bool = True
    """clip the value loss"""
    ent_coef: float = 0.01
    """weight of the entropy bonus"""
    vf_coef: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients are scaled down to this norm"""
    target_kl: float | None = None
    """end an update early when the policy has moved this far"""
    episodic_life: bool = True
    """for learning, a lost life ends the episode; scores are those of whole games either way"""
    clip_rewards: bool = True
    """learn from the sign of rewards; scores are raw either way"""
    noop_max: int = 30
    """each game begins with up to so many idle frames"""
    repeat_action_probability: float = 0.0
    """sticky actions: 0 as in CleanRL, 0.25 as in ALE's own protocol"""
    full_action_space: bool = False
    """let the actor choose from all 18 actions, also those that do nothing in this game"""

    @property
    def num_steps(self) -> int:
        """Length of a rollout, in steps of each environment."""
        return self.batch_size // self.num_envs

    @property
    def minibatches(self) -> int:
        """Minibatches in each epoch, as told or by the batch size; by default the most that divide it evenly."""
        if self.num_minibatches is not None:
            return self.num_minibatches
        most = max(MINIBATCHES_LEAST, self.batch_size // MINIBATCH_STEPS)
        return next(count for count in range(most, 0, -1) if self.batch_size % count == 0)

    @property
    def minibatch_size(self) -> int:
        """Steps in one gradient."""
        return self.batch_size // self.minibatches

    @property
    def target_steps(self) -> int:
        """Steps over all environments after which the run is done."""
        return -(-self.target_frames // FRAMESKIP)

    @property
    def progress_path(self) -> Path:
        """Where the heartbeat goes."""
        return self.progress_file or self.run_dir / "progress.json"


def field_docs() -> dict[str, str]:
    """Return the docstring under each field of Args; empty where the source is not at hand."""
    try:
        tree = ast.parse(inspect.getsource(Args))
    except OSError:
        return {}
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    return {
        name.target.id: text.value.value
        for name, text in itertools.pairwise(body)
        if isinstance(name, ast.AnnAssign) and isinstance(name.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def flag(name: str) -> str:
    """Return a field's flag: `num_envs` -> `--num-envs`."""
    return "--" + name.replace("_", "-")


def complaint(args: Args) -> str | None:
    """Return what is wrong with these values in one sentence, None when nothing is."""
    if args.env_groups is not None and args.env_groups > args.num_envs:
        return f"--env-groups {args.env_groups}: must be at most --num-envs {args.num_envs}"
    return _out_of_range(args) or _indivisible(args)


_AT_LEAST: Final[dict[str, float]] = {
    "num_envs": 1, "batch_size": 1, "target_frames": 1, "keep_checkpoints": 1, "checkpoint_disk_mib": 1, "threads": 1,
    "seed": 0, "env_groups": 1, "num_minibatches": 1, "update_epochs": 1, "noop_max": 0, "ent_coef": 0, "vf_coef": 0,
}  # fmt: skip
_MORE_THAN: Final = ("checkpoint_interval_s", "learning_rate", "clip_coef", "max_grad_norm")
_SHARES: Final = ("gamma", "gae_lambda", "repeat_action_probability")


def _out_of_range(args: Args) -> str | None:
    for name, least in _AT_LEAST.items():
        if getattr(args, name) is not None and not getattr(args, name) >= least:
            return f"{flag(name)} {getattr(args, name)}: must be at least {least}"
    for name in _MORE_THAN:
        if not getattr(args, name) > 0:
            return f"{flag(name)} {getattr(args, name)}: must be more than 0"
    for name in _SHARES:
        if not 0 <= getattr(args, name) <= 1:
            return f"{flag(name)} {getattr(args, name)}: must be between 0 and 1"
    return None


def _indivisible(args: Args) -> str | None:
    for name in ("num_envs", "num_minibatches"):
        divisor = getattr(args, name)
        if divisor is not None and args.batch_size % divisor:
            below = args.batch_size // divisor * divisor
            near = f"{below} or {below + divisor}" if below else str(divisor)
            return (
                f"--batch-size {args.batch_size}: must be a multiple of {flag(name)} {divisor}; the nearest is {near}"
            )
    return None
