"""The agent with `rltrain` on real Atari games: a SIGKILL loses at most what came after the last checkpoint."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from agent_host import AgentHost
from rlagent.protocol import messages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def host(tmp_path):
    settings = {
        "trainer": {
            "command": [sys.executable, "-m", "rltrainer", "train", "--num-minibatches", "2", "--update-epochs", "1"],
            "checkpoint_interval_s": 3.0,
        },
        "supervisor": {"hang_timeout_s": 120.0, "start_timeout_s": 240.0, "stop_timeout_s": 60.0},
        "modes": [{"name": "light", "games": 2, "num_envs": 4, "batch_size": 64}],
        "games": [{"name": "MsPacman"}, {"name": "Pong"}],
    }
    host = AgentHost(tmp_path, **settings)
    yield host.start()
    host.close()


def records(host, game, kind):
    """The records of one kind, but for one that is being written at this moment."""
    lines = (host.paths.run_dir(game) / "metrics.jsonl").read_text().split("\n")[:-1]
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def test_a_killed_trainer_continues_steps_and_episodes_from_its_checkpoint(host):
    pids = host.wait_running(2, timeout_s=240)
    host.wait_for(lambda: (host.game("MsPacman")["episodes"] or 0) >= 2, "two episodes", 240)
    before, read_at = host.game("MsPacman"), time.time()
    host.wait_for(lambda: saved_after(host, "MsPacman", read_at), "a checkpoint of all that", 120)
    os.kill(pids["MsPacman"], signal.SIGKILL)
    host.wait_for(lambda: host.game("MsPacman")["attempt"] == 2, "the restart", 120)
    host.wait_running(2, timeout_s=240)
    after = host.game("MsPacman")
    host.wait_for(lambda: "resume: " in host.paths.game_log("MsPacman").read_text(), "what its log says of that")
    # No step twice, none left out: the recorded steps grow evenly across the kill, and episodes count on.
    steps = [record["global_step"] for record in records(host, "MsPacman", "iteration")]
    assert steps == list(range(64, steps[-1] + 1, 64))
    episodes = [record["episode"] for record in records(host, "MsPacman", "episode")]
    assert episodes == list(range(1, len(episodes) + 1))
    assert after["global_step"] >= before["global_step"]
    assert after["episodes"] >= before["episodes"]
    assert host.pids()["Pong"] == pids["Pong"]
    assert host.status()["incidents_last_hour"] == 1


def test_a_stop_writes_a_checkpoint_of_the_very_last_step(host):
    host.wait_running(2, timeout_s=240)
    host.call(messages.Stop(who="test"))
    host.wait_for(lambda: host.trainer_processes() == [], "the end of all trainers", 90)
    host.wait_for(lambda: {g["state"] for g in host.status()["games"]} == {"QUEUED"}, "the queue", 60)
    for game in ("MsPacman", "Pong"):
        newest = max((host.paths.run_dir(game) / "checkpoints").glob("ckpt-*.pt"))
        step = int(newest.stem.removeprefix("ckpt-"))
        host.wait_for(lambda game=game, step=step: host.game(game)["global_step"] == step, f"step {step} of {game}")


def saved_after(host, game, moment: float) -> bool:
    """Whether a game's last checkpoint was taken after a moment."""
    now = time.time()  # before the age is asked for, so that a slow answer can't make it look younger
    age_s = host.game(game)["checkpoint_age_s"]
    return age_s is not None and now - age_s > moment


def test_after_any_number_of_kills_the_run_is_the_one_that_was_never_killed(tmp_path):
    """Steps, episodes, returns and losses, record by record: nothing jumps, nothing is repeated, nothing is other."""
    iterations, kills = 160, 4
    target = {"name": "Pong", "target_frames": 4 * 64 * iterations}
    flags = ["--num-minibatches", "2", "--update-epochs", "1"]
    killed = AgentHost(
        tmp_path,
        trainer={
            "command": [sys.executable, "-m", "rltrainer", "train", *flags],
            "checkpoint_interval_s": 1.0,
        },
        supervisor={"hang_timeout_s": 120.0, "start_timeout_s": 240.0},
        modes=[{"name": "light", "games": 1, "num_envs": 4, "batch_size": 64}],
        games=[target],
    )
    dice = random.Random(6)
    try:
        killed.start()
        for number in range(kills):
            # In its first quarter: it must not be through when the kill comes, however late that is.
            due = dice.uniform(number + 0.3, number + 1) / kills * 64 * iterations / 4
            pid = killed.wait_for(lambda due=due: running_beyond(killed, due), f"step {due:.0f}", 240)
            os.kill(pid, signal.SIGKILL)
        killed.wait_for(lambda: killed.game("Pong")["state"] == "EXITED", "the target", 240)
        assert killed.game("Pong")["attempt"] == kills + 1
        threads = os.cpu_count()  # what the agent gives a game that is alone
    finally:
        killed.close()
    whole = tmp_path / "whole"
    sizes = ["--num-envs", "4", "--batch-size", "64", "--threads", str(threads), *flags]
    words = ["--game", "Pong", "--run-dir", str(whole), "--target-frames", str(target["target_frames"])]
    subprocess.run([sys.executable, "-m", "rltrainer", "train", *words, *sizes], check=True, capture_output=True)
    ours, theirs = (timeless(folder / "metrics.jsonl") for folder in (killed.paths.run_dir("Pong"), whole))
    assert ours == theirs
    assert ours[-1]["global_step"] == 64 * iterations


def running_beyond(host, step: float) -> int | None:
    """The trainer's process once it reports more than so many steps."""
    game = next((trainer for trainer in host.status()["trainers"] if trainer["game"] == "Pong"), None)
    if game is None or game["state"] != "RUNNING" or (game["global_step"] or 0) < step:
        return None
    return game["pid"]


def timeless(path) -> list[dict]:
    """The records of a run without what depends on the clock."""
    records = map(json.loads, path.read_text().splitlines())
    return [{name: value for name, value in each.items() if name not in ("time", "sps")} for each in records]
