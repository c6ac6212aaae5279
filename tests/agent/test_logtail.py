"""Reading logs that somebody else writes and rotates at the same time."""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path

import pytest

from rlagent import logtail
from rlagent.shim import Log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Pong.log"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(logtail, "_POLL_S", 0.002)


def numbered(first, end):
    return [b"line %d\n" % number for number in range(first, end)]


def rotate(path, kept=3):
    for number in range(kept - 1, -1, -1):
        newer = path.with_name(f"{path.name}.{number}") if number else path
        if newer.exists():
            newer.rename(path.with_name(f"{path.name}.{number + 1}"))


def append(path, lines):
    with path.open("ab") as file:
        file.write(b"".join(lines))


class Follower:
    """Steps through what follow yields."""

    def __init__(self, path, lines) -> None:
        self.chunks = logtail.follow(path, lines)

    def read(self) -> list[bytes]:
        """Return the lines up to the next moment with nothing new."""
        found = b""
        while chunk := next(self.chunks):
            found += chunk
        return found.splitlines(keepends=True)

    def read_all(self, moments=5) -> list[bytes]:
        """Return the lines of several such moments: one is passed at each change of files."""
        return [line for _ in range(moments) for line in self.read()]


def test_last_lines_of_one_file(path):
    append(path, numbered(0, 100))
    assert logtail.last_lines(path, 3) == numbered(97, 100)


def test_last_lines_go_on_in_rotated_files_in_order(path):
    for first in (0, 10, 20, 30):
        rotate(path)
        append(path, numbered(first, first + 10))
    assert logtail.last_lines(path, 25) == numbered(15, 40)
    assert logtail.last_lines(path, 1000) == numbered(0, 40)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_without_a_log_there_are_no_lines(path, count):
    assert logtail.last_lines(path, count) == []
    assert logtail.last_lines(path.parent / "missing" / "x.log", count) == []


def test_no_line_is_asked_for(path):
    append(path, numbered(0, 10))
    assert logtail.last_lines(path, 0) == []


def test_the_line_that_is_being_written_counts(path):
    append(path, [b"one\n", b"two"])
    assert logtail.last_lines(path, 1) == [b"two"]
    assert logtail.last_lines(path, 2) == [b"one\n", b"two"]


def test_lines_longer_than_a_chunk_stay_whole(path):
    long = b"x" * 200_000 + b"\n"
    append(path, [b"short\n", long, long, b"end\n"])
    assert logtail.last_lines(path, 3) == [long, long, b"end\n"]


def test_a_progress_bar_is_one_line(path):
    append(path, [b"start\n", b"\r10%\r20%\r100%\n", b"end\n"])
    assert logtail.last_lines(path, 2) == [b"\r10%\r20%\r100%\n", b"end\n"]


def test_lines_are_found_in_the_middle_of_a_rotation(path):
    append(path, numbered(0, 10))
    rotate(path)
    assert logtail.last_lines(path, 3) == numbered(7, 10)
    path.with_name("Pong.log.1").rename(path.with_name("Pong.log.2"))
    append(path, numbered(10, 12))
    assert logtail.last_lines(path, 4) == numbered(8, 12)


def test_another_games_files_are_not_taken_for_rotated_ones(path):
    append(path, numbered(0, 2))
    for name in ("Pong.log.old", "Pong.log.1.gz", "Pong.log.", "Pong.log2.1", "XPong.log.1"):
        (path.parent / name).write_bytes(b"not ours\n")
    assert logtail.last_lines(path, 10) == numbered(0, 2)


def test_follow_gives_the_last_lines_then_what_is_appended(path):
    append(path, numbered(0, 10))
    follower = Follower(path, 2)
    assert follower.read() == numbered(8, 10)
    append(path, numbered(10, 13))
    assert follower.read() == numbered(10, 13)


def test_follow_loses_nothing_that_comes_while_the_last_lines_are_being_shown(path):
    append(path, numbered(0, 10))
    follower = Follower(path, 3)
    assert next(follower.chunks) == b"line 7\n"
    append(path, numbered(10, 12))
    assert follower.read_all() == numbered(8, 12)


def test_follow_waits_for_a_log_that_does_not_exist_yet(path):
    follower = Follower(path, 5)
    timer = threading.Timer(0.05, append, (path, numbered(0, 3)))
    timer.start()
    found = []
    while len(found) < 3:
        found += follower.read()
    assert found == numbered(0, 3)
    timer.join()


def test_follow_goes_through_a_rotation(path):
    append(path, numbered(0, 10))
    follower = Follower(path, 1)
    assert follower.read() == numbered(9, 10)
    append(path, numbered(10, 12))
    rotate(path)
    assert follower.read_all() == numbered(10, 12)
    append(path, numbered(12, 15))
    assert follower.read_all() == numbered(12, 15)


def test_follow_goes_through_several_rotations_between_two_looks(path):
    append(path, numbered(0, 10))
    follower = Follower(path, 1)
    follower.read()
    for first in (10, 20, 30):
        rotate(path)
        append(path, numbered(first, first + 10))
    assert follower.read_all() == numbered(10, 40)


@pytest.mark.parametrize("rotations", [1, 2, 3, 7])
def test_follow_goes_through_rotations_that_come_while_it_looks_for_the_next_file(path, monkeypatch, rotations):
    """A reader that stands still between two files, as on a busy machine."""
    append(path, numbered(0, 10))
    follower = Follower(path, 1)
    follower.read()
    rotate(path, kept=20)
    append(path, numbered(10, 20))
    looks, real = [], logtail._add

    def slow(found, place) -> None:
        looks.append(place)
        if len(looks) == 2:
            for first in range(20, 20 + 10 * rotations, 10):
                rotate(path, kept=20)
                append(path, numbered(first, first + 10))
        real(found, place)

    with monkeypatch.context() as patched:
        patched.setattr(logtail, "_add", slow)
        found = follower.read_all(2)
    found += follower.read_all(rotations + 3)
    assert found == numbered(10, 20 + 10 * rotations)


def test_last_lines_are_in_order_though_rotations_come_meanwhile(path, monkeypatch):
    append(path, numbered(0, 10))
    rotate(path, kept=20)
    append(path, numbered(10, 20))
    looks, real = [], logtail._add

    def slow(found, place) -> None:
        looks.append(place)
        if len(looks) == 2:
            for first in (20, 30, 40):
                rotate(path, kept=20)
                append(path, numbered(first, first + 10))
        real(found, place)

    monkeypatch.setattr(logtail, "_add", slow)
    assert logtail.last_lines(path, 1000) == numbered(0, 40)  # the newest file is younger than the look


def test_follow_goes_on_with_the_oldest_when_its_own_file_was_rotated_away(path):
    append(path, numbered(0, 10))
    follower = Follower(path, 1)
    follower.read()
    for number, first in enumerate((10, 20, 30, 40)):
        rotate(path, kept=2)
        append(path, numbered(first, first + 10))
        os.utime(path, ns=(0, path.stat().st_mtime_ns + number + 1))
    assert follower.read_all() == numbered(20, 50)


def test_follow_does_not_repeat_rotated_files_when_somebody_deletes_the_log(path):
    for first in (0, 10):
        rotate(path)
        append(path, numbered(first, first + 10))
        os.utime(path, ns=(0, 1_700_000_000_000_000_000 + first))
    follower = Follower(path, 1)
    follower.read()
    path.unlink()
    append(path, numbered(20, 22))
    assert follower.read_all() == numbered(20, 22)


def same_time(path):
    """Let all files of a log have been written in the same instant, as on a coarse clock."""
    for file in path.parent.iterdir():
        os.utime(file, ns=(0, 1_700_000_000_000_000_000))


def test_follow_does_not_go_back_to_older_files_of_the_same_instant(path):
    for first in (0, 10):
        rotate(path)
        append(path, numbered(first, first + 10))
    follower = Follower(path, 1)
    follower.read()
    rotate(path)
    append(path, numbered(20, 30))
    same_time(path)
    assert follower.read_all() == numbered(20, 30)


def test_follow_goes_on_with_all_that_is_not_older_when_its_own_file_was_deleted(path):
    append(path, numbered(0, 10))
    same_time(path)
    follower = Follower(path, 1)
    follower.read()
    for first in (10, 20):
        rotate(path)
        append(path, numbered(first, first + 10))
    path.with_name("Pong.log.2").unlink()
    same_time(path)
    assert follower.read_all() == numbered(10, 30)


def test_follow_begins_anew_when_somebody_empties_the_log(path):
    append(path, numbered(0, 10))
    follower = Follower(path, 1)
    follower.read()
    path.write_bytes(b"")
    assert follower.read() == []
    append(path, numbered(10, 12))
    assert follower.read_all() == numbered(10, 12)


def test_follow_gets_each_line_once_from_a_busy_writer_that_rotates(path):
    """The real writer, many rotations a second, each file only a few looks long."""
    end = 60_000

    def write():
        log = Log(str(path), 20_000, 1000)
        for first in range(0, end, 50):
            log.write(b"".join(numbered(first, first + 50)))
        log.close()

    log = Log(str(path), 20_000, 1000)
    log.write(b"begin\n")
    log.close()
    follower = Follower(path, 1)
    assert follower.read() == [b"begin\n"]
    writer = threading.Thread(target=write)
    writer.start()
    data = b""
    while not data.endswith(b"line %d\n" % (end - 1)):
        data += next(follower.chunks)
    writer.join()
    assert data.splitlines(keepends=True) == numbered(0, end)


@pytest.fixture
def left_open():
    """Return a list of the files that nobody closed: the interpreter closes those with a warning."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        yield seen


def test_every_file_that_is_passed_is_closed(path, left_open):
    for first in (0, 10, 20):
        rotate(path)
        append(path, numbered(first, first + 10))
    assert len(logtail.last_lines(path, 15)) == 15
    follower = Follower(path, 15)
    assert follower.read_all() == numbered(15, 30)
    for first in (30, 40, 50):
        rotate(path, kept=9)
        append(path, numbered(first, first + 10))
    follower.read_all()
    rotate(path, kept=9)
    append(path, numbered(60, 70))
    assert follower.read_all() == numbered(60, 70)
    assert [str(warning.message) for warning in left_open] == []


def test_a_file_that_is_met_twice_is_taken_once_and_where_it_was_met_last(path, left_open):
    """As when it is renamed between two looks."""
    append(path, numbered(0, 1))
    append(path.with_name("other"), numbered(1, 2))
    found = []
    for place in (path, path.with_name("other"), path):
        logtail._add(found, place)
    assert [file.read() for file in found] == [b"line 1\n", b"line 0\n"]
    logtail.close_all(found)
    assert [file.closed for file in found] == [True, True]
    assert left_open == []


def test_a_follower_pauses_when_nothing_is_new(path, monkeypatch):
    append(path, numbered(0, 10))
    follower, slept = Follower(path, 1), []
    monkeypatch.setattr(logtail.time, "sleep", slept.append)
    follower.read_all(4)
    assert slept == [0.002] * 3


@pytest.mark.parametrize(("size", "count"), [(65_536, 1), (65_537, 1), (131_072, 2), (65_535, 3)])
def test_lines_are_found_whatever_their_place_among_the_chunks(path, size, count):
    """The last line's begin lies before, at and behind the end of what is read at once."""
    last = b"x" * (size - 1) + b"\n"
    append(path, [b"a\n", b"b\n", last])
    assert logtail.last_lines(path, count) == [b"a\n", b"b\n", last][-count:]


def test_numbers_of_rotated_files_are_looked_for_one_further(path):
    for name in ("Pong.log", "Pong.log.3", "Pong.log.x", "Pong.log.7.gz", "Qbert.log.9"):
        (path.parent / name).touch()
    assert logtail._numbers(path) == [0, 1, 3, 4]
    assert logtail._numbers(path.parent / "missing" / "x.log") == []


def test_follow_keeps_one_file_open(path):
    append(path, numbered(0, 10))
    follower = Follower(path, 30)
    for first in range(10, 100, 10):
        rotate(path)
        append(path, numbered(first, first + 10))
        follower.read_all()
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert len([name for name in held if name.startswith(str(path))]) == 1
    follower.chunks.close()
