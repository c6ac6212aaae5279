"""uninstall.yml on this machine: stops gracefully, keeps the data unless told, does no harm twice."""

import json
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_data_stays_and_the_next_deployment_goes_on_with_it(deployment):
    assert deployment.deploy().rc == 0
    deployment.trainers()
    host = deployment.call("ping")["host_uuid"]

    play = deployment.play("uninstall")
    assert play.rc == 0, play.output
    deployment.wait_ended()
    assert sorted(path.name for path in deployment.root.iterdir() if path.is_dir()) == ["etc", "var"]
    steps = checkpoints(deployment)
    assert len(steps) == 2

    again = deployment.play("uninstall")
    assert [again.rc, again.count("changed")] == [0, 0]

    assert deployment.deploy().rc == 0
    deployment.trainers()
    assert deployment.call("ping")["host_uuid"] == host
    assert all(now >= before for now, before in zip(checkpoints(deployment), steps, strict=True))

    purge = deployment.play("uninstall", "-e", "rlfleet_purge=true")
    assert purge.rc == 0, purge.output
    deployment.wait_ended()
    assert not deployment.root.exists()
    nothing = deployment.play("uninstall", "-e", "rlfleet_purge=true")
    assert [nothing.rc, nothing.count("changed")] == [0, 0]


def test_trainers_of_a_dead_agent_are_stopped_too(installed):
    installed.trainers()
    agent = installed.call("ping")["pid"]
    next(process for process in installed.processes() if process.pid == agent).kill()
    play = installed.play("uninstall", rlfleet_trainer_python=sys.executable)
    assert play.rc == 0, play.output
    installed.wait_ended()
    assert len(checkpoints(installed)) == 2


def checkpoints(deployment):
    """Return the step of each game's checkpoint, by the game's name."""
    paths = sorted(deployment.root.glob("var/runs/*/checkpoint.json"))
    return [json.loads(path.read_text())["global_step"] for path in paths]
