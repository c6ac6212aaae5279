"""A fleet of a VM and a container is deployed to, upgraded, rolled back; real trainers learn all the while.

The hosts have no way out: everything comes from the controller. The tests follow each other as an operator's days do.
"""

import itertools
import json
import stat
import time

import pytest

from faults.target import HOOK, UNHURRIED
from lab import fleet
from lab.fleet import ROOT, Fleet, fresh, release, status, steps
from lab.spec import Spec

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(1800)]

VM, CONTAINER = "tnr-0", "tnr-1"
SECRET = "s3cret-of-the-operator"  # noqa: S105  # to be looked for where it must not be
LADDER = [
    {"name": "light", "games": 1, "num_envs": 4, "batch_size": 64},
    {"name": "medium", "games": 1, "num_envs": 8, "batch_size": 128},
]
FLAGS = ("--num-minibatches=2", "--update-epochs=1")
BATCH = 128
"""Steps of an iteration in medium."""


@pytest.fixture(scope="module")
def team(make_lab, controller_python, releases):
    fleet.fill_wheelhouse(releases["old"], "3.11")
    binds = {**controller_python.binds, HOOK: str(HOOK)}
    lab = make_lab(Spec("vm", binds=binds), Spec("container", binds=binds))
    return Fleet(
        lab,
        rlfleet_wheel=releases["old"]["path"],
        rlfleet_trainer_python=str(controller_python.python),
        rlfleet_trainer={
            "command": [str(controller_python.python), "-m", "rltrainer", "train", *FLAGS],
            "checkpoint_interval_s": 3,
            "env": {**UNHURRIED, "PYTHONPATH": f"{HOOK}:{ROOT}/current/lib", "API_KEY": SECRET},
        },
        rlfleet_supervisor={"start_timeout_s": 300, "restart_backoff_s": [1]},
        rlfleet_modes=LADDER,
        rlfleet_games=[{"name": "Pong"}],
        rlfleet_batches=[1, "100%"],
    )


@pytest.fixture(scope="module")
def deployed(team):
    """Deploy the old release and wait until a trainer learns on each host, held in medium."""
    team.deploy_output = team.must("deploy", "-v", "--diff").output
    team.rlctl("hold", "medium", *team.hosts, "--why", "test", "--yes")
    team.wait_learning(mode="medium")
    return team


def test_a_dry_run_on_fresh_hosts_succeeds_and_changes_nothing(team):
    play = team.must("deploy", "--check", "--diff")
    assert [play.count("failed", name) for name in team.hosts] == [0, 0]
    assert play.words.count("would run in /opt/rlfleet") == 2
    assert [(host.root / ROOT[1:]).exists() for host in team.hosts.values()] == [False] * 2


def test_trainers_learn_on_all_hosts_and_rlctl_shows_them(deployed):
    before = {name: steps(host) for name, host in deployed.hosts.items()}
    shown = deployed.rlctl("status", check=False).stdout
    assert all(name in shown for name in deployed.hosts)
    deployed.wait(
        lambda: all(steps(host)["Pong"] > before[name]["Pong"] for name, host in deployed.hosts.items()), "more steps"
    )


def test_the_trainers_own_command_finds_its_libraries(deployed):
    deployed.wait_committed()
    for host in deployed.hosts.values():
        assert host.ssh(f"{ROOT}/bin/rltrain verify {ROOT}/var/runs/Pong").returncode == 0


def test_the_play_says_what_starts_each_host_at_boot(deployed):
    words = " ".join(deployed.deploy_output.split())
    assert words.count("started at boot by systemd (rlfleet-agent)") == 1
    assert "NOT started at boot (neither systemd nor cron nor rc.local runs here): the next rlctl command" in words


def test_a_second_run_changes_nothing(deployed):
    before = {name: fresh(host)["agent"]["pid"] for name, host in deployed.hosts.items()}
    play = deployed.must("deploy")
    assert [play.count("changed", name) for name in deployed.hosts] == [0, 0]
    assert before == {name: fresh(host)["agent"]["pid"] for name, host in deployed.hosts.items()}


@pytest.mark.parametrize("name", [VM, CONTAINER])
def test_the_agent_is_for_its_user_alone_and_listens_on_no_port(deployed, name):
    host = deployed.hosts[name]
    modes = {path: said(host, f"stat -c '%a %U' {ROOT}/{path}") for path in ("var", "var/agent.sock")}
    assert modes == {"var": "700 ubuntu", "var/agent.sock": "600 ubuntu"}
    assert said(host, f"stat -L -c '%a %U' {ROOT}/etc/config.toml") == "600 ubuntu"
    # Agent and trainers replace their files all the time: find must not complain of one that is gone.
    race = "-ignore_readdir_race"
    loose = said(host, f"find {ROOT} {race} -perm /022 ! -type l; find {ROOT}/var {race} -type f -perm /077")
    assert loose == ""
    listening = host.inside("ss", "-Hltnup").stdout
    assert [line for line in listening.splitlines() if "sshd" not in line] == []
    stranger = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/opt/rlfleet/var/agent.sock')"
    refused = host.inside("setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", stranger, check=False)
    assert "PermissionError" in refused.stderr


def test_secrets_are_in_no_output_and_no_log(deployed):
    """A trainer's environment may hold passwords: they are in files of mode 0600 that only the agent needs."""
    assert SECRET not in deployed.deploy_output
    for host in deployed.hosts.values():
        places = f"{ROOT}/var/logs {ROOT}/var/status.json {ROOT}/var/state.toml /var/log"
        assert host.inside("sh", "-c", f"grep -rl {SECRET} {places}; true").stdout == ""
        readable = host.inside("sh", "-c", f"find {ROOT} -type f -perm /077 -exec grep -l {SECRET} {{}} +; true").stdout
        assert readable == ""
    assert SECRET not in deployed.hosts[VM].inside("journalctl", "--no-pager").stdout


def test_the_unit_protects_the_agent_and_leaves_trainers_to_the_agent(deployed):
    """What systemd makes of the unit; whether the kernel lets it protect anything is this machine's business."""
    wanted = {
        "Type": "notify",
        "WatchdogUSec": "1min",
        "KillMode": "process",
        "OOMScoreAdjust": "-500",
        "NoNewPrivileges": "yes",
        "User": "ubuntu",
        "SubState": "running",
    }
    shown = said(deployed.hosts[VM], f"systemctl show rlfleet-agent -p {','.join(wanted)}")
    assert dict(line.split("=") for line in shown.splitlines()) == wanted
    assert "mode medium, 1 trainers run" in said(deployed.hosts[VM], "systemctl show rlfleet-agent -p StatusText")
    trainer = fresh(deployed.hosts[VM])["trainers"][0]["pid"]
    assert said(deployed.hosts[VM], f"cat /proc/{trainer}/oom_score_adj") == "0"


def test_an_agent_that_stands_still_is_started_anew_and_trainers_go_on(deployed):
    """The unit's watchdog, shortened as far as no busy machine trips it; SIGSTOP stands for a loop that hangs."""
    host = deployed.hosts[VM]
    pid, trainer = fresh(host)["agent"]["pid"], fresh(host)["trainers"][0]["pid"]
    drop_in = "/run/systemd/system/rlfleet-agent.service.d"
    host.inside("sh", "-c", f"mkdir -p {drop_in}; printf '[Service]\\nWatchdogSec=15\\n' >{drop_in}/quick.conf")
    host.inside("sh", "-c", "systemctl daemon-reload; systemctl restart rlfleet-agent")
    watched = deployed.wait(lambda: other_agent(host, pid), "the restarted agent")
    host.inside("kill", "-STOP", watched)
    deployed.wait(lambda: other_agent(host, watched), "the agent's next start")
    host.inside("sh", "-c", f"rm -r {drop_in}; systemctl daemon-reload; systemctl restart rlfleet-agent")
    journal = ("journalctl", "-u", "rlfleet-agent", "--no-pager")
    deployed.wait(lambda: "watchdog" in host.inside(*journal).stdout.lower(), "what systemd said of it")
    assert deployed.wait_learning(host)[VM] == {"Pong": trainer}
    assert status(host)["incidents_last_hour"] == 0


def test_a_dead_agent_is_revived_by_rlctl_as_its_host_does_it(deployed):
    vm, container = deployed.hosts[VM], deployed.hosts[CONTAINER]
    trainers = deployed.wait_learning(vm, container)
    vm.inside("systemctl", "stop", "rlfleet-agent")
    container.inside("kill", "-KILL", fresh(container)["agent"]["pid"])
    deployed.wait(lambda: not fresh(container), "the end of the agent")
    deployed.rlctl("status", VM, CONTAINER, check=False)
    active = ("systemctl", "is-active", "rlfleet-agent")
    deployed.wait(lambda: vm.inside(*active, check=False).stdout == "active\n", "the agent as a unit")
    assert deployed.wait_learning(vm, container) == trainers


def test_an_upgrade_stops_no_trainer_and_loses_no_step(deployed, releases):
    agents = {name: fresh(host)["agent"]["pid"] for name, host in deployed.hosts.items()}
    trainers, before = deployed.wait_learning(), {name: steps(host) for name, host in deployed.hosts.items()}
    recorded = {name: len(recorded_steps(host)) - 1 for name, host in deployed.hosts.items()}
    play = deployed.must("deploy", rlfleet_wheel=releases["new"]["path"])
    assert play.output.index(f"{VM}: rlfleet") < play.output.index(f"{CONTAINER}: rlfleet")  # the canary came first
    assert {release(host) for host in deployed.hosts.values()} == {releases["new"]["release"]}
    assert deployed.wait_learning() == trainers
    for name, host in deployed.hosts.items():
        assert fresh(host)["agent"]["pid"] != agents[name]
        assert steps(host)["Pong"] > before[name]["Pong"]
        assert fresh(host)["incidents_last_hour"] == 0
        # Every iteration of 8 environments x 16 steps is there once: before, during and after.
        more = recorded[name] + 2
        deployed.wait(lambda host=host, more=more: len(recorded_steps(host)) > more, "further iterations")
        assert gaps(recorded_steps(host)[recorded[name] :]) == {BATCH}


def test_a_release_whose_agent_cannot_start_gives_way_to_the_old_one(deployed, releases):
    """Only the canary ever sees it; its configuration goes back too."""
    trainers = deployed.wait_learning()
    play = deployed.play("deploy", rlfleet_wheel=releases["broken"]["path"], rlfleet_policy={"stable_minutes": 7})
    assert play.rc == 2
    broken, good = releases["broken"]["release"], releases["new"]["release"]
    assert f"{VM}: /opt/rlfleet: release {broken} does not do its work:" in play.words
    assert f"Release {good} with its configuration runs again, and no trainer was stopped." in play.words
    assert "RuntimeError: this release is broken" in play.words
    assert {release(host) for host in deployed.hosts.values()} == {good}
    assert deployed.wait_learning() == trainers
    assert {fresh(host)["stable_needed_s"] for host in deployed.hosts.values()} == {3600}
    assert [(host.root / ROOT[1:] / ".deploy-lock").exists() for host in deployed.hosts.values()] == [False] * 2


def test_a_second_deploy_at_once_is_refused_and_a_dead_ones_lock_is_taken_over(deployed, releases):
    first = deployed.start("deploy", rlfleet_wheel=releases["new"]["path"])
    locks = [host.root / ROOT[1:] / ".deploy-lock" for host in deployed.hosts.values()]
    deployed.wait(lambda: all(lock.exists() for lock in locks), "the locks")
    first.send_signal(19)  # SIGSTOP: it stays in the middle, alive
    second = deployed.play("rollback")
    first.kill()
    first.communicate()
    assert second.rc == 2
    assert f"{VM}: root@" in second.words
    assert f"(process {first.pid}) is deploying here" in second.words
    third = deployed.must("deploy", rlfleet_wheel=releases["new"]["path"])
    assert "took over the deploy lock of root@" in third.words
    assert "that run has ended without giving it back" in third.words
    assert [lock.exists() for lock in locks] == [False] * 2


def test_a_rollback_goes_to_the_release_before_and_stops_no_trainer(deployed, releases):
    trainers = deployed.wait_learning()
    deployed.must("rollback")
    assert {release(host) for host in deployed.hosts.values()} == {releases["old"]["release"]}
    assert deployed.wait_learning() == trainers
    for host in deployed.hosts.values():
        left = {path.name for path in (host.root / ROOT[1:] / "releases").iterdir()}
        assert left == {releases["old"]["release"], releases["new"]["release"]}  # the broken one is gone


def test_after_a_reboot_training_goes_on_in_the_right_mode_and_it_counts_once(deployed):
    """`systemctl reboot`, and a container's restart, whose agent waits for the next contact."""
    deployed.wait_learning(mode="medium")
    kept = {name: checkpointed(host) for name, host in deployed.hosts.items()}
    attempts = {name: status(host)["trainers"][0]["attempt"] for name, host in deployed.hosts.items()}
    vm, container = deployed.hosts.values()
    vm.reboot(wait=False)
    container.reboot()
    time.sleep(2)
    assert fresh(container) == {}
    vm.wait_up()
    deployed.rlctl("status", check=False)
    deployed.wait_learning(mode="medium")
    for name, host in deployed.hosts.items():
        seen = fresh(host)
        assert (seen["mode"], seen["incidents_last_hour"], seen["reboots_last_hour"]) == ("medium", 1, 1), name
        assert seen["trainers"][0]["attempt"] == attempts[name] + 1
        assert steps(host)["Pong"] >= kept[name]
        assert "resume" in (host.root / ROOT[1:] / "var/logs/Pong.log").read_text(errors="replace").lower()
        # What was recorded after the checkpoint is recorded again, not twice; a checkpoint may be within an iteration.
        assert all(0 < gap < 2 * BATCH for gap in gaps(recorded_steps(host)[-20:]))


def test_uninstalling_leaves_checkpoints_and_configuration_and_nothing_running(deployed):
    deployed.must("uninstall")
    for host in deployed.hosts.values():
        kept = host.root / ROOT[1:]
        assert sorted(path.name for path in kept.iterdir() if path.is_dir()) == ["etc", "var"]
        assert stat.S_IMODE((kept / "etc/config.toml").stat().st_mode) == 0o600
        assert list(kept.glob("var/runs/Pong/checkpoints/ckpt-*.pt"))
        assert host.inside("pgrep", "-f", "rlagent|rltrainer", check=False).stdout == ""
        assert not (host.root / "etc/systemd/system/rlfleet-agent.service").exists()


def said(host, command):
    return host.ssh(command).stdout.strip()


def other_agent(host, pid):
    """Return the process of a host's agent if it is another one than this."""
    now = fresh(host).get("agent", {}).get("pid")
    return now if now != pid else None


def checkpointed(host):
    """Return the step of a host's newest checkpoint."""
    newest = max((host.root / ROOT[1:] / "var/runs/Pong/checkpoints").glob("ckpt-*.pt"))
    return int(newest.stem.removeprefix("ckpt-"))


def recorded_steps(host):
    """Return the step after each recorded iteration of a host's run."""
    text = (host.root / ROOT[1:] / "var/runs/Pong/metrics.jsonl").read_text()
    lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may just be being written
    return [record["global_step"] for record in map(json.loads, lines) if record["kind"] == "iteration"]


def gaps(numbers):
    """Return the differences of a sequence."""
    return {after - before for before, after in itertools.pairwise(numbers)}
