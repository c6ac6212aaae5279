"""Each fault as it is done to a running host. What follows from it stands in `catalogue`."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.target import FaultError, Target
from rlagent.oom import LOOK_EVERY_S

BALLAST = "ballast"
SMALL_DISK = 4 * 2**30
"""A larger disk is not filled: it may be somebody's."""
STAYS_FULL_S, FILL_S_MAX = 3.0, 30.0
FREEZE_S = 12.0
YEAR_S = 365 * 86400
_POLL_S = 0.01

Inject = Callable[[Target], None]


def send(number: signal.Signals) -> Inject:
    """A signal to the trainer."""
    return lambda target: os.kill(target.trainer, number)


def tell(word: str) -> Inject:
    """Something that only the trainer's own code can do."""
    return lambda target: target.tell(word)


def leak_until_killed(target: Target) -> None:
    """Put the trainer into a memory control group of its own, 64 MiB above what it has now, and let it leak."""
    pid = target.trainer
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    limit = resident + 64 * 2**20
    unified, old = Path("/sys/fs/cgroup/cgroup.controllers"), Path("/sys/fs/cgroup/memory")
    try:
        if old.is_dir():
            group, name = old / f"rlfleet-fault-{pid}", "memory.limit_in_bytes"
        elif unified.exists():
            group, name = unified.parent / f"rlfleet-fault-{pid}", "memory.max"
        else:
            raise FaultError("oom: no memory control groups here")
        group.mkdir()
        (group / name).write_text(str(limit))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise FaultError(f"oom: can't make a memory control group ({error}); this fault needs root") from error
    time.sleep(2 * LOOK_EVERY_S)  # the agent has seen where it is now
    target.tell("leak")


def damage(how: Callable[[Path], None]) -> Inject:
    """Spoil the newest checkpoint of rltrain and kill the trainer, so that it has to resume."""

    def inject(target: Target) -> None:
        pid, folder = target.trainer, target.run_dir / "checkpoints"
        freeze(pid)  # it must not write a newer one meanwhile
        found = sorted(folder.glob("ckpt-*.pt"))
        if not found:
            os.kill(pid, signal.SIGCONT)
            raise FaultError(f"{folder}: no checkpoint yet; wait for the first, it must be rltrain's")
        how(found[-1])
        os.kill(pid, signal.SIGKILL)

    return inject


def freeze(pid: int) -> None:
    """SIGSTOP to a process; returns when none of its threads does anything any more."""
    os.kill(pid, signal.SIGSTOP)
    while any(_state(task) not in ("T", "t", "Z", "") for task in Path(f"/proc/{pid}/task").glob("*")):
        time.sleep(_POLL_S)


def _state(task: Path) -> str:
    """Return the letter of a thread's state; nothing of one that is gone."""
    with contextlib.suppress(OSError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    return ""


def flip(path: Path) -> None:
    """Change bytes in the middle."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    path.write_bytes(content)


def truncate(path: Path) -> None:
    """Cut it in half."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """Leave nothing of it."""
    os.truncate(path, 0)


def read_only(target: Target) -> None:
    """Make the folder of checkpoints read-only where the trainer sees it; `heal` ends it."""
    folder = target.run_dir / "checkpoints"
    if os.geteuid() != 0:
        folder.chmod(0o500)
        return
    pid = target.trainer
    freeze(pid)  # a file that it opened for writing between the two would keep the folder busy
    try:
        for arguments in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
            subprocess.run(["nsenter", "-t", str(pid), "-m", "mount", *arguments], check=True)
    finally:
        os.kill(pid, signal.SIGCONT)


def fill_disk(target: Target) -> None:
    """Fill the disk that the state directory is on, if it is a small one; `heal` ends it."""
    disk = shutil.disk_usage(target.state_dir)
    if disk.total > SMALL_DISK:
        raise FaultError(f"{target.state_dir}: on a disk of {disk.total >> 30} GiB; only disks up to 4 GiB are filled")
    with (target.state_dir / BALLAST).open("wb", buffering=0) as file:
        # A checkpoint that is just being written gives its space back when it fails: full is what stays full.
        began = full_since = time.monotonic()
        while time.monotonic() < min(began + FILL_S_MAX, full_since + STAYS_FULL_S):
            if _fill(file) or _unfinished(target):
                full_since = time.monotonic()
            time.sleep(0.05)


def _fill(file: io.FileIO) -> int:
    """Write until there is no space; returns how many bytes that took."""
    before = file.tell()
    for size in (2**20, 4096, 1):
        with contextlib.suppress(OSError):
            while True:
                file.write(b"x" * size)
    return file.tell() - before


def _unfinished(target: Target) -> bool:
    """Whether a trainer is writing a checkpoint that holds space (not one that was given up: it stays till a start)."""
    for pid in target.trainers().values():
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                if handle.readlink().suffix == ".tmp" and handle.stat().st_blocks:
                    return True
    return False


def nvml(**values: object) -> Inject:
    """Change what the stand-in for NVIDIA's driver library says (tests/stubs/nvml)."""

    def inject(target: Target) -> None:
        script = target.variable("NVML_STUB_SCRIPT")
        if script is None:
            raise FaultError("nvml: the agent runs with the real driver; start it with tests/stubs/nvml for this fault")
        lines = [line for line in Path(script).read_text().splitlines() if line.partition(" ")[0] not in values]
        changed = [f"{key} {value}" for key, value in values.items()]
        temporary = Path(script).with_suffix(".new")
        temporary.write_text("\n".join([*lines, *changed]) + "\n")
        temporary.rename(script)

    return inject


def kill_agent(target: Target) -> None:
    """SIGKILL to the agent; systemd, cron or the next rlctl starts it again."""
    with agent_dead(target):
        pass


@contextlib.contextmanager
def agent_dead(target: Target) -> Iterator[None]:
    """Kill the agent, and hold its lock meanwhile: whoever starts another one has to try again later."""
    os.kill(target.agent, signal.SIGKILL)
    with target.paths.lock.open() as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_POLL_S)
            with contextlib.suppress(FaultError, ProcessLookupError):  # systemd may have been quicker
                os.kill(target.agent, signal.SIGKILL)
        yield


def freeze_agent(target: Target) -> None:
    """SIGSTOP to the agent for 12 s."""
    pid = target.agent
    os.kill(pid, signal.SIGSTOP)
    time.sleep(FREEZE_S)
    os.kill(pid, signal.SIGCONT)


def shift_clock(seconds: float) -> Inject:
    """Shift the wall clock that the agent sees (tests/lab/clock.c)."""

    def inject(target: Target) -> None:
        file = Path(target.variable("RLFLEET_CLOCK_SHIFT") or "/var/lib/lab-clock")
        if not file.exists():
            raise FaultError("clock: only hosts of the lab have a clock that can be shifted without hitting everybody")
        with file.open("r+b") as handle:
            handle.write(round(seconds * 1e9).to_bytes(8, "little", signed=True))

    return inject


def damage_journal(target: Target) -> None:
    """Kill the agent and overwrite the middle of its journal; all but its first page where the middle was unused."""
    with agent_dead(target):
        path = target.paths.journal
        files = [p for p in (path, path.with_name(path.name + "-wal")) if p.exists()]
        victim = max(files, key=lambda p: p.stat().st_size)
        size = victim.stat().st_size
        overwrite(victim, size // 3, size // 3)
        if is_whole(files):
            for file in files:
                overwrite(file, 4096, file.stat().st_size - 4096)


def overwrite(path: Path, start: int, length: int) -> None:
    """Put noise over a part of a file."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(os.urandom(max(0, length)))


def is_whole(files: list[Path]) -> bool:
    """Whether SQLite finds nothing wrong with a copy of a database, whose file comes first."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(shutil.copy(file, folder)) for file in files]
        try:
            with contextlib.closing(sqlite3.connect(copies[0])) as database:
                return bool(database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.Error:
            return False


def lose_journal(target: Target) -> None:
    """Kill the agent and remove its journal."""
    with agent_dead(target):
        for path in target.state_dir.glob("journal.sqlite3*"):
            path.unlink()


def heal(target: Target) -> None:
    """Take away what stays: the ballast, the read-only folder, the driver's script, the clock's shift."""
    (target.state_dir / BALLAST).unlink(missing_ok=True)
    for folder in target.paths.runs.glob("*/checkpoints"):
        for pid in target.trainers().values():
            # Lazily: the trainer may just be looking into it.
            command = ["nsenter", "-t", str(pid), "-m", "umount", "--lazy", folder]
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        folder.chmod(0o755)
    file = Path(target.variable("RLFLEET_CLOCK_SHIFT") or "/var/lib/lab-clock")
    if file.exists():
        shift_clock(0)(target)
