"""The agent as a process: its lock, its log, its signals, starting it in the background and ending it."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import logging
import logging.handlers
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rlagent import client
from rlagent.config import Config
from rlagent.journal import JournalError
from rlagent.paths import Paths
from rlagent.protocol import messages

LOG_BYTES_MAX = 8 * 1024 * 1024
LOG_FILES_KEPT = 4
START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 20.0
EXIT_ALREADY_RUNS = 75
"""EX_TEMPFAIL: another agent holds the lock, and answers now or in a moment."""
_POLL_S = 0.05
_TRY_AGAIN_S = 1.0


class AlreadyRunningError(Exception):
    """Another agent holds the lock of this state directory."""


def foreground(config: Config, paths: Paths) -> int:
    """Run the agent until it is told to end; returns an exit code."""
    from rlagent.daemon import Daemon  # noqa: PLC0415  # the rest of this module serves short-lived commands

    os.umask(0o077)
    # A watchdog ends a loop that hangs with SIGABRT: its last words say where it hung.
    faulthandler.enable()
    try:
        for folder in (paths.state_dir, paths.logs):
            folder.mkdir(parents=True, exist_ok=True)
        paths.state_dir.chmod(0o700)
        with _lock(paths.lock):
            _set_up_logging(paths.agent_log)
            Daemon(config, paths).run()
    except AlreadyRunningError:
        sys.stderr.write(f"rlagent: an agent already runs with {paths.state_dir}; see: rlagent status\n")
        return EXIT_ALREADY_RUNS
    except (JournalError, OSError) as error:
        sys.stderr.write(f"rlagent: {error}\n")
        return 1
    return 0


def detach(paths: Paths, arguments: list[str]) -> int:
    """Start the agent in a session of its own and wait until it answers, saying so; returns an exit code."""
    if _ping(paths).ok:
        sys.stdout.write("rlagent: already running\n")
        return 0
    fault = start_detached(paths, arguments)
    if fault is not None:
        sys.stderr.write(f"rlagent: the agent did not come up: {fault}\n")
        return 1
    sys.stdout.write("rlagent: running\n")
    return 0


def start_detached(paths: Paths, arguments: list[str]) -> str | None:
    """Start the agent in a session of its own and wait until one answers; returns what went wrong, if anything."""
    os.umask(0o077)
    paths.logs.mkdir(parents=True, exist_ok=True)
    startup_log = paths.logs / "startup.log"
    process, begun = _spawn(startup_log, arguments), time.monotonic()
    deadline = begun + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if _ping(paths).ok:
            return None
        code = process.poll()
        if code == EXIT_ALREADY_RUNS and time.monotonic() > begun + _TRY_AGAIN_S:
            # Another caller had the same thought a moment earlier, and its agent will answer; or the lock was still
            # that of an agent which was just ending.
            process, begun = _spawn(startup_log, arguments), time.monotonic()
        elif code not in {None, EXIT_ALREADY_RUNS}:
            break
        time.sleep(_POLL_S)
    return startup_log.read_text(encoding="utf-8", errors="replace").strip() or f"see {paths.agent_log}"


def _spawn(startup_log: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start an agent in a session of its own; what it says before it has a log of its own goes to the given one."""
    with startup_log.open("wb") as output:
        command = [sys.executable, "-m", "rlagent", *arguments, "run"]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )


def shut_down(paths: Paths, *, stop_trainers_within_s: float | None) -> int:
    """End the running agent, if there is one, after its trainers where a time is given; returns an exit code."""
    if stop_trainers_within_s is not None and not _stop_trainers(paths, stop_trainers_within_s):
        return 1
    reply = client.call(paths.socket, messages.encode(messages.Shutdown(who="rlagent shutdown")))
    if reply.error is not None and reply.error.code == "agent-not-running":
        sys.stdout.write("rlagent: not running\n")
        return 0
    deadline = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with _lock(paths.lock):
                sys.stdout.write("rlagent: ended\n")
                return 0
        except AlreadyRunningError:
            time.sleep(_POLL_S)
    sys.stderr.write(f"rlagent: it has not ended within {END_TIMEOUT_S:g} s; see {paths.agent_log}\n")
    return 1


def _stop_trainers(paths: Paths, within_s: float) -> bool:
    """Ask for a stop and wait until no trainer is left; True too when no agent runs that could stop any."""
    wish = messages.Stop(who="rlagent shutdown", why="--stop-trainers", until_restart=True)
    reply = client.call(paths.socket, messages.encode(wish))
    if reply.error is not None and reply.error.code == "agent-not-running":
        return True
    if not reply.ok:
        sys.stderr.write(f"rlagent: {reply.error.message if reply.error else 'no answer'}\n")
        return False
    deadline = time.monotonic() + within_s
    waiting: list[str] = []
    while True:
        reply = client.call(paths.socket, messages.encode(messages.GetStatus()))
        if not reply.ok:
            sys.stderr.write("rlagent: the agent ended before its trainers did\n")
            return False
        alive = [game["game"] for game in reply.result["games"] if game["state"] in ("STARTING", "RUNNING", "STOPPING")]
        if not alive:
            return True
        if alive != waiting:
            sys.stdout.write(f"rlagent: waiting for {', '.join(alive)} to checkpoint and stop\n")
            sys.stdout.flush()
            waiting = alive
        if time.monotonic() > deadline:
            sys.stderr.write(f"rlagent: {', '.join(alive)} did not stop within {within_s:g} s; see {paths.agent_log}\n")
            return False
        time.sleep(_POLL_S)


def _ping(paths: Paths) -> messages.Reply:
    return client.call(paths.socket, messages.encode(messages.Ping()), timeout_s=2.0)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the agent's lock. Raises AlreadyRunningError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError from None
        yield
    finally:
        os.close(descriptor)


def _set_up_logging(path: Path) -> None:
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    rotating = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES_KEPT)
    handlers: list[logging.Handler] = [rotating, logging.StreamHandler()]
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=handlers)
    # A full disk must not flood standard error with tracebacks of the logger itself.
    logging.raiseExceptions = False
