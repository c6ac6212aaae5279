"""What can't work is refused before anything is changed: one error with the place, the fault and the next step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from playbook_runs import CHECKOUT, PLAYBOOKS, Deployment, light, play_hosts

pytestmark = pytest.mark.timeout(900)


BAD = {
    "policy": (
        {"rlfleet_policy": {"stable_minute": 5}},
        "policy: rlfleet_policy: [policy] stable_minute: unknown key (did you mean stable_minutes?). Nothing was",
    ),
    "supervisor": (
        {"rlfleet_supervisor": {"log_keep": None}},
        "rlfleet_supervisor.log_keep: no value; give it one or leave it out",
    ),
    "misspelt": ({"rlfleet_polcy": {}}, "misspelt: rlfleet_polcy: unknown variable (did you mean rlfleet_policy?)."),
    "price": (
        {"rlfleet_price_per_hour": "0,35 $"},
        "price: rlfleet_price_per_hour 0,35 $: not a price in dollars an hour; write a number such as 0.78",
    ),
    "constraints": (
        {"rlfleet_constraints": "/nowhere/constraints.txt"},
        "constraints: rlfleet_constraints /nowhere/constraints.txt: no such file on the controller;",
    ),
    "relative": ({"rlfleet_root": "relative"}, "relative: rlfleet_root relative: must be an absolute path"),
    "agent": ({"rlfleet_agent": {"state_dir": "/x"}}, "agent: rlfleet_agent.state_dir: always "),
    "python": (
        {"rlfleet_python": "/nowhere/python3"},
        "Set rlfleet_python to such an interpreter of the host",
    ),
    "trainer-python": (
        {"rlfleet_trainer_python": "/bin/true"},
        "trainer-python: rlfleet_trainer_python /bin/true: it says nothing. Install that there,",
    ),
    "trainer-imports": (
        {"rlfleet_trainer_imports": ["torch", "no_such_module"]},
        "lacks no_such_module. Install that there, or leave rlfleet_trainer_python out to have an",
    ),
    "disk": (
        {"rlfleet_trainer_python": "", "rlfleet_trainer_disk_mib": 10**9},
        "MiB free, the installation needs 1000000000 MiB (rlfleet_trainer_disk_mib). Free some,",
    ),
    "systemd": (
        {"rlfleet_service_manager": "systemd"},
        "systemd: rlfleet_service_manager systemd: needs systemd as PID 1",
    ),
    "thesis": ({}, "no file .rlfleet in it"),
    "locked": ({}, "can't write there (it belongs to "),
}
"""By host: what is wrong with it, and what is said of it; the last two have a folder that is."""


@pytest.fixture(scope="module")
def refused(tmp_path_factory, wheel):
    """Deploy to a host for each fault, all at once; return the play and the folder of their roots."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.tex").write_text("years of work")
    (folder / "locked").mkdir(mode=0o500)
    roots = {name: str(folder / name) for name in BAD if name != "locked"}
    if os.geteuid() != 0:
        roots["locked"] = str(folder / "locked" / "rlfleet")
    hosts = {name: {"rlfleet_root": root, **BAD[name][0]} for name, root in roots.items()}
    common = {**light(wheel), "rlfleet_become": False, "rlfleet_boot_hook": False, "rlfleet_trainer_disk_mib": 3000}
    yield play_hosts(folder, hosts, **common), folder
    Deployment(folder, wheel).end_processes()  # of a host that was not refused


@pytest.mark.parametrize("host", BAD)
def test_bad_variable_is_one_readable_error_and_changes_nothing(refused, host):
    play, folder = refused
    if host == "locked" and os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    (fault,) = play.faults(host)
    assert BAD[host][1] in fault
    assert host != "thesis" or f"thesis: {folder}/thesis: holds something else" in fault
    assert [play.count("failed", host), play.count("changed", host)] == [1, 0]
    assert play.rc == 2
    left = sorted(path.name for path in (folder / host).rglob("*")) if (folder / host).exists() else None
    assert left == {"thesis": ["thesis.tex"], "locked": []}.get(host)


def test_what_is_no_wheel_is_one_readable_error_and_changes_nothing(deployment):
    """The wheel is one for all hosts: its fault is told once."""
    play = deployment.deploy(rlfleet_wheel="/nowhere/x.whl")
    assert play.rc == 2
    assert "/nowhere/x.whl: no wheel of rlfleet" in play.words
    assert play.output.count("fatal: ") == 1
    assert [play.count("failed"), play.count("changed")] == [1, 0]
    assert not deployment.root.exists()


def test_folder_of_something_else_is_not_uninstalled_either(deployment):
    deployment.root.mkdir()
    (deployment.root / "thesis.tex").write_text("years of work")
    play = deployment.play("uninstall", rlfleet_trainer_python=sys.executable, rlfleet_purge=True)
    assert play.rc == 2
    assert f"local: {deployment.root}: " in play.words
    assert "no file .rlfleet in it" in play.words
    assert deployment.files() == ["thesis.tex"]


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
