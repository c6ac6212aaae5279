"""Checkpoint files and the store: whole, damaged, too many, no room."""

import hashlib
import json
import resource
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from rltrainer import checkpoint_file, verify
from rltrainer.checkpoint_file import Header
from rltrainer.checkpoint_store import CheckpointStore
from rltrainer.checkpointer import Checkpointer, Shot
from rltrainer.errors import ConfigurationError, DamagedCheckpointError
from rltrainer.rundir import RunDir
from rltrainer.tally import Tally

PAYLOAD = bytes(range(256)) * 40


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    folder = RunDir(tmp_path).checkpoints
    folder.mkdir()
    return CheckpointStore(folder, 3, said.append)


def save(store, step):
    tally = Tally(global_step=step, episodes=step // 100, recent_returns=[-21.0])
    header = Header(game="pong", written_by="1", saved_at=1.0, tally=tally, metrics_offset=step * 2)
    return store.save(header, b"games", PAYLOAD)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@contextmanager
def files_limited_to(size):
    """A disk that is full after so many bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_is_read_back_as_it_was_written(store):
    written = save(store, 512)
    assert written.path.name == "ckpt-000000000512.pt"
    assert store.newest() == written


def test_without_checkpoints_there_is_no_newest(store):
    assert (store.newest(), store.has_damaged()) == (None, False)


def test_the_newest_three_are_kept(store):
    for step in (100, 200, 300, 400, 500):
        save(store, step)
    assert names(store.folder) == ["ckpt-000000000300.pt", "ckpt-000000000400.pt", "ckpt-000000000500.pt"]


def test_older_checkpoints_are_given_up_when_they_take_too_much_disk(store, tmp_path):
    """25 KiB hold two of these; less than one is still one."""
    for disk_mib, expected in ((25 / 1024, 2), (1 / 1024, 1)):
        limited = CheckpointStore(store.folder, 3, print, disk_mib=disk_mib)
        for step in (100, 200, 300, 400):
            save(limited, step)
        assert names(store.folder) == ["ckpt-000000000300.pt", "ckpt-000000000400.pt"][-expected:]


def truncated(content):
    return content[: len(content) // 2]


def cut_in_first_line(content):
    return content[:10]


def empty(_content):
    return b""


def zeros(content):
    return bytes(len(content))


def appended(content):
    return content + b"x"


@pytest.mark.parametrize("damage", [truncated, cut_in_first_line, empty, zeros, appended])
def test_a_damaged_newest_is_quarantined_and_the_one_before_is_used(store, said, damage):
    older, newest = save(store, 100), save(store, 200)
    newest.path.write_bytes(damage(newest.path.read_bytes()))
    assert store.newest() == older
    assert names(store.quarantine) == [newest.path.name]
    assert names(store.folder) == [older.path.name]
    assert len(said) == 1
    assert f"QUARANTINE: {newest.path.name} is damaged" in said[0]


def test_no_flipped_bit_is_overlooked(store):
    """Each of 400 single-bit errors, most of them in the first line and the header, is found."""
    path = save(store, 100).path
    content = path.read_bytes()
    for place in [*range(300), *range(300, len(content), len(content) // 100)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises((DamagedCheckpointError, ConfigurationError)):
            checkpoint_file.read(path)


@pytest.mark.parametrize(
    "first",
    [
        b"rlfleet-checkpoint 2 %(sum)s",
        b"rlfleet-checkpoint 2 %(sum)s %(size)d more",
        b"rlfleet-checkpoint two %(sum)s %(size)d",
        b"rlfleet-checkpoint 2 %(sum)s -%(size)d",
        b"another-checkpoint 2 %(sum)s %(size)d",
        b"rlfleet-checkpoint 2 %(sum)s  %(size)d",
    ],
)
def test_a_first_line_of_another_form_is_damage(store, first):
    """Too few words, too many, no numbers where there should be some, another name."""
    path = save(store, 100).path
    line, _, body = path.read_bytes().partition(b"\n")
    _, _, checksum, size = line.split()
    path.write_bytes(first % {b"sum": checksum, b"size": int(size)} + b"\n" + body)
    with pytest.raises(DamagedCheckpointError, match="does not begin like a checkpoint"):
        checkpoint_file.read(path)


def test_a_file_without_a_line_is_damaged(store):
    path = save(store, 100).path
    path.write_bytes(path.read_bytes().partition(b"\n")[0])
    with pytest.raises(DamagedCheckpointError, match="does not begin like a checkpoint"):
        checkpoint_file.read(path)


def test_a_file_says_of_itself_its_format_checksum_and_length(store):
    content = save(store, 100).path.read_bytes()
    line, _, body = content.partition(b"\n")
    assert line.split() == [b"rlfleet-checkpoint", b"2", hashlib.sha256(body).hexdigest().encode(), b"%d" % len(body)]
    head, _, rest = body.partition(b"\n")
    assert rest == b"games" + PAYLOAD
    assert json.loads(head) == {
        "game": "pong", "written_by": "1", "saved_at": 1.0, "metrics_offset": 200, "frameskip": 4, "bf16": None,
        "envs_bytes": 5,
        "tally": {"global_step": 100, "iteration": 0, "episodes": 1, "recent_returns": [-21.0], "best_return": None},
    }  # fmt: skip


def test_a_whole_file_with_a_header_of_something_else_is_a_configuration_error(store):
    path = save(store, 100).path
    body = b'{"game": "pong"}\n' + PAYLOAD
    first = b"rlfleet-checkpoint 2 %s %d\n" % (hashlib.sha256(body).hexdigest().encode(), len(body))
    path.write_bytes(first + body)
    with pytest.raises(ConfigurationError, match="whole, but its header is not this rltrain's"):
        store.newest()
    assert names(store.folder) == [path.name]


def test_of_damaged_checkpoints_the_newest_three_are_kept_as_well(store):
    for step in (100, 200, 300, 400):
        save(store, step).path.write_bytes(b"")
        assert store.newest() is None
    assert names(store.quarantine) == [f"ckpt-000000000{step}.pt" for step in (200, 300, 400)]


def test_when_all_are_damaged_there_is_no_newest_but_it_is_known(store):
    for step in (100, 200):
        save(store, step).path.write_bytes(b"")
    assert (store.newest(), store.has_damaged()) == (None, True)


def test_a_checkpoint_of_a_newer_format_is_refused_and_left_alone(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_file, "FORMAT", 3)
        save(store, 100)
    with pytest.raises(ConfigurationError, match=r"written by a newer rltrain \(format 3, this one reads 2\)"):
        store.newest()
    assert names(store.folder) == ["ckpt-000000000100.pt"]


def test_no_room_leaves_the_older_checkpoints_and_no_temporary_file(store):
    older = save(store, 100)
    with files_limited_to(4096), pytest.raises(OSError, match="File too large"):
        save(store, 200)
    assert names(store.folder) == [older.path.name]
    assert store.newest() == older


def test_what_a_killed_trainer_left_unfinished_is_removed(store, said):
    save(store, 100)
    (store.folder / "ckpt-000000000200.pt.tmp").write_bytes(b"half")
    store.remove_stale_temporaries()
    assert names(store.folder) == ["ckpt-000000000100.pt"]
    assert said == ["checkpoint: removed ckpt-000000000200.pt.tmp, which was never finished"]


def test_verify_lists_each_checkpoint_and_judges_by_the_newest(store, tmp_path, capsys):
    older, newest = save(store, 100), save(store, 200)
    assert verify.report(tmp_path) == 0
    older.path.write_bytes(b"")
    assert verify.report(tmp_path) == 0
    newest.path.write_bytes(newest.path.read_bytes()[:-1])
    capsys.readouterr()
    assert verify.report(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ckpt-000000000100.pt  damaged: empty"
    assert lines[1].startswith("ckpt-000000000200.pt  damaged: ")
    assert names(store.folder) == [older.path.name, newest.path.name]


def test_verify_of_a_run_without_checkpoints_fails_and_of_no_folder_is_wrong_usage(tmp_path, capsys):
    assert verify.report(tmp_path) == 1
    assert capsys.readouterr().out == f"{tmp_path}: no checkpoints\n"
    with pytest.raises(ConfigurationError, match="no such folder"):
        verify.report(tmp_path / "missing")


def test_a_checkpoint_that_fails_in_an_unforeseen_way_is_told_and_the_next_is_taken(store):
    """A fault of torch in the writing thread must neither end training nor pass for a saved checkpoint."""
    told = []
    tally = Tally(global_step=100)
    header = Header(game="pong", written_by="1", saved_at=1.0, tally=tally, metrics_offset=0)
    payloads = iter([lambda: 1 // 0, lambda: PAYLOAD])
    report = SimpleNamespace(
        sync=lambda: None, saved=lambda *_: told.append("saved"), not_saved=lambda step, why: told.append((step, why))
    )
    checkpointer = Checkpointer(store, report, lambda: Shot(header, lambda: b"games", next(payloads)), 90.0)
    assert [checkpointer.save_now(), checkpointer.save_now()] == [False, True]
    assert told[0][0] == 100
    assert "ZeroDivisionError" in told[0][1]
    assert told[1] == "saved"
    assert store.newest().payload == PAYLOAD
