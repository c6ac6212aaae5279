"""Runs rlctl's command lines in the test's own process: the same words, a tenth of the time of a program of its own.

What only a program has (its start, signals, a terminal, a reader that leaves) is tested with `ctl_runs`.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from ctl_runs import RLCTL, command, environment
from rlctl import __main__ as rlctl_main
from rlctl import knownhosts, sshanswers, sshauth, sshconfig

OF_ONE_RUN = (
    *(knownhosts._read, sshauth._loaded, sshauth._public),
    *(sshconfig._effective, sshanswers._known, sshanswers._stamp),
)
"""What a run of rlctl reads once."""


def forget() -> None:
    """Begin as a new run does."""
    for cached in OF_ONE_RUN:
        cached.cache_clear()


def rlctl(*words: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run rlctl as a script would, with nobody to answer it."""
    forget()
    arguments = command(*words)[len(RLCTL) :]
    out, err = io.StringIO(), io.StringIO()
    with (
        _environment(environment(**env)),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", io.StringIO()),
    ):
        code = rlctl_main.run(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Let the environment be this one, and the time zone that it names."""
    with mock.patch.dict(os.environ, wanted, clear=True):
        time.tzset()
        yield
    time.tzset()
