"""Runs one command and ends with it whatever it has started, also what has left its session: agents, trainers, shims.

    python -I -S reaper.py SECONDS COMMAND...

As the first process of a PID namespace it needs to do nothing for that; elsewhere it adopts orphans and kills them.
Exit code: the command's, 124 when it took longer than SECONDS.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TIMED_OUT = 124


def main(seconds: float, command: list[str]) -> int:
    """Run the command; returns its exit code."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    code = TIMED_OUT
    with contextlib.suppress(TimeoutError):
        code = _wait_for(process.pid)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _kill_children()
    return code


def _wait_for(pid: int) -> int:
    """Wait for one child, and bury the orphans that end before: a zombie would look alive to the tests."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill_children() -> None:
    """Kill every child; theirs become ours then, until there are none."""
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in map(int, children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _out_of_time(_signal: int, _frame: object) -> None:
    raise TimeoutError


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
