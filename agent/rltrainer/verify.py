"""`rltrain verify DIR`: read every checkpoint of a run directory and say which are whole. Changes nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rltrainer import checkpoint_file
from rltrainer.checkpoint_store import paths
from rltrainer.errors import ConfigurationError, DamagedCheckpointError, TrainerError
from rltrainer.rundir import RunDir


def report(root: Path) -> int:
    """Print a line for each checkpoint, oldest first; return 0 if the newest is whole, 1 if it is not or there is none.

    Raises:
        ConfigurationError: there is no such folder.
    """
    if not root.is_dir():
        raise ConfigurationError(f"verify {root}: no such folder; give a run directory, as in train --run-dir")
    verdicts = [_verdict(path) for path in paths(RunDir(root).checkpoints)]
    for _, line in verdicts:
        sys.stdout.write(line + "\n")
    if not verdicts:
        sys.stdout.write(f"{root}: no checkpoints\n")
    return 0 if verdicts and verdicts[-1][0] else 1


def _verdict(path: Path) -> tuple[bool, str]:
    try:
        header = checkpoint_file.read(path).header
        size_mib = path.stat().st_size / 2**20
    except DamagedCheckpointError as damage:
        return False, f"{path.name}  damaged: {damage.why}"
    except (TrainerError, OSError) as error:
        return False, f"{path.name}  unreadable: {error}"
    saved_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(header.saved_at))
    return True, (
        f"{path.name}  ok  {header.game}  step {header.tally.global_step}  episodes {header.tally.episodes}  "
        f"saved {saved_at}  {size_mib:.1f} MiB"
    )
