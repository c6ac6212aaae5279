"""Files of a run that must not stop it: metrics, progress, TensorBoard's events; and the folder with its lock."""

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlagent.protocol import progress
from rltrainer import atomic, metrics_file, progress_file, rundir, tensorboard
from rltrainer.errors import ConfigurationError, RunDirBusyError
from rltrainer.metrics_file import MetricsFile
from rltrainer.progress_file import ProgressFile
from rltrainer.rundir import RunDir
from rltrainer.tensorboard import Board


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_of_what_is_held_back_while_the_disk_is_full_the_newest_is_kept(tmp_path, monkeypatch):
    assert metrics_file.PENDING_MAX == 20_000
    monkeypatch.setattr(metrics_file, "PENDING_MAX", 3)
    said = []
    metrics = MetricsFile(tmp_path / "metrics.jsonl", 0, said.append)
    with monkeypatch.context() as full:
        full.setattr(metrics_file.os, "pwrite", no_room)
        for number in range(5):
            metrics.add("episode", episode=number)
            assert metrics.flush() == 0
    metrics.close()
    assert [each["episode"] for each in records(tmp_path / "metrics.jsonl")] == [2, 3, 4]
    assert said == ["metrics: can't write (No space left on device); trying again later, training goes on"]


def test_metrics_that_are_written_in_parts_are_whole_and_a_second_failure_is_said_again(tmp_path, monkeypatch):
    """Each call writes at most ten bytes; then none, then some, then none again."""
    said, pwrite = [], os.pwrite
    metrics = MetricsFile(tmp_path / "metrics.jsonl", 0, said.append)
    monkeypatch.setattr(metrics_file.os, "pwrite", lambda file, data, offset: pwrite(file, data[:10], offset))
    metrics.add("episode", episode=1)
    metrics.add("episode", episode=2)
    length = metrics.flush()
    assert length == (tmp_path / "metrics.jsonl").stat().st_size
    for number in (3, 4):
        with monkeypatch.context() as full:
            full.setattr(metrics_file.os, "pwrite", no_room)
            metrics.add("episode", episode=number)
            assert metrics.flush() == length
        length = metrics.flush()
    assert [each["episode"] for each in records(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert len(said) == 2


def test_a_sync_that_fails_is_said_and_costs_nothing_else(tmp_path, monkeypatch):
    said = []
    metrics = MetricsFile(tmp_path / "metrics.jsonl", 0, said.append)
    monkeypatch.setattr(metrics_file.os, "fsync", no_room)
    metrics.sync()
    assert len(said) == 1
    metrics.close()


def synced(monkeypatch, folder, *, durable):
    """What is synced in which order while a file is replaced, each with whether the new file is in its place."""
    seen = []
    monkeypatch.setattr(atomic.os, "fsync", lambda _: seen.append((folder / "file").exists()))
    atomic.replace(folder / "file", (b"one", b"two"), temporary=folder / "file.tmp", durable=durable)
    return seen


def test_what_must_survive_a_power_cut_is_synced_before_its_rename_and_its_folder_after_it(tmp_path, monkeypatch):
    assert synced(monkeypatch, tmp_path, durable=True) == [False, True]
    assert (tmp_path / "file").read_bytes() == b"onetwo"


def test_no_file_stays_open_however_many_are_replaced(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        atomic.replace(tmp_path / "file", (b"%d" % number,), temporary=tmp_path / "file.tmp", durable=True)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_need_not_is_not_synced(tmp_path, monkeypatch):
    assert synced(monkeypatch, tmp_path, durable=False) == []


def test_a_file_is_written_whole_though_the_system_takes_it_in_parts(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(atomic.os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    atomic.replace(tmp_path / "file", (b"a long part", b"", b"another"), temporary=tmp_path / "tmp", durable=False)
    assert (tmp_path / "file").read_bytes() == b"a long partanother"


def test_a_progress_file_is_not_synced_and_a_second_failure_is_said_again(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(atomic.os, "fsync", no_room)
    file = ProgressFile(tmp_path / "progress.json", said.append)
    for number in (1, 2):
        with monkeypatch.context() as full:
            full.setattr(atomic.os, "write", no_room)
            file.write(phase="training")
            file.write(phase="training")
        file.write(global_step=number)
    assert progress.decode((tmp_path / "progress.json").read_bytes()).global_step == 2
    told = f"progress: can't write {tmp_path / 'progress.json'} (No space left on device); training goes on unseen"
    assert said == [told, told]


def test_a_first_report_says_that_the_run_is_starting(tmp_path):
    file = ProgressFile(tmp_path / "progress.json", print)
    assert file.is_due()
    file.write()
    assert progress.decode((tmp_path / "progress.json").read_bytes()) == progress.Progress(
        global_step=0, frameskip=4, phase="starting", finished=False
    )
    assert not file.is_due()


def test_a_start_up_of_more_than_ten_minutes_looks_hung(tmp_path, monkeypatch):
    """The clock goes on by a minute with each look; the deadline is set by the first."""
    looks = iter(range(0, 10**6, 60))
    monkeypatch.setattr(progress_file, "time", SimpleNamespace(monotonic=lambda: float(next(looks))))
    monkeypatch.setattr(progress_file, "BEAT_S", 0.0)
    file, written = ProgressFile(tmp_path / "progress.json", print), []
    monkeypatch.setattr(file, "write", lambda: written.append(1))
    with file.beating():
        for thread in progress_file.threading.enumerate():
            if thread.name == "start-up heartbeat":
                thread.join(60)
    assert len(written) == 9


def test_a_farewell_that_cannot_be_written_is_said(tmp_path):
    said = []
    file = ProgressFile(tmp_path / "missing" / "progress.json", said.append)
    file.farewell()
    assert said == [
        "stop: asked to while starting up; nothing to save",
        f"progress: can't write {tmp_path / 'missing' / 'progress.json'} (No such file or directory)",
    ]


class Writer:
    """Stands in for TensorBoard's; fails when told."""

    def __init__(self, fault):
        self.fault, self.values, self.flushed, self.closed = fault, [], 0, False

    def add_scalar(self, name, value, step):
        if self.fault:
            raise self.fault
        self.values.append((name, value, step))

    def flush(self):
        if self.fault:
            raise self.fault
        self.flushed += 1

    def close(self):
        self.closed = True


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board on a clock, the writers that it opens, what it says."""
    said, writers, clock = [], [], SimpleNamespace(now_s=100.0)
    monkeypatch.setattr(tensorboard, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    board = Board(tmp_path, 640, said.append)
    monkeypatch.setattr(board, "_open", lambda: writers.append(Writer(board.fault)) or writers[-1])
    board.fault = None
    return board, writers, said, clock


def test_after_a_fault_events_are_dropped_for_a_minute_and_then_written_to_a_new_file(board):
    charts, writers, said, clock = board
    charts.add({"a": 1.0, "b": 2.0}, 64)
    writers[0].fault = OSError("full")
    charts.add({"a": 3.0}, 128)
    assert said == ["tensorboard: no events for 60 s (full)"]
    clock.now_s += 59.9
    charts.add({"a": 4.0}, 192)
    assert len(writers) == 1
    clock.now_s += 0.1
    charts.add({"a": 5.0}, 256)
    assert [writer.values for writer in writers] == [[("a", 1.0, 64), ("b", 2.0, 64)], [("a", 5.0, 256)]]
    assert len(said) == 1


def test_a_flush_that_fails_is_a_fault_like_any_other_and_none_is_tried_without_a_file(board):
    charts, writers, said, _ = board
    charts.flush()
    charts.close()
    charts.add({"a": 1.0}, 64)
    charts.flush()
    assert writers[0].flushed == 1
    writers[0].fault = OSError("full")
    charts.flush()
    assert said == ["tensorboard: no events for 60 s (full)"]
    charts.close()
    assert not writers[0].closed


def test_closing_flushes_and_closes_the_file(board):
    charts, writers, _, _ = board
    charts.add({"a": 1.0}, 64)
    charts.close()
    assert (writers[0].flushed, writers[0].closed) == (1, True)


@pytest.mark.parametrize(("global_step", "purged_from"), [(0, 0), (640, 641)])
def test_events_after_the_point_that_a_run_goes_on_from_are_purged(tmp_path, monkeypatch, global_step, purged_from):
    import torch.utils.tensorboard  # noqa: PLC0415 - seconds

    opened = []
    monkeypatch.setattr(
        torch.utils.tensorboard, "SummaryWriter", lambda folder, **options: opened.append((folder, options))
    )
    Board(tmp_path, global_step, print)._open()
    assert opened == [(str(tmp_path), {"purge_step": purged_from, "flush_secs": 10})]


def test_a_folder_belongs_to_one_trainer_and_says_to_which(tmp_path):
    run_dir = RunDir(tmp_path / "deep" / "run")
    lock = run_dir.take()
    assert run_dir.checkpoints.is_dir()
    assert (run_dir.root / ".lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(RunDirBusyError, match=rf"in use by another rltrain \(PID {os.getpid()}\); stop it first"):
        run_dir.take()
    os.close(lock)
    os.close(run_dir.take())


def test_the_number_of_an_owner_before_is_not_left_in_the_lock(tmp_path):
    (tmp_path / ".lock").write_text("1234567890123\n")
    os.close(RunDir(tmp_path).take())
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_full_disk_does_not_keep_a_trainer_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir.os, "pwrite", no_room)
    os.close(RunDir(tmp_path).take())


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG]
)
def test_a_folder_that_can_never_be_written_is_a_configuration_error(tmp_path, monkeypatch, number):
    def fault(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(rundir.os, "open", fault)
    with pytest.raises(ConfigurationError) as error:
        RunDir(tmp_path).take()
    assert str(error.value) == (
        f"--run-dir {tmp_path}: can't write there ({os.strerror(number)}: {tmp_path / '.lock'}); name another folder"
    )


def test_a_full_disk_may_have_room_again(tmp_path, monkeypatch):
    monkeypatch.setattr(rundir.os, "open", no_room)
    with pytest.raises(OSError, match="No space left"):
        RunDir(tmp_path).take()


def test_metrics_are_set_aside_under_the_first_free_number(tmp_path):
    run_dir = RunDir(tmp_path)
    assert run_dir.set_metrics_aside() == tmp_path / "metrics.1.jsonl"
    assert list(tmp_path.iterdir()) == []
    for number in (1, 2):
        run_dir.metrics.write_text(f"{number}")
        assert run_dir.set_metrics_aside() == tmp_path / f"metrics.{number}.jsonl"
    left = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert left == {"metrics.1.jsonl": "1", "metrics.2.jsonl": "2"}
