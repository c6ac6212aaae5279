"""What a trainer is started with: its command, its environment and its folders, from configuration and state."""

from __future__ import annotations

import msgspec
import pytest

from rlagent.config import Config, GameSection, ModeSection, TrainerSection
from rlagent.launches import identity, launch
from rlagent.paths import Paths
from rlagent.policy.model import Game

MODE = ModeSection(name="light", games=2, num_envs=8, batch_size=64)
TRAINER = TrainerSection(command=("train", "{game}", "-n{num_envs}"), checkpoint_interval_s=70, env={"MINE": "1"})
CONFIG = Config(trainer=TRAINER, games=(GameSection(name="A"), GameSection(name="Pong", target_frames=123)))
PONG = Game(name="Pong", attempt=4)


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path)


def launched(paths, mode=MODE, environ=None, **more):
    return launch(CONFIG, paths, mode, PONG, cpu_count=8, environ=environ or {}, **more)


def test_everything_that_the_contract_promises(paths, tmp_path):
    found = launched(paths)
    assert (found.game, found.attempt, found.command) == ("Pong", 4, ("train", "Pong", "-n8"))
    assert (found.run_dir, found.log_path) == (tmp_path / "runs/Pong", tmp_path / "logs/Pong.log")
    assert found.env == {
        "MINE": "1",
        "RLFLEET_GAME": "Pong",
        "RLFLEET_MODE": "light",
        "RLFLEET_NUM_ENVS": "8",
        "RLFLEET_BATCH_SIZE": "64",
        "RLFLEET_RUN_DIR": str(tmp_path / "runs/Pong"),
        "RLFLEET_PROGRESS_FILE": str(tmp_path / "runs/Pong/progress.json"),
        "RLFLEET_TARGET_FRAMES": "123",
        "RLFLEET_CHECKPOINT_INTERVAL_S": "70",
        "RLFLEET_THREADS": "4",
        "RLFLEET_ATTEMPT": "4",
    }


def test_a_mode_may_have_a_command_of_its_own_and_checkpoints_an_interval_of_theirs(paths):
    own = msgspec.structs.replace(MODE, command=("other", "{mode}"))
    assert launched(paths, own).command == ("other", "light")
    assert launched(paths, checkpoint_interval_s=5.5).env["RLFLEET_CHECKPOINT_INTERVAL_S"] == "5.5"


def test_the_environment_is_inherited_but_for_what_systemd_says_to_the_agent_alone(paths):
    said = dict.fromkeys(
        ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"), "x"
    )
    found = launched(paths, environ={**said, "HOME": "/root", "MINE": "0", "RLFLEET_GAME": "wrong"})
    assert not said.keys() & found.env.keys()
    assert (found.env["HOME"], found.env["MINE"], found.env["RLFLEET_GAME"]) == ("/root", "1", "Pong")


def test_what_is_only_asked_after_has_no_command(paths, tmp_path):
    found = identity(paths, Game(name="Gone", attempt=2))
    assert (found.game, found.attempt, found.command, found.env) == ("Gone", 2, (), {})
    assert found.run_dir == tmp_path / "runs/Gone"
