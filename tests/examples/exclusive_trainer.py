"""foreign_trainer.py that notices a second trainer of its game: it leaves a file DOUBLE in the run directory."""

import fcntl
import os
import runpy
from pathlib import Path

run_dir = Path(os.environ["RLFLEET_RUN_DIR"])
alone = (run_dir / "alone").open("w")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    (run_dir / "DOUBLE").write_text(os.environ["RLFLEET_ATTEMPT"])
runpy.run_path(str(Path(__file__).with_name("foreign_trainer.py")), run_name="__main__")
