"""The command line of rltrain: where values come from, and what is said of wrong ones."""

import subprocess
import sys
from pathlib import Path

import pytest

import rlagent
import rltrainer
from rltrainer import cli
from rltrainer.args import Args


def test_contract_variables_are_defaults_and_flags_win():
    environ = {
        "RLFLEET_GAME": "Pong",
        "RLFLEET_NUM_ENVS": "64",
        "RLFLEET_BATCH_SIZE": "1024",
        "RLFLEET_RUN_DIR": "/runs/pong",
        "RLFLEET_PROGRESS_FILE": "/runs/pong/beat.json",
        "RLFLEET_TARGET_FRAMES": "1000",
        "RLFLEET_CHECKPOINT_INTERVAL_S": "45.5",
        "RLFLEET_THREADS": "2",
        "RLFLEET_MODE": "light",
        "RLFLEET_ATTEMPT": "3",
    }
    expected = Args(
        run_dir=Path("/runs/pong"),
        game="Pong",
        num_envs=8,
        batch_size=1024,
        progress_file=Path("/runs/pong/beat.json"),
        target_frames=1000,
        checkpoint_interval_s=45.5,
        threads=2,
        anneal_lr=False,
    )
    assert cli.parse(["train", "--num-envs", "8", "--no-anneal-lr"], environ) == expected


def test_an_evaluation_plays_ten_games_of_seed_1_by_sampling_unless_told():
    assert vars(cli.parse(["eval", "r"], {})) == {
        "run_dir": Path("r"), "episodes": 10, "seed": 1, "greedy": False, "repeat_action_probability": 0.0,
        "noop_max": 30, "video": None, "output": "table",
    }  # fmt: skip
    assert cli.parse(["eval", "r"], {}) == cli.Evaluate(Path("r"))
    words = [
        "--episodes=1", "--seed=0", "--greedy", "--repeat-action-probability=1", "--noop-max=0", "--video=a.gif",
        "-o", "json",
    ]  # fmt: skip
    assert vars(cli.parse(["eval", "r", *words], {})) == {
        "run_dir": Path("r"), "episodes": 1, "seed": 0, "greedy": True, "repeat_action_probability": 1.0,
        "noop_max": 0, "video": Path("a.gif"), "output": "json",
    }  # fmt: skip


def test_verify_reads_a_folder():
    assert cli.parse(["verify", "r"], {"RLFLEET_RUN_DIR": "other"}) == cli.Verify(Path("r"))


def test_a_wrong_variable_does_not_matter_where_a_flag_wins():
    args = cli.parse(["train", "--run-dir", "r", "--num-envs", "8"], {"RLFLEET_NUM_ENVS": "many"})
    assert args.num_envs == 8


@pytest.mark.parametrize(
    ("argv", "environ", "expected"),
    [
        ([], {}, "rltrain: the following arguments are required: {train,eval,verify}"),
        (["train"], {}, "no run directory: pass --run-dir DIR or set RLFLEET_RUN_DIR"),
        (["train", "--num-env", "8"], {}, "--num-env: no such argument (did you mean --num-envs?)"),
        (["train", "--num-envs", "many"], {}, "--num-envs: not a whole number: 'many'"),
        (["train", "--run-dir", "r"], {"RLFLEET_THREADS": "all"}, "RLFLEET_THREADS=all: not a whole number"),
        (["train", "--run-dir", "r", "--num-envs", "0"], {}, "--num-envs 0: must be at least 1"),
        (["train", "--run-dir", "r", "--gamma", "1.5"], {}, "--gamma 1.5: must be between 0 and 1"),
        (["train", "--run-dir", "r", "--gamma", "nan"], {}, "--gamma nan: must be between 0 and 1"),
        (["train", "--run-dir", "r", "--learning-rate", "0"], {}, "--learning-rate 0.0: must be more than 0"),
        (
            ["train", "--run-dir", "r", "--batch-size", "500"],
            {},
            "--batch-size 500: must be a multiple of --num-envs 32; the nearest is 480 or 512",
        ),
        (
            ["train", "--run-dir", "r", "--num-envs", "8", "--num-minibatches", "5"],
            {},
            "--batch-size 2048: must be a multiple of --num-minibatches 5; the nearest is 2045 or 2050",
        ),
        (["train", "--run-dir", "r", "--device", "tpu"], {}, "--device: invalid choice: 'tpu'"),
        (["verify"], {}, "the following arguments are required: DIR"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(argv, environ, expected, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.parse(argv, environ)
    captured = capsys.readouterr()
    assert exit_info.value.code == 2
    assert captured.out == ""
    assert expected in captured.err
    assert captured.err.count("\n") == 1


def test_help_and_version_import_neither_torch_nor_numpy_nor_ale():
    code = (
        "import sys; from rltrainer.__main__ import main\n"
        "for argv in (['--help'], ['--version'], ['train', '--help'], ['eval', '--help'], ['verify', '--help']):\n"
        "    try: main(argv)\n"
        "    except SystemExit as end: assert end.code == 0, end.code\n"
        "    assert not {'torch', 'numpy', 'ale_py', 'gymnasium'} & set(sys.modules), argv\n"
        "    print('-' * 20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.split("-" * 20)
    assert len(told) == 6
    assert all(map(str.strip, told[:5]))


def test_a_missing_extra_is_named_with_the_command_that_mends_it(tmp_path):
    """Without site-packages there is no torch; the entry point still says what to do."""
    sources = [str(Path(package.__file__).parents[1]) for package in (rltrainer,)]
    code = f"import sys; sys.path[:0] = {sources!r}; sys.modules['torch'] = None; sys.argv = ['rltrain', '--help']\n"
    code += "import importlib.util as u; find = u.find_spec\n"
    code += "u.find_spec = lambda name: None if name == 'torch' else find(name)\n"
    code += "from rltrainer.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "torch not installed" in done.stderr
    assert "pip install 'rlfleet[trainer]'" in done.stderr


def test_trainer_and_agent_are_one_distribution_with_one_version():
    assert rltrainer.__version__ == rlagent.__version__
