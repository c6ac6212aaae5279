"""A trainer of 30 lines that knows nothing of rlfleet but its contract: standard library only, to copy and adapt."""

import json
import os
import signal
import time
from pathlib import Path

checkpoint_file = Path(os.environ["RLFLEET_RUN_DIR"]) / "checkpoint.json"
progress_file = Path(os.environ["RLFLEET_PROGRESS_FILE"])
target_steps = int(os.environ["RLFLEET_TARGET_FRAMES"]) // 4
checkpoint_interval_s = float(os.environ["RLFLEET_CHECKPOINT_INTERVAL_S"])
steps_per_second = float(os.environ.get("RLFLEET_EXAMPLE_SPS", "1000"))


def replace(path: Path, content: dict) -> None:
    """Write a file so that nobody ever sees half of it, not even if this process is killed meanwhile."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
checkpoint = json.loads(checkpoint_file.read_text()) if checkpoint_file.exists() else None
step = checkpoint["global_step"] if checkpoint else 0
saved_s = time.monotonic()
while True:
    done = step >= target_steps
    if done or stopping or time.monotonic() >= saved_s + checkpoint_interval_s:
        checkpoint = {"global_step": step, "saved_at": time.time()}
        replace(checkpoint_file, checkpoint)
        saved_s = time.monotonic()
    replace(progress_file, {"global_step": step, "sps": steps_per_second, "checkpoint": checkpoint, "finished": done})
    if done or stopping:
        break
    time.sleep(0.2)  # here a real trainer learns
    step = min(step + round(0.2 * steps_per_second), target_steps)
