"""Runs the machine's own commands for the lab and turns a failure into one readable error. Knows nothing of hosts."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


class LabError(RuntimeError):
    """The lab can't do what was asked; says what failed and what to do."""


def run(*words: object, timeout: float = 120, given: str | None = None) -> str:
    """Run a command and return its stdout; raises `LabError` with its last words if it fails or takes too long."""
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False, input=given
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: not done after {timeout:g} s") from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise LabError(f"{' '.join(command)}: exit code {done.returncode}: {said}")
    return done.stdout


def completed(
    words: Sequence[object], *, timeout: float, check: bool, env: Mapping[str, str] | None = None, cwd: object = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that tests look at; stdout and stderr are text. A wrong exit code raises only if `check`."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        env=None if env is None else dict(env),
        cwd=None if cwd is None else str(cwd),
    )
    if check and done.returncode:
        raise LabError(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done
