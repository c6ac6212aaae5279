"""A trainer's keeper: one small process for each trainer, that outlives the agent.

As containerd's shim and conmon do, it holds what must not end with the agent: the game's lock, the pipe that the
trainer prints into, and the wait for its exit status. Runs as a script under `python -I -S` with the standard library
only, so that it starts in milliseconds, stays small, and is not touched by an upgrade of the agent.

    shim.py SPEC.json LOCK_FD

SPEC: attempt_id, command, env, run_dir, log_path, log_bytes_max, log_files_kept. It writes into run_dir
`attempt.json` (who runs) and, when the trainer has ended, `exit.json` (how), each replaced atomically. If exit.json
can't be written (full disk) it tries again for ever: the agent then still sees this process, and waits rather than
guesses.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs start-up time and memory in each of these processes
    import resource
    from collections.abc import Callable
    from typing import Any

RETRY_S = 1.0
POLL_MS = 200
DRAIN_S = 2.0
"""So long at most after the trainer's end is its output still read."""
LINE_BYTES_MAX = 65536
CHUNK = 65536


def main(spec_path: str, lock_fd: int) -> None:
    """Keep one trainer; returns when its end is recorded."""
    with open(spec_path, encoding="utf-8") as file:
        spec = json.load(file)
    terminated: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(True))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(lock_fd, False)  # the trainer must not hold the lock
    reader, writer = os.pipe2(os.O_CLOEXEC)
    log = Log(spec["log_path"], spec["log_bytes_max"], spec["log_files_kept"])
    record: dict[str, object] = {"attempt_id": spec["attempt_id"]}
    try:
        trainer = spawn(spec, writer)
    except OSError as error:
        code = 127 if error.errno == errno.ENOENT else 126
        reason = f"can't run {spec['command'][0]}: {error.strerror}"
        log.write(f"{reason}\n".encode())
        finish(spec, {**record, "code": code, "signal": None, "error": reason})
        return
    os.close(writer)
    attempt = {
        **record,
        "shim_pid": os.getpid(),
        "shim_ticks": start_ticks(os.getpid()),
        "trainer_pid": trainer,
        "trainer_ticks": start_ticks(trainer),
        "started_at": time.time(),
    }
    # Without this record (full disk) the agent finds the trainer by its mark; it must not wait for us.
    with contextlib.suppress(OSError):
        replace(os.path.join(spec["run_dir"], "attempt.json"), attempt, durable=False)
    status, usage = copy_until_exit(trainer, reader, log)
    # Workers that outlived their parent must not hold its GPU or write its files.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(trainer, signal.SIGKILL)
    log.close()
    ended = {
        **record,
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "sigterm_seen": bool(terminated),
        "max_rss_kib": usage.ru_maxrss,
        "error": None,
    }
    finish(spec, ended)


def spawn(spec: dict[str, Any], output: int) -> int:
    """Start the trainer in a process group of its own with default signals; returns its pid. Raises OSError."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    defaults = [n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)]
    command = spec["command"]
    return os.posix_spawnp(
        command[0], command, spec["env"], file_actions=actions, setpgroup=0, setsigdef=defaults, setsigmask=[]
    )


def copy_until_exit(trainer: int, reader: int, log: Log) -> tuple[int, resource.struct_rusage]:
    """Copy the trainer's output until it has ended; returns its wait status and the resources it used."""
    os.set_blocking(reader, False)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    pid = 0
    while pid == 0:
        if poll.poll(POLL_MS) and not copy(reader, log):
            # Its output is closed, mostly because it has ended.
            _, status, usage = os.wait4(trainer, 0)
            return status, usage
        pid, status, usage = os.wait4(trainer, os.WNOHANG)
    # An orphan that goes on printing must not keep the end of its parent secret.
    deadline = time.monotonic() + DRAIN_S
    while poll.poll(0) and copy(reader, log) and time.monotonic() < deadline:
        pass
    return status, usage


def copy(reader: int, log: Log) -> bool:
    """Copy what is there; False at the end of the output."""
    data = os.read(reader, CHUNK)
    log.write(data)
    return bool(data)


def finish(spec: dict[str, Any], ended: dict[str, object]) -> None:
    """Record how the trainer ended, durably."""
    insist(
        lambda: replace(os.path.join(spec["run_dir"], "exit.json"), {**ended, "ended_at": time.time()}, durable=True)
    )


def insist(action: Callable[[], None]) -> None:
    """Do it until the disk lets us."""
    while True:
        try:
            action()
        except OSError:
            time.sleep(RETRY_S)
        else:
            return


def replace(path: str, content: dict[str, object], *, durable: bool) -> None:
    """Replace a file atomically."""
    temporary = path + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    os.rename(temporary, path)
    if durable:
        directory = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot: with its pid this names it for ever."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


class Log:
    """A size-capped log: when full it is renamed at a line's end, so that no line is torn or lost."""

    def __init__(self, path: str, bytes_max: int, files_kept: int) -> None:
        self.path, self.bytes_max, self.files_kept = path, bytes_max, files_kept
        self.dropped = 0
        self.pending = b""
        self.fd: int | None = None
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append whole lines; output that the disk refuses is counted and dropped, the trainer never waits for it."""
        data = self.pending + data
        cut = data.rfind(b"\n") + 1
        if cut == 0 and len(data) >= LINE_BYTES_MAX:
            cut = len(data)
        self.pending = data[cut:]
        if cut:
            self.append(data[:cut])

    def append(self, data: bytes) -> None:
        """Write to the file, in a new one when this one is full."""
        try:
            fd = self.open()
            if self.size > 0 and self.size + len(data) > self.bytes_max:
                self.rotate()
                fd = self.open()
            if self.dropped:
                note = f"[rlfleet: {self.dropped} bytes of output were lost to a full disk]\n".encode()
                self.size += os.write(fd, note)
                self.dropped = 0
            while data:
                written = os.write(fd, data)
                self.size += written
                data = data[written:]
        except OSError:
            self.dropped += len(data)

    def rotate(self) -> None:
        """Rename x.log to x.log.1, x.log.1 to x.log.2 ... and begin anew."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
        for number in range(self.files_kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.rename(self.path, f"{self.path}.1")

    def open(self) -> int:
        """Return the file's descriptor, opening it when need be."""
        if self.fd is None:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self.size = os.fstat(self.fd).st_size
        return self.fd

    def close(self) -> None:
        """Write what is left of a last line."""
        if self.pending:
            self.append(self.pending + b"\n")
            self.pending = b""


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
