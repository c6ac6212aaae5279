"""The agent with `rltrain` on real Atari games: a SIGKILL loses at most what came after the last checkpoint."""

from __future__ import annotations

import json
import os
import signal
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
    lines = (host.paths.run_dir(game) / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def test_a_killed_trainer_continues_steps_and_episodes_from_its_checkpoint(host):
    pids = host.wait_running(2, timeout_s=240)
    host.wait_for(lambda: (host.game("MsPacman")["episodes"] or 0) >= 2, "two episodes", 240)
    before, read_at = host.game("MsPacman"), time.time()
    host.wait_for(
        lambda: host.game("MsPacman")["checkpoint_age_s"] < time.time() - read_at, "a checkpoint of all that", 60
    )
    os.kill(pids["MsPacman"], signal.SIGKILL)
    host.wait_for(lambda: host.game("MsPacman")["attempt"] == 2, "the restart", 60)
    host.wait_running(2, timeout_s=240)
    after = host.game("MsPacman")
    log = host.paths.game_log("MsPacman").read_text()
    assert "resume" in log.lower()
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
    for game in ("MsPacman", "Pong"):
        newest = max((host.paths.run_dir(game) / "checkpoints").glob("ckpt-*.pt"))
        assert int(newest.stem.removeprefix("ckpt-")) == host.game(game)["global_step"]
    host.wait_for(lambda: {g["state"] for g in host.status()["games"]} == {"QUEUED"}, "the queue")
