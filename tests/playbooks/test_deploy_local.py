"""deploy.yml on this machine: installs, changes nothing a second time, and never stops a trainer.

What the lab's tests see on real hosts too (tests/lab/test_fleet_deploy.py) is done here in soak, and in each run where
no lab can be booted.
"""

import contextlib
import os
import socket
import stat
import subprocess
import sys

import psutil
import pytest

import soak
from lab import needs
from playbook_runs import PLAYBOOKS, build_wheel
from rlagent.journal import SCHEMA_VERSION

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
in_the_lab_too = pytest.mark.slow if needs.missing() else soak.tenth(2)


def mode(path):
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def test_agent_of_the_release_runs_with_its_trainers(installed):
    release = (installed.root / "current").readlink().name
    agent = psutil.Process(installed.call("ping")["pid"])
    assert agent.cmdline()[0].startswith(f"{installed.root}/releases/{release}/agent/bin/python")
    assert len(installed.trainers()) == 2


def test_files_belong_to_their_user_alone(installed):
    assert {
        path: mode(installed.root / path) for path in ("var", "var/agent.sock", "etc/config.toml", "bin/rlagent")
    } == {
        "var": "0700",
        "var/agent.sock": "0600",
        "etc/config.toml": "0600",
        "bin/rlagent": "0755",
    }


@in_the_lab_too
def test_second_run_changes_nothing(installed):
    agent, trainers = installed.call("ping")["pid"], installed.trainers()
    play = installed.deploy()
    assert [play.rc, play.count("changed"), play.count("failed")] == [0, 0, 0]
    assert [installed.call("ping")["pid"], installed.trainers()] == [agent, trainers]


def test_trainer_command_uses_the_release_and_not_what_the_given_python_has(installed):
    """The given Python has rlfleet itself (editable, here): the release's own library must win."""
    result = subprocess.run(
        [installed.root / "bin" / "rltrain", "--help"],
        env={**os.environ, "PYTHONVERBOSE": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=PLAYBOOKS.parent / "agent",
    )
    library = (installed.root / "current").resolve() / "lib" / "rltrainer"
    assert result.returncode == 0
    assert f"{library}/__init__.py" in result.stderr
    assert f"{PLAYBOOKS.parent}/agent/rltrainer" not in result.stderr


def test_new_configuration_reaches_the_agent_and_trainers_go_on(installed):
    trainers = installed.trainers()
    play = installed.deploy(rlfleet_policy={"stable_minutes": 77})
    assert [play.rc, play.count("failed")] == [0, 0]
    assert installed.call("status")["stable_needed_s"] == 77 * 60
    assert installed.trainers() == trainers


def test_refused_configuration_leaves_everything_as_it_was(installed):
    agent, config = installed.call("ping")["pid"], (installed.root / "etc/config.toml").read_bytes()
    play = installed.deploy(rlfleet_modes=[{"name": "light", "games": 2}])
    assert play.rc == 2
    assert "local: rlfleet_modes: [[modes]] 1: " in play.words
    assert [installed.call("ping")["pid"], (installed.root / "etc/config.toml").read_bytes()] == [agent, config]


@in_the_lab_too
def test_upgrade_replaces_the_agent_and_trainers_go_on(installed, project, tmp_path):
    agent, trainers, old = installed.call("ping")["pid"], installed.trainers(), (installed.root / "current").resolve()
    (project / "agent/rlagent/__init__.py").open("a").write("\n# another release\n")
    wheel = build_wheel(project, tmp_path / "wheels")
    play = installed.deploy(rlfleet_wheel=wheel["path"])
    assert play.rc == 0, play.output
    assert (installed.root / "current").resolve().name == wheel["release"]
    assert old.is_dir()
    assert installed.call("ping")["pid"] != agent
    assert installed.trainers() == trainers


@in_the_lab_too
def test_release_whose_agent_cannot_start_gives_way_to_the_old_one_and_trainers_go_on(installed, project, tmp_path):
    trainers, old = installed.trainers(), (installed.root / "current").readlink()
    (project / "agent/rlagent/daemon.py").write_text('raise RuntimeError("this release is broken")\n')
    broken = build_wheel(project, tmp_path / "wheels")
    play = installed.deploy(rlfleet_wheel=broken["path"])
    assert play.rc == 2
    assert f"local: {installed.root}: release {broken['release']} does not do its work:" in play.words
    assert "RuntimeError: this release is broken" in play.words
    assert f"Release {old.name} with its configuration runs again, and no trainer was stopped." in play.words
    assert (installed.root / "current").readlink() == old
    assert installed.trainers() == trainers


def test_an_old_agent_that_cannot_read_the_new_ones_journal_is_not_rolled_back_to(installed, project, tmp_path):
    """It refuses cleanly, and the new release goes on; a configuration that failed in between is not kept either."""
    trainers = installed.trainers()
    journal = project / "agent/rlagent/journal.py"
    schema = "SCHEMA_VERSION: Final = len(MIGRATIONS)"
    text = journal.read_text()
    assert text.count(schema) == 1
    migrated = 'MIGRATIONS = (*MIGRATIONS, "CREATE TABLE further (id INTEGER);")\n'  # as a later version would
    journal.write_text(text.replace(schema, migrated + schema).replace("MIGRATIONS: Final =", "MIGRATIONS: tuple ="))
    newer = build_wheel(project, tmp_path / "wheels")
    assert installed.deploy(rlfleet_wheel=newer["path"]).rc == 0

    play = installed.play("rollback")
    assert play.rc == 2
    versions = f"schema {SCHEMA_VERSION + 1}, here {SCHEMA_VERSION}"
    assert f"written by a newer rlagent ({versions}); install that version again" in play.words
    assert f"Release {newer['release']} with its configuration runs again" in play.words
    assert (installed.root / "current").readlink().name == newer["release"]
    assert installed.trainers() == trainers


def test_rollback_without_an_earlier_release_is_refused(deployment):
    play = deployment.play("rollback")
    assert play.rc == 2
    assert (
        f"local: {deployment.root}: no deployment of rlfleet (no file .rlfleet in it). Nothing was changed."
        in play.words
    )


@in_the_lab_too
def test_dry_run_on_a_fresh_root_succeeds_and_makes_nothing(deployment):
    play = deployment.deploy("--check", "--diff", rlfleet_wheel="")
    assert play.rc == 0, play.output
    assert not deployment.root.exists()
    assert "would run in" in play.words


def test_interrupted_installation_is_repaired_by_the_next_run(installed, deployment):
    """Killed while pip waits for a registry that says nothing; a requirement that is small stands for torch.

    The agent's wheels are on the controller already, since another root was deployed to.
    """
    small = {
        "rlfleet_wheel": deployment.wheel,
        "rlfleet_trainer_python": "",
        "rlfleet_trainer_requirements": ["msgspec"],
        "rlfleet_trainer_imports": ["msgspec"],
        "rlfleet_trainer_disk_mib": 100,
    }
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(240)
        index = {"PIP_INDEX_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/", "NO_PROXY": "127.0.0.1"}
        process = deployment.start("deploy", rlfleet_pip_environment=index, **small)
        connection, _ = silent.accept()
        everything = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for victim in everything:
            with contextlib.suppress(psutil.NoSuchProcess):  # one that ended by itself meanwhile
                victim.kill()
        process.communicate()
        deployment.end_processes()
        connection.close()
    (leftover,) = deployment.root.glob("trainer-envs/*/bin/python")
    environment = leftover.parents[1]
    assert not (environment / ".complete").exists()
    (environment / "half-written").touch()

    play = deployment.deploy(**small)
    assert play.rc == 0, play.output
    assert (environment / ".complete").is_file()
    assert not (environment / "half-written").exists()
    assert subprocess.run([leftover, "-c", "import msgspec"], check=False).returncode == 0
    assert str(leftover) in (deployment.root / "current" / "bin" / "rltrain").read_text()
    again = deployment.deploy(**small)
    assert [again.rc, again.count("changed")] == [0, 0]


def test_trainer_environment_that_pip_cannot_build_is_one_error_with_pips_words(deployment):
    play = deployment.deploy(
        rlfleet_trainer_python="",
        rlfleet_trainer_requirements=["msgspec==0.0.0"],
        rlfleet_trainer_disk_mib=100,
    )
    assert play.rc == 2
    assert "pip could not install the trainer's libraries:" in play.words
    assert "msgspec==0.0.0" in play.words
    assert play.output.count("fatal: ") == 1
    assert not (deployment.root / "current").exists()


def test_given_python_that_lacks_nothing_is_left_as_it_is(installed):
    assert str(sys.executable) in (installed.root / "current" / "bin" / "rltrain").read_text()
    assert [path.name for path in installed.root.glob("trainer-envs/*/*")] == [".complete"]
