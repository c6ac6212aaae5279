"""Heartbeats: what counts as progress, as a stall, as a hang; and files that are no reports. Time is passed in."""

from __future__ import annotations

import json
import os

import pytest

from rlagent.probe.progress import Heartbeat


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.json"


def report(path, step: int, **more) -> None:
    put(path, json.dumps({"global_step": step, **more}).encode())


def put(path, content: bytes) -> None:
    """Replace the file, as trainers do: one that is written over may show the time of the last write."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def steady(path, until: int, every: int = 1) -> Heartbeat:
    """Return the heartbeat of an attempt that reported a new step every so many seconds until an instant."""
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    for now in range(1, until + 1):
        if now % every == 0:
            report(path, now)
        heartbeat.look(now)
    return heartbeat


def looks(heartbeat: Heartbeat, start: int, end: int) -> None:
    for now in range(start, end + 1):
        heartbeat.look(now)


def test_only_a_growing_step_count_is_progress(path):
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    seen = []
    for now, step in enumerate((100, 100, 101, 101, 90, 95, 102), start=1):
        report(path, step)
        seen.append(heartbeat.look(now))
    assert seen == [False, False, True, False, False, True, True]


def test_the_last_attempts_file_is_shown_but_is_no_progress_of_this_one(path):
    report(path, 500)
    heartbeat = Heartbeat(path)
    heartbeat.begin(10)
    assert (heartbeat.last.global_step, heartbeat.look(11), heartbeat.silent_s(12)) == (500, False, 2)
    report(path, 500, sps=1.0)
    assert heartbeat.look(13) is False  # what the checkpoint had
    report(path, 501)
    assert heartbeat.look(14) is True


def test_an_unchanged_file_is_not_read_again(path):
    report(path, 1)
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    stat = path.stat()
    path.write_text(json.dumps({"global_step": 7}))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert heartbeat.look(1) is False
    assert heartbeat.last.global_step == 1


def test_a_stall_is_three_usual_intervals_and_five_seconds_at_least(path):
    heartbeat = steady(path, until=60, every=10)
    looks(heartbeat, 61, 90)
    assert (heartbeat.is_stalled(90), heartbeat.is_stalled(90.1)) == (False, True)
    heartbeat = steady(path, until=20)
    assert (heartbeat.is_stalled(25), heartbeat.is_stalled(25.1)) == (False, True)


def test_a_hang_is_five_usual_intervals_and_the_timeout_at_least(path):
    heartbeat = steady(path, until=200, every=10)
    looks(heartbeat, 201, 260)
    assert [heartbeat.is_hung(now, 30, 900) for now in (250, 250.1)] == [False, True]
    assert [heartbeat.is_hung(now, 300, 900) for now in (499, 500.1)] == [False, True]


def test_before_the_first_new_step_the_start_timeout_holds(path):
    heartbeat = Heartbeat(path)
    report(path, 500)
    heartbeat.begin(100)
    looks(heartbeat, 101, 1000)
    assert [heartbeat.is_hung(now, 30, 900) for now in (1000, 1000.1)] == [False, True]
    assert heartbeat.is_stalled(1000.1) is False


def test_a_slow_start_is_not_the_usual_interval(path):
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    report(path, 0)
    looks(heartbeat, 1, 600)
    for now in range(601, 606):
        report(path, now)
        heartbeat.look(now)
    assert heartbeat.is_hung(605 + 30.1, 30, 900) is True


def test_reports_without_new_steps_do_not_put_off_a_hang(path):
    heartbeat = steady(path, until=10)
    for now in range(11, 50):
        report(path, 10, sps=float(now))
        heartbeat.look(now)
    assert heartbeat.is_hung(50, 30, 900) is True


def test_time_in_which_nobody_looked_is_no_silence(path):
    """A paused container: agent and trainers stand still together, and the clock goes on."""
    heartbeat = steady(path, until=20)
    heartbeat.look(1020)
    assert heartbeat.is_hung(1020, 30, 900) is False
    assert heartbeat.is_stalled(1020) is False
    looks(heartbeat, 1021, 1060)
    assert heartbeat.is_hung(1060, 30, 900) is True


def test_a_pause_before_the_first_step_is_no_silence_either(path):
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    looks(heartbeat, 1, 10)
    heartbeat.look(2000)
    assert heartbeat.is_hung(2000, 30, 900) is False


def test_a_slow_tick_still_finds_a_hang(path):
    heartbeat = steady(path, until=10)
    for now in range(70, 800, 60):
        heartbeat.look(now)
    assert heartbeat.is_hung(800, 300, 900) is True


def test_turns_out_of_turn_do_not_hide_a_hang(path):
    """With a slow tick each other trainer's end makes a short pause, the next usual one is no blindness."""
    heartbeat = steady(path, until=10)
    now = 10.0
    while now < 800:
        heartbeat.look(now + 0.1)
        heartbeat.look(now + 10.1)
        now += 10.1
    assert heartbeat.is_hung(now, 300, 900) is True


def test_a_second_freeze_soon_after_the_first_is_no_silence_either(path):
    heartbeat = steady(path, until=20)
    for now in (1020, 1021, 1022, 1023, 3000):
        heartbeat.look(now)
    assert heartbeat.is_hung(3000, 30, 900) is False


def test_a_trainer_that_was_told_to_end_says_so_until_its_next_attempt(path):
    heartbeat = steady(path, until=10)
    assert heartbeat.said_stopping is False
    report(path, 10, phase="stopping", finished=False)
    heartbeat.look(11)
    assert heartbeat.said_stopping is True
    heartbeat.begin(12)
    assert heartbeat.said_stopping is False
    report(path, 10, phase="starting")
    heartbeat.look(13)
    assert heartbeat.said_stopping is False


def test_an_agent_that_takes_over_hears_the_last_word_of_a_trainer_that_ended_meanwhile(path):
    report(path, 10, phase="stopping", finished=False)
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    assert heartbeat.said_stopping is True
    heartbeat.begin(1)
    assert heartbeat.said_stopping is False


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "Input data was truncated"),
        (b'{"global_step": 12', "Input data was truncated"),
        (b"\xff\xfe garbage", "malformed"),
        (b"[1, 2]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `global_step`"),
        (b'{"global_step": "12"}', "Expected `int`, got `str`"),
        (b'{"global_step": 12, "x": ' + b"[" * 60000, "not a progress report"),
        (b'{"global_step": 12}' + b" " * 70000, "larger than 65536 bytes"),
        (b'{"global_step": -1}', "global_step must be between 0 and 2**53"),
        (b'{"global_step": 1' + b"0" * 300 + b"}", "not a progress report"),
        (b'{"global_step": 12, "frameskip": 0}', "frameskip must be between 1 and 1000"),
        (b'{"global_step": 9007199254740993}', "global_step must be between 0 and 2**53"),
        (b'{"global_step": 12, "frameskip": 1001}', "frameskip must be between 1 and 1000"),
        (b'{"global_step": 12}' + b" " * (65537 - 19), "larger than 65536 bytes"),
        (
            b'{"global_step": 12, "checkpoint": {"global_step": 9007199254740993, "saved_at": 1.0}}',
            "checkpoint.global_step must be between 0 and 2**53",
        ),
        (
            b'{"global_step": 12, "checkpoint": {"global_step": -3, "saved_at": 1.0}}',
            "checkpoint.global_step must be between 0 and 2**53",
        ),
    ],
)
def test_what_is_no_report_is_no_heartbeat_and_gives_a_warning(path, content, fault):
    heartbeat = steady(path, until=10)
    put(path, content)
    assert heartbeat.look(11) is False
    assert heartbeat.last.global_step == 10
    assert heartbeat.warning.startswith(f"{path}: not a progress report: ")
    assert fault in heartbeat.warning
    looks(heartbeat, 12, 50)
    assert heartbeat.is_hung(50, 30, 900) is True
    report(path, 11)
    assert (heartbeat.look(51), heartbeat.warning) == (True, None)


@pytest.mark.parametrize(
    "content",
    [
        b'{"global_step": 0}',
        b'{"global_step": 9007199254740992}',
        b'{"global_step": 1, "frameskip": 1}',
        b'{"global_step": 1, "frameskip": 1000}',
        b'{"global_step": 12, "checkpoint": {"global_step": 0, "saved_at": 1.0}}',
        b'{"global_step": 12, "checkpoint": {"global_step": 9007199254740992, "saved_at": 1.0}}',
        b'{"global_step": 12}' + b" " * (65536 - 19),
    ],
    ids=lambda content: content[:60].decode(),
)
def test_a_report_that_meets_a_limit_exactly_is_one(path, content):
    put(path, content)
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    assert (heartbeat.warning, heartbeat.last is not None) == (None, True)


def test_the_usual_interval_is_the_median_of_the_last_twenty_and_the_start_is_none(path):
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    at, step = 50, 0
    looks(heartbeat, 1, 49)

    def reports(count: int, every: int) -> float:
        """Return by how many usual intervals silence is a hang, in seconds."""
        nonlocal at, step
        for _ in range(count):
            at, step = at + every, step + 1
            looks(heartbeat, at - every + 1, at - 1)
            report(path, step)
            heartbeat.look(at)
        return heartbeat.hangs_in_s(at, 1, 1)

    assert reports(1, 3) == -52.0  # only the base: this attempt has not taken a step yet
    assert reports(1, 3) == 1.0  # the first new step is the start-up
    assert reports(1, 3) == 15.0
    assert reports(2, 9) == 45.0
    assert reports(10, 2) == 10.0
    assert reports(20, 4) == 20.0


@pytest.mark.parametrize(("pause_s", "counts"), [(5.0, True), (5.1, False)])
def test_a_pause_of_five_seconds_is_no_blindness_yet(path, pause_s, counts):
    """The pause before it was one second: five times as much, and five seconds at least, are the limit."""
    heartbeat = steady(path, until=10)
    heartbeat.look(10 + pause_s)
    silent_s = heartbeat.silent_s(10 + pause_s)
    assert silent_s == pytest.approx(pause_s if counts else 1.0)


@pytest.mark.parametrize(("pause_s", "counts"), [(50.0, True), (50.1, False)])
def test_with_a_slow_tick_five_of_its_pauses_are_the_limit(path, pause_s, counts):
    heartbeat = steady(path, until=10)
    for now in (12, 17, 27):
        heartbeat.look(now)
    heartbeat.look(27 + pause_s)
    assert heartbeat.silent_s(27 + pause_s) == pytest.approx(17 + (pause_s if counts else 10.0))


def test_a_start_is_excused_for_a_pause_too_and_its_silence_is_counted_on(path):
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    for now in (1, 2, 3, 1003, 1004):
        heartbeat.look(now)
    assert heartbeat.silent_s(1004) == 5.0
    assert heartbeat.hangs_in_s(1004, 300, 600) == 595.0


def test_a_pause_teaches_up_to_twice_the_last_one_or_five_seconds(path):
    """One that was not usual hides no later one: after it the limit is at most ten times the pause before it."""
    heartbeat = steady(path, until=10)
    heartbeat.look(1000)  # teaches 5 s: the next limit is 25 s
    silent_s = heartbeat.silent_s(1000)
    heartbeat.look(1025)
    assert heartbeat.silent_s(1025) == silent_s + 25
    other = steady(path.with_name("other"), until=10)
    other.look(1000)
    other.look(1025.1)
    assert other.silent_s(1025.1) == pytest.approx(silent_s + 5.0)


def test_silence_on_a_full_disk_counts_only_as_far_as_the_pause_does(path):
    heartbeat = steady(path, until=10)
    heartbeat.look(12, disk_full=True)
    heartbeat.look(13)
    assert heartbeat.hangs_in_s(13, 300, 600) == 299.0
    heartbeat.begin(20)
    assert heartbeat.hangs_in_s(20, 300, 600) == 600.0


def test_without_a_step_there_is_no_stall_however_long_the_silence(path):
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    looks(heartbeat, 1, 500)
    assert heartbeat.is_stalled(500) is False


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_never_blocks(path, make):
    make(path)
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    assert heartbeat.look(1) is False
    assert heartbeat.warning == f"{path}: not a progress report: not a file"


def test_silence_on_a_full_disk_is_a_stall_but_never_a_hang(path):
    heartbeat = steady(path, until=10)
    for now in range(11, 1011):
        heartbeat.look(now, disk_full=True)
    assert heartbeat.is_stalled(1010)
    assert heartbeat.hangs_in_s(1010, 300, 600) == 300
    looks(heartbeat, 1011, 1310)  # there is room again
    assert not heartbeat.is_hung(1310, 300, 600)
    heartbeat.look(1311)
    assert heartbeat.is_hung(1311, 300, 600)


def test_a_step_after_a_full_disk_forgets_its_silence(path):
    heartbeat = steady(path, until=10)
    for now in range(11, 111):
        heartbeat.look(now, disk_full=True)
    report(path, 111)
    assert heartbeat.look(111)
    assert heartbeat.hangs_in_s(112, 300, 600) == 299


def test_a_host_that_was_frozen_with_a_full_disk_is_excused_once(path):
    heartbeat = steady(path, until=10)
    heartbeat.look(1010, disk_full=True)
    assert heartbeat.hangs_in_s(1010, 300, 600) == 300


def test_an_unreadable_file_and_a_missing_one(path, tmp_path):
    heartbeat = Heartbeat(path)
    heartbeat.begin(0)
    assert (heartbeat.look(1), heartbeat.last, heartbeat.warning) == (False, None, None)
    path.symlink_to(path)
    assert (heartbeat.look(2), heartbeat.last) == (False, None)
