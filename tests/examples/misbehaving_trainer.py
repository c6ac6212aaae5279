"""foreign_trainer.py gone wrong: before each loop it does what the word in the file RUN_DIR/misbehave says.

Words: crash (an exception), exit0 (ends although the target is far), config (exit code 78), hang (no more reports, deaf
to SIGTERM as a real hang is), stubborn (goes on, but ignores SIGTERM from then on). Without that file it behaves. The
file is read each time, so taking it away heals the next attempt.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

misbehave_file = Path(os.environ["RLFLEET_RUN_DIR"]) / "misbehave"
real_sleep = time.sleep


def misbehave(duration_s: float) -> None:
    """Stand in for the example's learning, which is a sleep."""
    word = misbehave_file.read_text().strip() if misbehave_file.exists() else ""
    if word == "crash":
        raise RuntimeError("misbehaving as told: crash")
    if word == "exit0":
        sys.exit(0)
    if word == "config":
        sys.exit(78)
    if word == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while word == "hang":
        real_sleep(3600)
    real_sleep(duration_s)


time.sleep = misbehave
runpy.run_path(str(Path(__file__).with_name("foreign_trainer.py")), run_name="__main__")
