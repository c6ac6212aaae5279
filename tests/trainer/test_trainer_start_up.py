"""What a start loads, and what it must not: each restart pays for it."""

import subprocess
import sys

import ale_py.roms

from rltrainer import games
from rltrainer.progress_file import ProgressFile
from rltrainer.train import train
from trainer_runs import last_report, prepared, tiny_args, trainer, wait_until


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_to_its_end_loads_neither_torchs_compiler_nor_the_emulator(tmp_path):
    code = (
        "import sys, rltrainer.__main__ as main\n"
        "assert main.main(sys.argv[1:]) == 0\n"
        "print(sorted({'torch._dynamo', 'sympy', 'ale_py', 'gymnasium'} & set(sys.modules)))\n"
    )
    flags = ["--num-envs", "4", "--batch-size", "32", "--num-minibatches", "1", "--target-frames", "256"]
    said = run(code, "train", "--game", "Pong", "--run-dir", str(tmp_path / "run"), "--threads", "1", *flags)
    assert "done: target reached" in said
    assert said.splitlines()[-1] == "[]"


def test_the_list_of_games_is_ale_pys():
    assert games.installed_roms() == ale_py.roms.get_all_rom_ids()


def test_the_first_new_step_is_reported_at_once(tmp_path, monkeypatch):
    """The one after it is due a second later; as that may be over before anybody looks, each is looked at here."""
    reported = []
    write = ProgressFile.write

    def seen(self, **changes):
        write(self, **changes)
        reported.append(last_report(tmp_path).global_step)

    monkeypatch.setattr(ProgressFile, "write", seen)
    args = tiny_args(tmp_path, target_frames=4 * 64)
    assert train(prepared(args)) is True
    assert reported[0] == 0
    assert next(step for step in reported if step > 0) == args.num_envs


def test_no_report_of_a_resumed_run_shows_fewer_steps_than_its_checkpoint(tmp_path):
    """From 0 to the checkpoint's would look like new steps to the agent, also of a trainer that never takes one."""
    with trainer(tmp_path / "run", checkpoint_interval_s=0.1) as process:
        saved = wait_until(lambda: (found := last_report(tmp_path / "run")) and found.checkpoint)
        process.kill()
        process.wait()
    (tmp_path / "run" / "progress.json").unlink()
    with trainer(tmp_path / "run", checkpoint_interval_s=0.1):
        first = wait_until(lambda: last_report(tmp_path / "run"))
    assert first.global_step >= saved.global_step
