"""What can't work is refused before anything is changed: one error with the place, the fault and the next step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from playbook_runs import CHECKOUT, PLAYBOOKS

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"rlfleet_policy": {"stable_minute": 5}},
            "local: rlfleet_policy: [policy] stable_minute: unknown key (did you mean stable_minutes?). Nothing was",
        ),
        (
            {"rlfleet_supervisor": {"log_keep": None}},
            "rlfleet_supervisor.log_keep: no value; give it one or leave it out",
        ),
        ({"rlfleet_polcy": {}}, "local: rlfleet_polcy: unknown variable (did you mean rlfleet_policy?)."),
        (
            {"rlfleet_price_per_hour": "0,35 $"},
            "local: rlfleet_price_per_hour 0,35 $: not a price in dollars an hour; write a number such as 0.78",
        ),
        (
            {"rlfleet_constraints": "/nowhere/constraints.txt"},
            "local: rlfleet_constraints /nowhere/constraints.txt: no such file on the controller;",
        ),
        ({"rlfleet_root": "relative"}, "local: rlfleet_root relative: must be an absolute path"),
        ({"rlfleet_agent": {"state_dir": "/x"}}, "local: rlfleet_agent.state_dir: always "),
        (
            {"rlfleet_python": "/nowhere/python3"},
            "Set rlfleet_python to such an interpreter of the host",
        ),
        (
            {"rlfleet_trainer_python": "/bin/true"},
            "local: rlfleet_trainer_python /bin/true: it says nothing. Install that there,",
        ),
        (
            {"rlfleet_trainer_imports": ["torch", "no_such_module"]},
            "lacks no_such_module. Install that there, or leave rlfleet_trainer_python out to have an",
        ),
        (
            {"rlfleet_trainer_python": "", "rlfleet_trainer_disk_mib": 10**9},
            "MiB free, the installation needs 1000000000 MiB (rlfleet_trainer_disk_mib). Free some,",
        ),
        ({"rlfleet_service_manager": "systemd"}, "local: rlfleet_service_manager systemd: needs systemd as PID 1"),
        ({"rlfleet_wheel": "/nowhere/x.whl"}, "/nowhere/x.whl: no wheel of rlfleet"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_variable_is_one_readable_error_and_changes_nothing(deployment, variables, expected):
    play = deployment.deploy(**variables)
    assert play.rc == 2
    assert expected in play.words
    assert play.output.count("fatal: ") == 1
    assert [play.count("failed"), play.count("changed")] == [1, 0]
    assert not deployment.root.exists()


def test_folder_of_something_else_is_refused_and_left_alone(deployment):
    deployment.root.mkdir()
    (deployment.root / "thesis.tex").write_text("years of work")
    for playbook in ("deploy", "uninstall"):
        play = deployment.play(playbook, rlfleet_trainer_python=sys.executable, rlfleet_purge=True)
        assert play.rc == 2
        assert f"local: {deployment.root}: " in play.words
        assert "no file .rlfleet in it" in play.words
    assert deployment.files() == ["thesis.tex"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_root_folder_that_cannot_be_written_is_refused(deployment):
    deployment.root.parent.chmod(0o500)
    play = deployment.deploy()
    deployment.root.parent.chmod(0o700)
    assert play.rc == 2
    assert "can't write there (it belongs to " in play.words


def test_missing_inventory_is_told_with_the_next_step(tmp_path):
    for inventory in (tmp_path / "missing", tmp_path):
        play = subprocess.run(
            [Path(sys.executable).parent / "ansible-playbook", "-i", inventory, "deploy.yml"],
            cwd=PLAYBOOKS,
            capture_output=True,
            text=True,
            check=False,
        )
        assert play.returncode == 2
        assert f"{inventory}: no host in a group named gpu_servers. Copy inventory/example" in " ".join(
            play.stdout.split()
        )


def test_example_inventory_is_valid_and_names_every_variable():
    """The example is the documentation: nothing in it may be unknown, and nothing may be missing from it."""
    example = CHECKOUT / "inventory" / "example"
    command = [Path(sys.executable).parent / "ansible-inventory", "-i", example, "--list"]
    hosts = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert hosts["gpu_servers"]["hosts"] == ["tnr-0", "tnr-1"]

    text = (example / "group_vars" / "gpu_servers.yml").read_text()
    commented = {line[2:].partition(":")[0] for line in text.splitlines() if line.startswith("# rlfleet_")}
    defaults = (PLAYBOOKS / "roles/rlfleet/defaults/main.yml").read_text()
    known = {line.partition(":")[0] for line in defaults.splitlines() if line.startswith("rlfleet_")}
    assert commented == known
