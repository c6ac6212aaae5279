"""`rltrain eval`: whole games with the trained actor, from a run that it must not disturb."""

import hashlib
import json
import signal
import subprocess
import sys

import msgspec
import pytest
from PIL import Image

from rltrainer import checkpoint_file, episode, evaluate
from rltrainer.__main__ import main
from rltrainer.cli import Evaluate
from rltrainer.errors import ConfigurationError, TrainerError
from rltrainer.rundir import RunDir
from rltrainer.train import train
from trainer_runs import checkpoints, prepared, tiny_args


def evaluation(run_dir, *flags, **options):
    """Run `rltrain eval`."""
    command = [sys.executable, "-m", "rltrainer", "eval", str(run_dir), *flags]
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)


@pytest.fixture
def evaluated(monkeypatch):
    """Runs it in this process; returns the exit code."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments):
        try:
            return main(["eval", *arguments])
        except SystemExit as end:
            return end.code

    return run


def copy_of(run_dir, folder):
    """A run directory with the same checkpoint under two steps."""
    target = RunDir(folder / "Breakout").checkpoints
    target.mkdir(parents=True)
    content = checkpoints(run_dir)[-1].read_bytes()
    for name in ("ckpt-000000000064.pt", "ckpt-000000000128.pt"):
        (target / name).write_bytes(content)
    return folder / "Breakout"


def everything(folder):
    """Every file below a folder, its content, and when it was changed."""
    return {
        path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_json_tells_of_each_game_and_of_all_and_the_film_shows_the_best(breakout, tmp_path):
    before = everything(breakout.run_dir)
    film = tmp_path / "best.gif"
    done = evaluation(breakout.run_dir, "--episodes", "2", "--seed", "5", "-o", "json", "--video", str(film))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    returns = [each["episodic_return"] for each in report["episodes"]]
    expected = {
        "schema_version": 1,
        "game": "Breakout",
        "run_dir": str(breakout.run_dir),
        "checkpoint": checkpoints(breakout.run_dir)[-1].name,
        "global_step": breakout.steps,
        "policy": "sample",
        "seed": 5,
        "repeat_action_probability": 0.0,
        "mean_return": sum(returns) / 2,
        "std_return": abs(returns[0] - returns[1]) / 2,
        "best_return": max(returns),
        "worst_return": min(returns),
        "video": str(film),
    }
    assert {name: value for name, value in report.items() if name != "episodes"} == expected
    assert all(0 <= each <= 864 for each in returns)
    assert everything(breakout.run_dir) == before
    with Image.open(film) as gif:
        assert (gif.format, gif.size) == ("GIF", (160, 210))
        assert gif.n_frames > 100
        assert len(gif.convert("RGB").getcolors()) > 3
    assert f"filming episode {1 + returns.index(max(returns))}" in done.stderr


def test_a_game_is_determined_by_seed_and_number_and_greedy_play_is_another(breakout):
    payload = evaluate.newest(breakout.run_dir).payload

    def first_steps(number, **options):
        """Score and picture after each of the first steps."""
        seen = []
        player = episode.Player(payload, "breakout", Evaluate(breakout.run_dir, **options))

        def watch(score, step):
            seen.append((score, hashlib.sha256(player.screen().tobytes()).hexdigest()))
            if step == 40:
                raise StopIteration

        with pytest.raises(StopIteration):
            player.play(number, watch)
        return seen

    once = first_steps(1, seed=5)
    assert first_steps(1, seed=5) == once
    assert first_steps(2, seed=5) != once
    assert first_steps(1, seed=6) != once
    assert first_steps(1, seed=5, greedy=True) != once
    assert first_steps(1, seed=5, repeat_action_probability=0.9) != once


def test_an_actor_of_all_18_actions_plays_with_them(tmp_path):
    run_dir = tmp_path / "Pong"
    train(prepared(tiny_args(run_dir, full_action_space=True, target_frames=64 * 4)))
    player = episode.Player(evaluate.newest(run_dir).payload, "pong", Evaluate(run_dir))
    assert player._game.num_actions == 18


def test_a_damaged_newest_checkpoint_is_passed_over_and_left_where_it_is(breakout, tmp_path, capsys):
    run_dir = copy_of(breakout.run_dir, tmp_path)
    good, bad = checkpoints(run_dir)
    bad.write_bytes(bad.read_bytes()[:-1])
    before = everything(run_dir)
    assert evaluate.newest(run_dir).path == good
    assert everything(run_dir) == before
    assert f"{bad.name} is damaged" in capsys.readouterr().err
    good.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="every checkpoint is damaged"):
        evaluate.newest(run_dir)


def test_a_checkpoint_that_a_trainer_removes_meanwhile_is_no_fault(breakout, tmp_path, monkeypatch):
    run_dir = copy_of(breakout.run_dir, tmp_path)
    older, newer = checkpoints(run_dir)
    real = checkpoint_file.read

    def read(path):
        """The trainer replaces both checkpoints at the moment in which the newest is opened."""
        if newer.exists():
            newer.rename(newer.with_name("ckpt-000000000192.pt"))
            older.unlink()
        return real(path)

    monkeypatch.setattr(checkpoint_file, "read", read)
    assert evaluate.newest(run_dir).path.name == "ckpt-000000000192.pt"


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--episodes", "0"], "rltrain eval: --episodes: 0: must be at least 1; see rltrain eval --help"),
        (["--episodes", "x"], "rltrain eval: --episodes: not a whole number: 'x'; see rltrain eval --help"),
        (
            ["--repeat-action-probability", "2"],
            "rltrain eval: --repeat-action-probability: 2: must be between 0 and 1; see rltrain eval --help",
        ),
        (
            ["--vido", "a.gif"],
            "rltrain eval: --vido: no such argument (did you mean --video?); see rltrain eval --help",
        ),
        (
            ["--video", "a.mp4"],
            "rltrain: --video a.mp4: unknown kind of file; end its name in one of .gif, .png, .webp",
        ),
        (["--video", "/nowhere/a.gif"], "rltrain: --video /nowhere/a.gif: there is no folder /nowhere; make it first"),
        ([], "rltrain: eval no-such-run: no such folder; give a run directory, as in train --run-dir"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, evaluated, flags, fault):
    monkeypatch.chdir(tmp_path)
    assert evaluated("no-such-run", *flags) == 2
    assert capsys.readouterr() == ("", fault + "\n")


def test_a_run_without_a_checkpoint_may_have_one_later(tmp_path):
    with pytest.raises(TrainerError, match="no checkpoint yet") as fault:
        evaluate.newest(tmp_path)
    assert fault.value.exit_code == 1


def test_a_checkpoint_of_a_game_that_ale_py_lacks_is_named(breakout, tmp_path, capsys, evaluated):
    run_dir = copy_of(breakout.run_dir, tmp_path)
    for path in checkpoints(run_dir):
        checkpoint = checkpoint_file.read(path)
        header = msgspec.structs.replace(checkpoint.header, game="breakot")
        checkpoint_file.write(path, header, checkpoint.envs, checkpoint.payload)
    assert evaluated(str(run_dir)) == 2
    assert "breakot: no such Atari game in ale_py (did you mean Breakout" in capsys.readouterr().err
