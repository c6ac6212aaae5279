"""From arguments to a run: which checkpoint, which games, which groups; and when there is nothing left to do."""

import os
import signal
from types import SimpleNamespace

import pytest

from rltrainer import envs, launch, signals
from rltrainer.checkpoint_file import Header
from rltrainer.checkpoint_store import CheckpointStore
from rltrainer.errors import ConfigurationError, RunDirBusyError
from rltrainer.progress_file import ProgressFile
from rltrainer.rundir import RunDir
from rltrainer.signals import StopSignal
from rltrainer.tally import Tally
from trainer_runs import last_report, tiny_args


def saved(args, step, game="pong"):
    """Put a checkpoint of a step into a run's folder."""
    run_dir = RunDir(args.run_dir)
    run_dir.checkpoints.mkdir(parents=True, exist_ok=True)
    store = CheckpointStore(run_dir.checkpoints, 3, print)
    tally = Tally(global_step=step, episodes=2, recent_returns=[-20.0, -18.0], best_return=-18.0)
    header = Header(game=game, written_by="1", saved_at=5.0, tally=tally, metrics_offset=0)
    return store.save(header, b"games", b"learner"), store


@pytest.mark.parametrize(
    ("device", "has_gpu", "env_groups", "num_envs", "expected"),
    [
        ("auto", False, None, 8, 1),
        ("auto", True, None, 8, 2),
        ("cuda", True, None, 8, 2),
        ("cpu", True, None, 8, 1),
        ("auto", True, None, 1, 1),
        ("auto", True, 4, 8, 4),
        ("cpu", False, 3, 8, 3),
    ],
)
def test_with_a_gpu_games_play_in_two_groups_unless_told(
    tmp_path, monkeypatch, device, has_gpu, env_groups, num_envs, expected
):
    made = []
    monkeypatch.setattr(envs, "GameEnvs", lambda *arguments, **options: made.append((arguments, options)))
    monkeypatch.setattr(launch, "Path", lambda path: SimpleNamespace(exists=lambda: has_gpu, path=path))
    args = tiny_args(tmp_path, device=device, env_groups=env_groups, num_envs=num_envs, batch_size=num_envs * 8)
    launch.start_games(args, "pong", None)
    assert made == [(("pong", args), {"start": 0, "num_groups": expected})]


def test_games_that_go_on_begin_with_the_step_of_their_checkpoint(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(envs, "GameEnvs", lambda *_, **options: made.append(options["start"]))
    args = tiny_args(tmp_path)
    launch.start_games(args, "pong", saved(args, 640)[0])
    assert made == [640]


def prepare(args, monkeypatch):
    """What `launch._prepare` returns, with whether games were started."""
    started = []
    monkeypatch.setattr(launch, "start_games", lambda *_: started.append(1))
    monkeypatch.setattr("rltrainer.train.prepare", lambda *_: "a run")
    progress = ProgressFile(args.progress_path, print)
    run = launch._prepare(args, progress, StopSignal())
    progress.write()
    return run, bool(started)


@pytest.mark.parametrize(
    ("target_frames", "is_done"), [(4 * 640 - 1, True), (4 * 640, True), (4 * 640 + 1, False), (8 * 640, False)]
)
def test_a_run_whose_target_is_reached_starts_nothing_and_reports_what_it_has(
    tmp_path, monkeypatch, capfd, target_frames, is_done
):
    args = tiny_args(tmp_path, target_frames=target_frames)
    saved(args, 640)
    assert prepare(args, monkeypatch) == ((None, False) if is_done else ("a run", True))
    told = "done: target reached before this start | step 640 | episode 2\n"
    assert capfd.readouterr().out.endswith(told) is is_done
    report = last_report(tmp_path)
    assert (report.global_step, report.episodes, report.best_return) == (640, 2, -18.0)
    assert (report.checkpoint.global_step, report.checkpoint.saved_at) == (640, 5.0)


@pytest.fixture
def signals_as_before():
    """Handlers of signals are put back."""
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_launch_hears_signals_holds_the_folder_and_ends_deaf_with_0(tmp_path, monkeypatch, signals_as_before):
    """A stop while preparing is a farewell; on the way out signals pass, and the folder is free again."""
    args, seen = tiny_args(tmp_path), []

    def preparing(_args, progress, stop):
        handler = signal.getsignal(signal.SIGTERM)
        seen.append((handler == stop._on_signal, stop._farewell == progress.farewell))
        with pytest.raises(RunDirBusyError):
            RunDir(tmp_path).take()

    monkeypatch.setattr(launch, "_prepare", preparing)
    assert launch.launch(args) == 0
    assert seen == [(True, True)]
    assert [signal.getsignal(number) for number in signals.SIGNALS] == [signal.SIG_IGN] * 2
    assert (last_report(tmp_path).phase, last_report(tmp_path).finished) == ("done", True)
    os.close(RunDir(tmp_path).take())


def test_a_run_that_is_prepared_is_trained(tmp_path, monkeypatch, signals_as_before):
    trained = []
    monkeypatch.setattr(launch, "_prepare", lambda *_: "a run")
    monkeypatch.setattr("rltrainer.train.train", trained.append)
    assert launch.launch(tiny_args(tmp_path)) == 0
    assert trained == ["a run"]
    assert last_report(tmp_path) is None


def test_a_new_run_begins_whatever_its_target(tmp_path, monkeypatch):
    RunDir(tmp_path).checkpoints.mkdir()
    assert prepare(tiny_args(tmp_path, target_frames=1), monkeypatch) == ("a run", True)


def test_how_many_checkpoints_are_kept_and_on_how_much_disk_is_as_told(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    made = []
    monkeypatch.setattr("rltrainer.train.prepare", lambda *arguments: made.append(arguments[4]))
    monkeypatch.setattr(launch, "start_games", lambda *_: None)
    args = tiny_args(tmp_path, keep_checkpoints=7, checkpoint_disk_mib=99)
    launch._prepare(args, ProgressFile(args.progress_path, print), StopSignal())
    assert (made[0].folder, made[0]._keep, made[0]._disk_mib) == (tmp_path / "checkpoints", 7, 99)


def test_a_folder_with_another_game_is_refused(tmp_path):
    args = tiny_args(tmp_path, game="Breakout")
    checkpoint, store = saved(args, 64, game="ms_pacman")
    with pytest.raises(ConfigurationError, match="holds a run of MsPacman, not of Breakout"):
        launch.find_checkpoint(args, "breakout", store)
    assert launch.find_checkpoint(args, "ms_pacman", store) == checkpoint


def test_what_was_never_finished_is_removed_at_the_start(tmp_path):
    args = tiny_args(tmp_path)
    checkpoint, store = saved(args, 64)
    unfinished = checkpoint.path.with_name("ckpt-000000000128.pt.tmp")
    unfinished.write_bytes(b"half")
    assert launch.find_checkpoint(args, "pong", store) == checkpoint
    assert not unfinished.exists()


def test_when_every_checkpoint_is_damaged_only_a_flag_begins_again_and_keeps_the_past(tmp_path, capfd):
    args = tiny_args(tmp_path)
    checkpoint, store = saved(args, 64)
    (tmp_path / "metrics.jsonl").write_text("the past")
    checkpoint.path.write_bytes(b"")
    for _ in range(2):  # the second start finds nothing but the quarantine
        with pytest.raises(ConfigurationError, match="EVERY CHECKPOINT IS DAMAGED"):
            launch.find_checkpoint(args, "pong", store)
    assert (tmp_path / "metrics.jsonl").exists()
    again = tiny_args(tmp_path, start_afresh_if_damaged=True)
    assert launch.find_checkpoint(again, "pong", store) is None
    assert "AFRESH" in capfd.readouterr().out
    assert (tmp_path / "metrics.1.jsonl").read_text() == "the past"
    newer, _ = saved(args, 128)
    assert launch.find_checkpoint(args, "pong", store) == newer, "what lies in quarantine does not matter any more"
