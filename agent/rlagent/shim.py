"""A trainer's keeper: one small process for each trainer, that outlives the agent.

As containerd's shim and conmon do, it holds what must not end with the agent: the game's lock, the pipe that the
trainer prints into, and the wait for its exit status. Runs as a script under `python -I -S` with the standard library
only, so that it starts in milliseconds, stays small, and is not touched by an upgrade of the agent. Must not decide
anything: it doesn't restart, and it doesn't judge an exit.

    shim.py SPEC.json LOCK_FD

SPEC: attempt_id, boot, command, env, run_dir, log_path, log_bytes_max, log_files_kept. It writes into run_dir
`attempt.json` (who runs) and, when the trainer has ended, `exit.json` (how), each replaced atomically. If exit.json
can't be written (full disk) it tries again, holding the lock, until the disk lets it or the run directory is gone.
Meanwhile the record is in an unnamed file in memory, which the agent finds among this process's descriptors.
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
    from typing import Any

RETRY_S = 1.0
MEMORY_RECORD = "rlfleet-exit"
"""The name of the unnamed file, as /proc/PID/fd shows it after `/memfd:`."""
CHUNK = 65536
DRAIN_CHUNKS = 32
"""So much is read at most after the trainer's end: more than any pipe holds."""
LINE_BYTES_MAX = 65536
"""A line that goes on for longer than this past the end of a full file is split."""
KILL_ROUNDS = 20
OOM_SCORE_ADJ = "/proc/self/oom_score_adj"
KILL_PAUSE_S = 0.01
TERM_MEMORY_S = 300.0
"""A SIGTERM longer ago than this has nothing to do with the trainer's end."""
UNRUNNABLE = (errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.E2BIG)
NOT_FOUND, CANNOT_RUN, KEEPER_FAILED = 127, 126, 125
"""Exit codes for a trainer that never ran, as shells and container runtimes use them."""


def main(spec_path: str, lock_fd: int) -> None:
    """Keep one trainer; returns when its end is recorded."""
    os.set_inheritable(lock_fd, False)  # the trainer must not hold the lock
    give_up_protection()
    terminated: list[float] = []
    wakeup = catch_signals(terminated)
    with open(spec_path, encoding="utf-8") as file:
        spec = json.load(file)
    log = Log(spec["log_path"], spec["log_bytes_max"], spec["log_files_kept"])
    try:
        ended = keep(spec, log, wakeup)
    except Exception as error:  # noqa: BLE001  # a keeper that vanished would leave nobody to say why
        kill_session()
        ended = {"code": KEEPER_FAILED, "signal": None, "error": f"the keeper failed: {error!r}"}
    log.close()
    seen = bool(terminated) and time.monotonic() - terminated[-1] < TERM_MEMORY_S
    finish(spec["run_dir"], {"attempt_id": spec["attempt_id"], "sigterm_seen": seen, "error": None, **ended})
    log.close()  # on a disk that was full until now


def give_up_protection() -> None:
    """Be killed for memory like any process: the agent is protected, and that is inherited."""
    with contextlib.suppress(OSError, ValueError):
        with open(OOM_SCORE_ADJ, encoding="ascii") as file:
            is_protected = int(file.read()) < 0
        if is_protected:
            with open(OOM_SCORE_ADJ, "w", encoding="ascii") as file:
                file.write("0")


def catch_signals(terminated: list[float]) -> int:
    """Outlive what ends a session, remember SIGTERM; returns a descriptor that is readable after a child's signal."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: terminated.append(time.monotonic()))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    return reader


def keep(spec: dict[str, Any], log: Log, wakeup: int) -> dict[str, object]:
    """Run the trainer to its end; returns how it ended."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        trainer = spawn(spec, writer)
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        return not_run(spec["command"][0], error, log)
    finally:
        os.close(writer)
    # Without this record (full disk) the agent finds the trainer by its mark; the trainer must not wait for it.
    with contextlib.suppress(OSError):
        replace(os.path.join(spec["run_dir"], "attempt.json"), identity(spec, trainer), durable=False)
    copy_until_exit(trainer, reader, wakeup, log)
    kill_session()  # workers that outlived their parent must not hold its GPU or write its files
    drain(reader, log)
    _, status, usage = os.wait4(trainer, 0)
    return {
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "core": os.WIFSIGNALED(status) and os.WCOREDUMP(status),
        "max_rss_kib": usage.ru_maxrss,
    }


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


def not_run(program: str, error: OSError | ValueError, log: Log) -> dict[str, object]:
    """Say why the trainer could not be started; a moment's shortage is told from a wrong command by its code."""
    number = getattr(error, "errno", None)
    code = NOT_FOUND if number == errno.ENOENT else CANNOT_RUN
    if number is not None and number != errno.ENOENT and number not in UNRUNNABLE:
        code = KEEPER_FAILED
    reason = f"can't run {program}: {getattr(error, 'strerror', None) or error}"
    log.write(f"{reason}\n".encode(errors="replace"))
    return {"code": code, "signal": None, "error": reason}


def identity(spec: dict[str, Any], trainer: int) -> dict[str, object]:
    """Return what names this attempt's processes for ever: pid and start ticks within this boot."""
    return {
        "attempt_id": spec["attempt_id"],
        "boot": spec["boot"],
        "shim_pid": os.getpid(),
        "shim_ticks": int(stat_fields(os.getpid())[19]),
        "trainer_pid": trainer,
        "trainer_ticks": int(stat_fields(trainer)[19]),
        "started_at": time.time(),
    }


def copy_until_exit(trainer: int, reader: int, wakeup: int, log: Log) -> None:
    """Copy the trainer's output until it has ended; it stays a zombie, so that its pid stays its own."""
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    poll.register(reader, select.POLLIN)
    while os.waitid(os.P_PID, trainer, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, CHUNK)
        if reader in ready:
            data = os.read(reader, CHUNK)
            log.write(data)
            if not data:
                poll.unregister(reader)  # it has closed its output, mostly because it has ended


def drain(reader: int, log: Log) -> None:
    """Copy what the trainer left in the pipe, without waiting for others that still hold it."""
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(DRAIN_CHUNKS):
            data = os.read(reader, CHUNK)
            if not data:
                return
            log.write(data)


def kill_session() -> None:
    """Kill whatever else lives in this session; more than once, for what forks meanwhile."""
    for _ in range(KILL_ROUNDS):
        others = session_members()
        if not others:
            return
        for pid in others:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(KILL_PAUSE_S)


def session_members() -> list[int]:
    """Return the living processes of this session except this one."""
    own, found = os.getpid(), []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != own:
            with contextlib.suppress(OSError, IndexError):
                fields = stat_fields(int(name))
                if int(fields[3]) == own and fields[0] not in (b"Z", b"X"):
                    found.append(int(name))
    return found


def finish(run_dir: str, ended: dict[str, object]) -> None:
    """Record how the trainer ended, durably, however long the disk refuses."""
    record = {**ended, "ended_at": time.time()}
    told = False
    while True:
        try:
            replace(os.path.join(run_dir, "exit.json"), record, durable=True)
        except OSError:
            if not os.path.isdir(run_dir):
                return  # the run was deleted: nobody will ever ask
            told = told or tell_in_memory(record)
            time.sleep(RETRY_S)
        else:
            return


def tell_in_memory(record: dict[str, object]) -> bool:
    """Keep a record where no disk is needed, for as long as this process lives; whether that was possible."""
    try:
        fd = os.memfd_create(MEMORY_RECORD)
        os.write(fd, json.dumps(record).encode())
    except OSError:
        return False
    return True


def replace(path: str, content: dict[str, object], *, durable: bool) -> None:
    """Replace a file atomically. Raises OSError."""
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


def stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat after the program's name, the state first. Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


class Log:
    """A size-capped log: output is there at once, and goes on in a new file at a line's end only.

    `files_kept` full ones are kept as PATH.1 (the newest) and so on.
    """

    def __init__(self, path: str, bytes_max: int, files_kept: int) -> None:
        self.path, self.bytes_max, self.files_kept = path, bytes_max, files_kept
        self.fd: int | None = None
        self.line = 0
        """Bytes of the last line so far, 0 at a line's end."""
        self.dropped, self.refusal = 0, ""

    def write(self, data: bytes) -> None:
        """Append output; what the disk refuses is counted and dropped, the trainer never waits for it."""
        try:
            while data:
                data = data[self.append(data) :]
        except OSError as error:
            self.dropped += len(data)
            self.refusal = error.strerror or str(error)

    def append(self, data: bytes) -> int:
        """Write what belongs into the present file, or begin a new one; returns how much it took. Raises OSError."""
        fd = self.open()
        self.confess(fd)
        size = os.fstat(fd).st_size
        end = self.fitting(data, size)
        if end == 0:
            if self.line:
                self.put(fd, b"\n")
            self.rotate()
            return 0
        return self.put(fd, data[:end])

    def fitting(self, data: bytes, size: int) -> int:
        """Return how much belongs into a file of this size: all that fits, cut at a line's end."""
        room = max(0, self.bytes_max - size)
        if len(data) <= room:
            return len(data)
        whole_lines = data.rfind(b"\n", 0, room) + 1
        if whole_lines or (self.line == 0 and size > 0):
            return whole_lines
        rest_of_line = data.find(b"\n") + 1 or len(data)
        return 0 if self.line and self.line + rest_of_line > LINE_BYTES_MAX else rest_of_line

    def put(self, fd: int, data: bytes) -> int:
        """Write, and remember how long the last line is by now. Raises OSError."""
        written = os.write(fd, data)
        newline = data.rfind(b"\n", 0, written)
        self.line = self.line + written if newline < 0 else written - newline - 1
        return written

    def confess(self, fd: int) -> None:
        """Say how much was dropped, once there is space again. Raises OSError."""
        if self.dropped:
            start = "\n" if self.line else ""
            self.put(fd, f"{start}[rlfleet: {self.dropped} bytes of output were lost: {self.refusal}]\n".encode())
            self.dropped = 0

    def rotate(self) -> None:
        """Rename x.log to x.log.1, x.log.1 to x.log.2 ...: the next write begins anew. Raises OSError."""
        self.shut()
        for number in range(self.files_kept - 1, -1, -1):
            newer = f"{self.path}.{number}" if number else self.path
            with contextlib.suppress(FileNotFoundError):
                os.rename(newer, f"{self.path}.{number + 1}")

    def open(self) -> int:
        """Return the file's descriptor, anew when somebody deleted the file. Raises OSError."""
        if self.fd is not None:
            if os.fstat(self.fd).st_nlink:
                return self.fd
            self.shut()
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.fd, self.line = fd, 0
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            self.put(fd, b"\n")  # a keeper that was killed left half a line
        return fd

    def close(self) -> None:
        """End the last line, and say what was dropped."""
        if self.line or self.dropped:
            with contextlib.suppress(OSError):
                fd = self.open()
                self.confess(fd)
                if self.line:
                    self.put(fd, b"\n")

    def shut(self) -> None:
        """Release the file."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
