"""Makes any Python trainer break on demand: on SIGUSR2 it does what RUN_DIR/fault says. For tests and chaos only.

With TRAINER_PACE=SHARE in its environment a trainer works only for that share of the time once it has reported: tests
of what happens around a trainer leave the processor to others. Its own processes keep step with it by themselves.

Python loads this module at its start when this folder is in PYTHONPATH. The signal's handler runs in the main thread,
between two instructions of the trainer: what it raises is raised there, and what blocks in it blocks the training.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

MIB = 1024 * 1024
LEAK_MIB, LEAK_PAUSE_S = 8, 0.05
PACE_S = 0.2
FLOOD_IS_OVER = "flood-is-over"
"""A file of this name appears beside the word when all has been printed."""


def exception(_argument: str) -> None:
    """Crash with a traceback."""
    raise RuntimeError("injected fault: exception")


def gil_hang(_argument: str) -> None:
    """Sleep in C without letting go of the interpreter: no thread of this process runs any more."""
    while True:
        ctypes.PyDLL(None).sleep(3600)


def env_hang(_argument: str) -> None:
    """Sleep in C as an environment's step that never returns: other threads go on."""
    while True:
        ctypes.CDLL(None).sleep(3600)


def leak(_argument: str) -> None:
    """Keep taking memory while training goes on."""
    taken: list[bytes] = []

    def take() -> None:
        while True:
            taken.append(b"x" * LEAK_MIB * MIB)
            time.sleep(LEAK_PAUSE_S)

    threading.Thread(target=take, daemon=True).start()


def exit_0(_argument: str) -> None:
    """Leave with exit code 0 in the middle of the work."""
    os._exit(0)


def orphans(_argument: str) -> None:
    """Leave workers behind, one in a session of its own, and die."""
    script = "sleep 3600 & sleep 3600 & setsid sleep 3600 &"
    subprocess.run(["/bin/sh", "-c", script], check=True)  # its children are this trainer's grandchildren
    os.kill(os.getpid(), signal.SIGKILL)


def log_flood(argument: str) -> None:
    """Print so many MiB as fast as they are taken."""
    line = b"flood " * 20 + b"\n"
    block = line * (MIB // len(line))

    def flood() -> None:
        for _ in range(int(argument or "1024")):
            os.write(1, block)
        (Path(os.environ["RLFLEET_RUN_DIR"]) / FLOOD_IS_OVER).touch()

    threading.Thread(target=flood, daemon=True).start()


def ignore_term(_argument: str) -> None:
    """Be deaf to SIGTERM from now on."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def pace(share: float) -> None:
    """Hold the interpreter, asleep, for the rest of each turn."""
    report = Path(os.environ["RLFLEET_PROGRESS_FILE"])
    while not report.exists():
        time.sleep(PACE_S)
    while True:
        time.sleep(share * PACE_S)
        ctypes.PyDLL(None).usleep(int((1 - share) * PACE_S * 1e6))


def act(_number: int, _frame: object) -> None:
    """Read the word, do it and take it away; first take it away where doing it may never end.

    Whoever waits until a word is taken finds it done.
    """
    path = Path(os.environ["RLFLEET_RUN_DIR"]) / "fault"
    word, _, argument = path.read_text().strip().partition(" ")
    lasting = {"leak": leak, "log-flood": log_flood, "ignore-term": ignore_term}
    if word in lasting:
        lasting[word](argument)
        path.unlink()
        return
    path.unlink()
    {
        "exception": exception,
        "gil-hang": gil_hang,
        "env-hang": env_hang,
        "exit-0": exit_0,
        "orphans": orphans,
    }[word](argument)


if "RLFLEET_RUN_DIR" in os.environ:
    signal.signal(signal.SIGUSR2, act)
    # A trainer that begins itself again stays the same process; its children are others.
    first = os.environ.setdefault("TRAINER_PACED", str(os.getpid()))
    if "TRAINER_PACE" in os.environ and first == str(os.getpid()):
        threading.Thread(target=pace, args=(float(os.environ["TRAINER_PACE"]),), daemon=True).start()
