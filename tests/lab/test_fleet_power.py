"""The power fails at any instant of a deployment, an upgrade, a rollback: the next run repairs it. And in daily life.

A VM and two containers at once, each with its own random instant; small trainers, so that all the time is the plays'.
"""

import random
import shutil
import threading
import time
from pathlib import Path

import pytest

import soak
from agent_host import TRAINERS
from lab import fleet
from lab.fleet import ROOT, Fleet, fresh, learning, release, status, steps
from lab.spec import Spec

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1800)]

SOAK = [pytest.param(n, marks=soak.tenth(n)) for n in range(1, 11)]
SAMPLE = pytest.param(0, id="sample")
"""In each of these rounds every host loses its power once in each kind of play."""
TASKS = {"deploy": (20, 72), "rollback": (4, 28)}
"""About these tasks of a play do something on the hosts; a cut comes at a random one of them."""
SMALL = ["tomli-w", "msgspec"]
"""Stands for the trainer's libraries where an environment is built: what matters is that it is built offline."""
PYTHONS = {"tnr-0": "3.10", "tnr-2": "3.13"}
"""Hosts whose Python is a given one, not the system's."""
WITH_CRON = "tnr-1"


@pytest.fixture(scope="module")
def team(make_lab, releases, pyenv):
    fleet.fill_wheelhouse(releases["old"], "3.11", *SMALL)
    for version in PYTHONS.values():
        fleet.fill_wheelhouse(releases["old"], version, *SMALL)
    binds = {TRAINERS: str(TRAINERS)}
    specs = [
        Spec("vm", binds={**binds, pyenv["3.10"]: str(pyenv["3.10"])}),
        Spec("container", binds=binds, cron=True),
        Spec("container", binds={**binds, pyenv["3.13"]: str(pyenv["3.13"])}),
    ]
    lab = make_lab(*specs)
    (lab.inventory / "host_vars").mkdir()
    for name, version in PYTHONS.items():
        (lab.inventory / "host_vars" / f"{name}.yml").write_text(f"rlfleet_python: {pyenv[version]}/bin/python3\n")
    return Fleet(
        lab,
        rlfleet_offline=True,
        rlfleet_trainer_requirements=SMALL,
        rlfleet_trainer_imports=["msgspec"],
        rlfleet_trainer_disk_mib=100,
        rlfleet_trainer={"command": ["python3", str(TRAINERS / "foreign_trainer.py")], "checkpoint_interval_s": 0.5},
        rlfleet_supervisor={"restart_backoff_s": [0.5]},
        rlfleet_agent={"tick_s": 0.5},
        rlfleet_policy={"stable_minutes": 600},
        rlfleet_modes=[
            {"name": "light", "games": 1, "num_envs": 8, "batch_size": 128},
            {"name": "medium", "games": 2, "num_envs": 8, "batch_size": 128},
        ],
        rlfleet_games=[{"name": "Pong"}, {"name": "Breakout"}, {"name": "Qbert"}],
        rlfleet_batches=["100%"],
    )


@pytest.fixture(scope="module")
def pyenv(tmp_path_factory):
    """Return where this machine keeps further Pythons; skip where it has none."""
    found = {
        version: path
        for version in PYTHONS.values()
        for path in sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*"))
    }
    if len(found) < len(PYTHONS):
        pytest.skip(f"no Python {' and '.join(set(PYTHONS.values()) - set(found))} in ~/.pyenv/versions")
    return found


def cut_during(team, playbook, number, **variables):
    """Run a play, cut each host's power once at an instant of its own, and power all on again."""
    dice = random.Random(f"{soak.SEED} {number} {variables}")
    instants = sorted((dice.uniform(*TASKS[playbook]), name) for name in team.hosts)
    play = team.start(playbook, **variables)
    output, cuts, begun = [], [], 0
    threads = []
    for line in play.stdout:
        output.append(line)
        begun += line.startswith("TASK [")
        while instants and begun >= instants[0][0]:
            _, name = instants.pop(0)
            delay_s = dice.uniform(0, 1.5)
            cuts.append(f"{name} at task {begun} + {delay_s:.1f} s: {line.strip(' *' + chr(10))}")
            threads.append(threading.Timer(delay_s, team.hosts[name].power_cut))
            threads[-1].start()
    play.wait(300)
    for thread in threads:
        thread.join()
    for _, name in instants:  # the play was over before
        team.hosts[name].power_cut()
        cuts.append(f"{name} after the play")
    print(f"{playbook}:", *cuts, sep="\n  ")
    for host in team.hosts.values():
        host.power_on(wait=False)
    for host in team.hosts.values():
        host.wait_up()
    return "".join(output)


def repaired(team, playbook, expected, **variables):
    """Run the play again: it must leave every host with the release at work, its trainer, and nothing half-done."""
    team.must(playbook, **variables)
    team.wait_learning()
    for name, host in team.hosts.items():
        root = host.root / ROOT[1:]
        assert release(host) == expected, name
        assert fresh(host)["agent"]["version"] == "0.1.0"
        assert [path.name for path in (root / "releases").iterdir() if not (path / ".complete").is_file()] == []
        assert [path.name for path in root.iterdir() if path.name in (".switch", ".deploy-lock")] == []
        assert steps(host)["Pong"] >= team.committed.get(name, 0)
    team.committed = {name: steps(host)["Pong"] for name, host in team.hosts.items()}


@pytest.mark.parametrize("number", [SAMPLE, *SOAK])
def test_a_power_cut_while_deploying_is_repaired_by_the_next_run(team, releases, number):
    team.committed = {}
    for host in team.hosts.values():  # fresh hosts again
        host.power_cut()
        shutil.rmtree(host.root / ROOT[1:], ignore_errors=True)
        (host.root / "etc/systemd/system/rlfleet-agent.service").unlink(missing_ok=True)
        (host.root / "etc/systemd/system/multi-user.target.wants/rlfleet-agent.service").unlink(missing_ok=True)
        host.power_on(wait=False)
    for host in team.hosts.values():
        host.wait_up()
    wheel = releases["old"]
    cut_during(team, "deploy", number, rlfleet_wheel=wheel["path"])
    repaired(team, "deploy", wheel["release"], rlfleet_wheel=wheel["path"])


@pytest.mark.parametrize("number", SOAK)
def test_a_power_cut_while_upgrading_and_rolling_back_is_repaired_by_the_next_run(team, releases, number):
    new, old = releases["new"], releases["old"]
    cut_during(team, "deploy", number, rlfleet_wheel=new["path"])
    repaired(team, "deploy", new["release"], rlfleet_wheel=new["path"])
    cut_during(team, "rollback", number)
    repaired(team, "rollback", old["release"])


def test_given_pythons_run_the_agent(team):
    team.rlctl("status", check=False)
    team.wait_learning()
    versions = {
        name: host.inside("cat", f"/proc/{fresh(host)['agent']['pid']}/maps").stdout
        for name, host in team.hosts.items()
    }
    for name, version in PYTHONS.items():
        assert f"/versions/{version}." in versions[name]


def test_four_power_cuts_in_medium_end_in_light_with_the_reason_in_the_history(team):
    """Hosts of every kind at once; the container without a boot hook comes back at each contact."""
    team.rlctl("hold", "medium", *team.hosts, "--why", "go up", "--yes")
    team.wait_learning(mode="medium", count=2)
    team.rlctl("release", *team.hosts, "--yes")
    team.wait_committed()  # three cuts in a row without a checkpoint between them would demote for that
    for number in range(4):
        for host in team.hosts.values():
            host.power_cut()
        for host in team.hosts.values():
            host.power_on(wait=False)
        for host in team.hosts.values():
            host.wait_up()
        team.rlctl("status", check=False)
        mode, count = ("medium", 2) if number < 3 else ("light", 1)
        team.wait_learning(mode=mode, count=count)
        team.wait_committed()
    for name in team.hosts:
        history = " ".join(team.rlctl("history", name).stdout.split())
        assert "demote medium -> light: 4 incidents in 60 min (limit 3): reboot" in history, history[-3000:]


def test_with_cron_the_agent_comes_back_without_any_contact(team):
    host = team.hosts[WITH_CRON]
    host.power_cut()
    host.power_on()
    deadline = time.monotonic() + 240
    while not learning(host, None, 1) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert learning(host, None, 1), status(host)
