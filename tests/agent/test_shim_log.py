"""The shim's log: capped, rotated at line ends, no line lost, and a full disk that never stops the trainer."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from rlagent import shim


def contents(path: Path) -> list[bytes]:
    """Return the log's files, oldest first."""
    files = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, 100))]
    return [file.read_bytes() for file in reversed(files) if file.exists()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Pong.log"


def test_no_line_is_lost_or_torn_by_rotation_however_the_output_is_cut(path):
    source = random.Random(7)
    lines = [f"{n} {'x' * source.randrange(60)}\n".encode() for n in range(2000)]
    stream, log = b"".join(lines), shim.Log(str(path), 1000, 200)
    while stream:
        cut = source.randrange(1, 900)
        log.write(stream[:cut])
        stream = stream[cut:]
    log.close()
    files = contents(path)
    assert len(files) > 20
    assert b"".join(files) == b"".join(lines)
    assert all(file.endswith(b"\n") for file in files)
    assert max(len(file) for file in files) <= 1000 + 70


def test_files_are_filled_up_to_the_cap(path):
    log = shim.Log(str(path), 1000, 9)
    log.write(b"123456789\n" * 350)
    assert [len(file) for file in contents(path)] == [1000, 1000, 1000, 500]


@pytest.mark.parametrize(
    ("size", "line", "data", "fits"),
    [
        (0, 0, b"12345\n", 6),
        (0, 0, b"123456789\n", 10),
        (1, 0, b"12345678\n", 9),
        (2, 0, b"12345678\n", 0),
        (4, 0, b"12345\n", 6),
        (5, 0, b"12345\n", 0),
        (4, 0, b"12\n4567\n", 3),
        (4, 0, b"1\n3\n56\n8\n", 4),
        (10, 0, b"1\n", 0),
        (99, 0, b"1\n", 0),
        # A line that is longer than a file stays whole ...
        (0, 0, b"1234567890\n", 11),
        (0, 0, b"1234567890\n2\n", 11),
        (0, 0, b"1234567890", 10),
        (0, 0, b"12345678901", 11),
        (8, 3, b"xyz\nabc\n", 4),
        (10, 3, b"xyz", 3),
        (99, 3, b"xyz\n", 4),
        # ... up to 64 KiB of it.
        (99, 65_532, b"xyz\nabc\n", 4),
        (99, 65_533, b"xyz\nabc\n", 0),
        (99, 65_533, b"xyz", 3),
        (99, 65_534, b"xyz", 0),
        (8, 65_536, b"1\n", 2),
        (9, 65_536, b"1\n", 0),
    ],
)
def test_how_much_goes_into_a_file_of_ten_bytes(path, size, line, data, fits):
    log = shim.Log(str(path), 10, 3)
    log.line = line
    assert log.fitting(data, size) == fits


def test_the_length_of_the_last_line_is_known(path):
    log = shim.Log(str(path), 1000, 3)
    lengths = []
    for data in (b"abc", b"de", b"\n", b"f\ngh", b"\n\n"):
        log.write(data)
        lengths.append(log.line)
    assert lengths == [3, 5, 0, 2, 0]


@pytest.mark.parametrize("umask", [0o022, 0o000], ids=oct)
def test_it_is_for_its_user_alone(path, umask):
    before = os.umask(umask)
    try:
        shim.Log(str(path), 4, 2).write(b"one\ntwo\n")
    finally:
        os.umask(before)
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {
        "Pong.log": "0o600",
        "Pong.log.1": "0o600",
    }


def test_it_holds_one_descriptor_which_its_trainer_does_not_inherit(path):
    log = shim.Log(str(path), 4, 2)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208  # the kernel's view
    for _ in range(10):
        log.write(b"one\ntwo\n")
    log.path = str(path)
    path.unlink()
    log.write(b"one\n")
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1  # noqa: PTH208
    assert os.get_inheritable(log.fd) is False
    log.shut()
    assert (log.fd, os.listdir("/proc/self/fd")) == (None, before)  # noqa: PTH208
    log.shut()


def test_a_write_that_falls_short_goes_on_where_it_stopped(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(shim.os, "write", lambda fd, data: real(fd, data[:3]))
    log = shim.Log(str(path), 10, 9)
    log.write(b"12345678\nabcdefgh\n")
    log.close()
    assert contents(path) == [b"12345678\n", b"abcdefgh\n"]


def test_only_the_configured_number_of_files_is_kept(path):
    log = shim.Log(str(path), 100, 3)
    for n in range(100):
        log.write(f"{n:09}\n".encode())
    assert [file.split()[0] for file in contents(path)] == [b"000000060", b"000000070", b"000000080", b"000000090"]


def test_half_a_line_is_there_at_once(path):
    """As a progress bar leaves it for hours."""
    log = shim.Log(str(path), 1000, 3)
    log.write(b"\r 1%|#")
    assert path.read_bytes() == b"\r 1%|#"
    log.write(b"\r 2%|##")
    log.close()
    assert path.read_bytes() == b"\r 1%|#\r 2%|##\n"


def test_a_line_without_end_is_split_and_rotated(path):
    log = shim.Log(str(path), 100_000, 9)
    for _ in range(10):
        log.write(b"x" * shim.CHUNK)
    files = contents(path)
    assert b"".join(files).replace(b"\n", b"") == b"x" * shim.CHUNK * 10
    assert all(file.endswith(b"\n") for file in files[:-1])
    assert max(len(file) for file in files) <= 100_000 + shim.LINE_BYTES_MAX + shim.CHUNK


def test_a_line_longer_than_a_file_is_whole(path):
    log = shim.Log(str(path), 100, 9)
    log.write(b"first\n" + b"y" * 500 + b"\nlast\n")
    assert contents(path) == [b"first\n", b"y" * 500 + b"\n", b"last\n"]


def test_the_next_attempt_goes_on_in_the_same_file_on_a_line_of_its_own(path):
    path.write_bytes(b"torn by SIGKI")
    shim.Log(str(path), 1000, 3).write(b"next\n")
    assert path.read_bytes() == b"torn by SIGKI\nnext\n"


def test_a_deleted_or_emptied_log_begins_anew(path):
    log = shim.Log(str(path), 1000, 3)
    log.write(b"one\n")
    path.unlink()
    log.write(b"two\n")
    assert path.read_bytes() == b"two\n"
    os.truncate(path, 0)
    log.write(b"three\n")
    assert path.read_bytes() == b"three\n"


def test_a_full_disk_drops_output_counts_it_and_says_so_when_there_is_space(path, monkeypatch):
    log, full, real = shim.Log(str(path), 1000, 3), [], os.write

    def write(fd: int, data: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(shim.os, "write", write)
    log.write(b"kept, but not to its e")
    full.append(True)
    log.write(b"nd\n")
    log.write(b"x" * 10)
    full.clear()
    log.write(b"again\n")
    assert path.read_bytes() == (
        b"kept, but not to its e\n[rlfleet: 13 bytes of output were lost: No space left on device]\nagain\n"
    )


def test_what_was_dropped_last_is_told_at_the_end(path, monkeypatch):
    log = shim.Log(str(path / "missing" / "Pong.log"), 1000, 3)
    log.write(b"x" * 10)
    log.close()
    log.path = str(path)
    log.close()
    assert path.read_bytes() == b"[rlfleet: 10 bytes of output were lost: No such file or directory]\n"


def run(folder: Path, command: list[str], bytes_max: int, kept: int, prefix: tuple[str, ...] = ()) -> dict:
    """Run a trainer under a real shim and return its exit record."""
    spec = {
        "attempt_id": "host:Pong:1",
        "boot": "boot/1",
        "command": command,
        "env": {"PATH": os.environ["PATH"]},
        "run_dir": str(folder),
        "log_path": str(folder / "Pong.log"),
        "log_bytes_max": bytes_max,
        "log_files_kept": kept,
    }
    (folder / "launch.json").write_text(json.dumps(spec))
    with (folder / "lock").open("w") as lock:
        subprocess.run(
            [*prefix, sys.executable, "-I", "-S", shim.__file__, folder / "launch.json", str(lock.fileno())],
            pass_fds=(lock.fileno(),),
            start_new_session=True,
            check=True,
            timeout=120,
        )
    return json.loads((folder / "exit.json").read_text())


def test_a_flood_of_100_mb_stays_under_the_cap_and_ends_with_the_newest(tmp_path):
    command = ["/bin/sh", "-c", "yes 'the same line again and again' | head -c 100000000; echo; echo last; exit 3"]
    assert run(tmp_path, command, 1 << 20, 2)["code"] == 3
    files = contents(tmp_path / "Pong.log")
    assert (len(files), files[-1].splitlines()[-1]) == (3, b"last")
    assert max(len(file) for file in files) <= 1 << 20


def test_no_line_of_a_real_trainer_is_lost(tmp_path):
    code = "for n in range(200_000): print(n, 'x' * (n % 50))"
    assert run(tmp_path, [sys.executable, "-c", code], 1 << 18, 100)["code"] == 0
    files = contents(tmp_path / "Pong.log")
    assert len(files) > 20
    numbers = [int(line.split()[0]) for line in b"".join(files).splitlines()]
    assert numbers == list(range(200_000))


def test_the_last_words_of_a_killed_trainer_are_kept(tmp_path):
    code = "import os, sys; sys.stderr.write('x' * 60000 + '\\nlast words\\n'); os.kill(os.getpid(), 9)"
    assert run(tmp_path, [sys.executable, "-c", code], 1 << 20, 1)["signal"] == 9
    assert contents(tmp_path / "Pong.log")[0].splitlines()[-1] == b"last words"


def test_a_disk_that_refuses_never_blocks_the_trainer(tmp_path):
    """A limit on file sizes stands in for the full disk: write() fails in the same way."""
    command = ["/bin/sh", "-c", "yes x | head -c 10000000; exit 4"]
    ended = run(tmp_path, command, 1 << 30, 2, prefix=("prlimit", "--fsize=100000"))
    assert ended["code"] == 4
    assert (tmp_path / "Pong.log").stat().st_size == 100_000
