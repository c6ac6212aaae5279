"""Several logs as one stream: the order, the times, and places from which a reader goes on without losing a line."""

from __future__ import annotations

import os
import re
import time
import types

import pytest

from rlagent import logstream
from rlagent.logstream import choose, stamp, stream
from rlagent.protocol.logs import LogBeat, LogLine, LogNotice, LogStart


class Logs:
    """A folder of logs and a reader that comes and goes."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.places: dict[str, str] = {}

    def path(self, name: str):
        return self.folder / f"{name}.log"

    def write(self, name: str, *lines: str) -> None:
        with self.path(name).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def rotate(self, name: str) -> None:
        for number in range(5, -1, -1):
            newer = self.path(name).with_name(f"{name}.log.{number}") if number else self.path(name)
            if newer.exists():
                newer.rename(self.path(name).with_name(f"{name}.log.{number + 1}"))

    def records(self, *names: str, lines: int = 50) -> list:
        """Read all there is, as a reader that goes on from where it stopped, if it has been here before."""
        paths = {name: self.path(name) for name in names or ("Pong",)}
        found = list(stream(paths, lines, self.places, "uuid-1", follow=False, alive=lambda: True))
        for record in found:
            if isinstance(record, LogLine | LogStart):
                self.places[record.source] = record.place
        return found

    def texts(self, *names: str, lines: int = 50) -> list[str]:
        return [record.text for record in self.records(*names, lines=lines) if isinstance(record, LogLine)]


@pytest.fixture
def logs(tmp_path):
    return Logs(tmp_path)


def test_the_stream_says_who_speaks_and_where_each_log_begins(logs):
    logs.write("Pong", "one", "two")
    first, second, *rest = logs.records()
    assert (type(first), first.host_uuid) == (LogBeat, "uuid-1")
    assert abs(first.at - time.time()) < 60
    assert (type(second), second.source) == (LogStart, "Pong")
    assert [(record.source, record.text) for record in rest] == [("Pong", "one"), ("Pong", "two")]


@pytest.mark.parametrize(("count", "texts"), [(0, []), (1, ["5"]), (2, ["4", "5"]), (4, ["2", "3", "4", "5"])])
def test_the_last_lines_are_found_across_a_rotation(logs, count, texts):
    logs.write("Pong", "1", "2", "3")
    logs.rotate("Pong")
    logs.write("Pong", "4", "5")
    assert logs.texts(lines=count) == texts
    assert logs.texts() == []
    logs.write("Pong", "6")
    assert logs.texts() == ["6"]


def test_a_reader_goes_on_behind_its_place_once_whatever_happened_to_the_files(logs):
    logs.write("Pong", "1", "2")
    assert logs.texts() == ["1", "2"]
    logs.write("Pong", "3")
    logs.rotate("Pong")
    logs.write("Pong", "4")
    logs.rotate("Pong")
    logs.write("Pong", "5")
    assert logs.texts() == ["3", "4", "5"]
    assert logs.texts() == []


def test_a_log_that_comes_later_is_read_from_its_begin(logs):
    assert logs.texts() == []
    assert logs.places == {"Pong": ""}
    logs.write("Pong", "1")
    logs.rotate("Pong")
    logs.write("Pong", "2")
    found = logs.records()
    assert [record.text for record in found if isinstance(record, LogLine)] == ["1", "2"]
    assert not any(isinstance(record, LogNotice) for record in found)


def lost(found: list) -> list[str]:
    return [record.text for record in found if isinstance(record, LogNotice)]


@pytest.mark.parametrize("how", ["deleted", "emptied", "overwritten"])
def test_a_place_that_is_gone_is_said_and_the_oldest_line_that_is_left_comes_next(logs, how):
    logs.write("Pong", "1", "2")
    logs.texts()
    if how == "deleted":
        os.link(logs.path("Pong"), logs.folder / "keeps its inode")
        logs.path("Pong").unlink()
    elif how == "emptied":
        os.truncate(logs.path("Pong"), 0)
    else:
        logs.path("Pong").write_text("x\ny\n")
    logs.write("Pong", "3")
    found = logs.records()
    said = "Pong: lines may be missing: its log was rotated away or emptied in the meantime"
    assert lost(found) == [said]
    texts = [record.text for record in found if isinstance(record, LogLine)]
    assert texts == (["x", "y", "3"] if how == "overwritten" else ["3"])


def test_a_place_in_the_middle_of_a_longer_line_is_checked_by_its_last_64_bytes(logs):
    logs.write("Pong", "a" * 200)
    logs.texts()
    inode, offset, _, length = logs.places["Pong"].split(":")
    assert (int(inode), offset, length) == (logs.path("Pong").stat().st_ino, "201", "64")
    logs.write("Pong", "next")
    assert logs.texts() == ["next"]


def test_half_a_line_waits_for_its_end(logs):
    logs.path("Pong").write_bytes(b"whole\nha")
    assert logs.texts() == ["whole"]
    logs.write("Pong", "lf")
    assert logs.texts() == ["half"]


def test_the_last_line_of_a_file_that_was_rotated_without_its_end_is_one(logs):
    logs.path("Pong").write_bytes(b"whole\nhalf")
    logs.rotate("Pong")
    logs.write("Pong", "next")
    assert logs.texts() == ["whole", "half", "next"]


def test_bytes_that_are_no_text_are_shown_all_the_same(logs):
    logs.path("Pong").write_bytes(b"caf\xe9 \r50%\n")
    assert logs.texts() == ["caf\ufffd \r50%"]


def test_lines_of_several_logs_come_in_the_order_of_their_times(logs):
    logs.write("Pong", "2027-01-15T08:00:01Z a", "2027-01-15T08:00:04Z d")
    logs.write("agent", "2027-01-15T08:00:02Z b", "2027-01-15T08:00:03,5Z c")
    assert [text[-1] for text in logs.texts("Pong", "agent")] == ["a", "b", "c", "d"]


def test_a_line_without_a_time_has_that_of_the_one_before_and_never_goes_back(logs):
    logs.write("Pong", "begin", "2027-01-15T08:00:05Z x", "Traceback", "2027-01-15T08:00:01Z y")
    os.utime(logs.path("Pong"), (1000.0, 1000.0))
    at = [record.at for record in logs.records() if isinstance(record, LogLine)]
    assert at == [1000.0, 1_800_000_005.0, 1_800_000_005.0, 1_800_000_005.0]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2027-01-15T08:00:01Z x", 1_800_000_001.0),
        ("2027-01-15 08:00:01.5Z x", 1_800_000_001.5),
        ("2027-01-15 08:00:01,250Z", 1_800_000_001.25),
        ("2027-01-15T08:00:01.000001Z", 1_800_000_001.000001),
        ("2027-02-30T08:00:01Z no such day", None),
        ("2027-01-15", None),
        (" 2027-01-15T08:00:01Z", None),
        ("", None),
    ],
)
def test_the_time_that_a_line_begins_with(text, at):
    assert stamp(text) == at


def test_a_time_without_a_zone_is_the_host_s(monkeypatch):
    monkeypatch.setenv("TZ", "UTC+3")
    time.tzset()
    try:
        assert stamp("2027-01-15 05:00:01 x") == 1_800_000_001.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("wanted", "sources"),
    [
        ([], ["agent"]),
        (["agent"], ["agent"]),
        (["Pong"], ["Pong"]),
        (["P*"], ["Pong", "Pooyan"]),
        (["Pong", "agent", "P*"], ["Pong", "agent", "Pooyan"]),
        (["*"], ["MsPacman", "Pong", "Pooyan"]),
    ],
)
def test_sources_are_chosen_by_name_and_pattern_each_once(wanted, sources):
    assert choose(wanted, ["MsPacman", "Pong", "Pooyan"]) == sources


@pytest.mark.parametrize("wrong", ["pong", "X*", "agen?"])
def test_a_pattern_that_means_nothing_is_an_error(wrong):
    with pytest.raises(KeyError, match=re.escape(wrong)) as caught:
        choose(["Pong", wrong], ["MsPacman", "Pong"])
    assert caught.value.args == (wrong,)


class Following:
    """A reader that follows, under a clock of its own: each look costs a quarter of a second."""

    def __init__(self, logs, monkeypatch, looks: int) -> None:
        self.now, self.looks, self.script = 100.0, looks, {}
        clock = types.SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep, time=lambda: 5000.0 + self.now)
        monkeypatch.setattr(logstream, "time", clock)
        paths = {name: logs.path(name) for name in ("Pong", "agent")}
        self.stream = stream(paths, 50, {}, None, follow=True, alive=self.alive)

    def alive(self) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def sleep(self, seconds: float) -> None:
        assert seconds == 0.25
        self.now += seconds
        self.script.pop(self.looks, lambda: None)()

    def read(self) -> list:
        return [r.text if isinstance(r, LogLine) else type(r) for r in self.stream if not isinstance(r, LogStart)]


def test_a_follower_gets_what_comes_and_a_sign_of_life_every_two_seconds_until_nobody_reads(logs, monkeypatch):
    logs.write("Pong", "old")
    following = Following(logs, monkeypatch, looks=18)
    following.script = {15: lambda: logs.write("Pong", "new"), 3: lambda: logs.write("agent", "first")}
    # 18 looks from 100.0 to 104.25 s: one is alive at 102.0 and at 104.0.
    assert following.read() == [LogBeat, "old", "new", LogBeat, "first", LogBeat]


def test_what_comes_while_somebody_follows_came_just_now(logs, monkeypatch):
    following = Following(logs, monkeypatch, looks=3)
    following.script = {2: lambda: logs.write("Pong", "new")}
    found = [record for record in following.stream if isinstance(record, LogLine)]
    assert [(record.text, record.at) for record in found] == [("new", 5100.25)]


def test_a_follower_goes_through_a_rotation_and_an_emptied_log(logs, monkeypatch):
    logs.write("Pong", "1")
    following = Following(logs, monkeypatch, looks=8)

    def turn() -> None:
        logs.write("Pong", "2")
        logs.rotate("Pong")
        logs.write("Pong", "3")

    def empty() -> None:
        os.truncate(logs.path("Pong"), 0)

    following.script = {6: turn, 4: empty, 2: lambda: logs.write("Pong", "4")}
    assert following.read() == [LogBeat, "1", "2", "3", "4"]
