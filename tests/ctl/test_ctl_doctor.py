"""`rlctl doctor`: real agents and real faults, each found and each with its fix."""

import json
import sys
import time

import pytest

from agent_host import AgentHost
from ctl_runs import Agent, inventory, rlctl
from ctl_sshd import free_port


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "home" / ".ssh" / "id_ed25519").touch()
    return tmp_path / "home"


@pytest.fixture
def doctor(tmp_path, home):
    """Return a function that runs it on hosts, and returns the exit code and what was found, by host and check."""

    def doctor(hosts, *words):
        (tmp_path / "inventory").mkdir(exist_ok=True)
        source = inventory(tmp_path / "inventory", hosts)
        done = rlctl("-i", source, "doctor", "-o", "json", *words, HOME=str(home), SSH_AUTH_SOCK="")
        assert done.stderr == ""
        data = json.loads(done.stdout)
        found = {"here": data["here"]} | {host["host"]: host["checks"] for host in data["hosts"]}
        return done.returncode, {(place, check["name"]): check for place, checks in found.items() for check in checks}

    return doctor


@pytest.fixture
def real(tmp_path):
    """Return a real agent that runs, and the inventory variables that lead to it."""
    host = AgentHost(tmp_path)
    program = tmp_path / "root" / "bin" / "rlagent"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rlagent --config {host.config} "$@"\n')
    program.chmod(0o755)
    host.start()
    yield host, {"ansible_connection": "local", "rlfleet_root": str(tmp_path / "root")}
    host.close()


def test_here_alone_without_an_inventory(tmp_path, home):
    done = rlctl("doctor", cwd=tmp_path, HOME=str(home), SSH_AUTH_SOCK="")
    assert (done.returncode, done.stderr) == (3, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "here"
    assert [line.split()[:2] for line in lines[1:6] if "→" not in line] == [
        ["python", "✓"],
        ["ssh", "✓"],
        ["ansible-playbook", "✓"],
        ["keys", "✓"],
        ["inventory", "✗"],
    ]
    assert lines[6].strip().startswith("→ copy inventory/example to inventory/fleet")


def test_a_running_agent_is_looked_at_in_full(doctor, real):
    _, variables = real
    code, found = doctor({"tnr-0": variables})
    names = [name for place, name in found if place == "tnr-0"]
    assert names == ["connection", "python", "config", "agent", "driver", "disk", "files", "boot hook", "clock"]
    verdicts = {name: found["tnr-0", name]["verdict"] for name in names}
    assert {name: verdicts[name] for name in ("connection", "python", "config", "agent", "files", "clock")} == (
        dict.fromkeys(["connection", "python", "config", "agent", "files", "clock"], "good")
    )
    assert all((check["fix"] is None) == (check["verdict"] == "good") for check in found.values())
    assert code == 3  # nothing starts this agent at boot
    assert found["tnr-0", "boot hook"]["verdict"] == "warning"


def test_each_fault_of_a_host_has_its_fix(doctor, real):
    host, variables = real
    host.kill_agent()
    host.paths.state_dir.chmod(0o755)
    _, found = doctor({"tnr-0": variables})
    assert found["tnr-0", "agent"]["detail"].startswith("no agent listens on ")
    assert found["tnr-0", "agent"]["fix"].startswith("start it: rlagent run --detach")
    assert found["tnr-0", "files"]["fix"] == f"chmod 700 {host.paths.state_dir}"
    host.config.write_text("[policy]\nstable_minute = 3\n")
    code, found = doctor({"tnr-0": variables})
    assert (code, found["tnr-0", "config"]["verdict"]) == (3, "fault")
    assert "[policy] stable_minute: unknown key (did you mean stable_minutes?)" in found["tnr-0", "config"]["detail"]


def test_a_host_without_an_agent_is_told_to_deploy_and_its_python_is_looked_at(doctor, tmp_path):
    bare = {"ansible_connection": "local", "rlfleet_root": str(tmp_path / "nothing")}
    code, found = doctor({"tnr-0": bare})
    assert [name for place, name in found if place == "tnr-0"] == ["connection", "python", "agent"]
    assert (code, found["tnr-0", "python"]["verdict"], found["tnr-0", "agent"]["verdict"]) == (3, "good", "fault")
    assert found["tnr-0", "agent"]["fix"].startswith("deploy it: cd playbooks && ansible-playbook")


def test_an_unreachable_host_is_its_exit_code_and_its_fix_on_the_page(tmp_path, home):
    port = free_port()
    source = inventory(tmp_path, {"tnr-0": {"ansible_host": "127.0.0.1", "ansible_port": port}})
    done = rlctl("-i", source, "doctor", HOME=str(home))
    assert done.returncode == 5
    page = done.stdout.split("tnr-0\n")[1].splitlines()
    assert page[0].split(maxsplit=2)[:2] == ["connection", "✗"]
    assert f"127.0.0.1:{port} refused the connection" in page[0]
    assert page[1].strip() == "→ is the server up, and ansible_port right?"


def test_names_that_can_be_mistaken(doctor, home, real, tmp_path):
    _, variables = real
    (home / ".ssh" / "config").write_text(
        "Host tnr-0 box\n  HostName 10.0.0.1\nInclude more/*\nHost *.lab\n  User x\nHost *.lab\n"
    )
    (home / ".ssh" / "more").mkdir()
    (home / ".ssh" / "more" / "a").write_text("# comment\nHost=tnr-0\n  HostName 10.0.0.2\n")
    other = tmp_path / "link"
    other.symlink_to(variables["rlfleet_root"])
    code, found = doctor({"a": variables, "b": variables, "c": variables | {"rlfleet_root": str(other)}})
    assert code == 3
    said = found["here", "ssh config"]["detail"]
    assert said == f"tnr-0 stands in {home}/.ssh/config:1 and {home}/.ssh/more/a:2"
    assert "a and b and c are the same machine: host UUID " in found["here", "aliases"]["detail"]


def test_a_clock_that_is_off(doctor, tmp_path):
    agent = Agent(tmp_path / "root")
    seen = {"at": time.time() - 3600, "host_uuid": None, "checks": []}
    agent.program.write_text(f"#!/bin/sh\necho '{json.dumps(seen)}'\n")
    code, found = doctor({"tnr-0": agent.local()})
    assert (code, found["tnr-0", "clock"]["verdict"]) == (3, "warning")
    assert found["tnr-0", "clock"]["detail"].endswith(" behind this machine's")


def test_an_agent_too_old_for_it_is_told_to_upgrade(doctor, tmp_path):
    agent = Agent(tmp_path / "root")
    agent.program.write_text("#!/bin/sh\necho \"argument COMMAND: invalid choice: 'doctor'\" >&2; exit 2\n")
    code, found = doctor({"tnr-0": agent.local()})
    assert (code, found["tnr-0", "agent"]["detail"]) == (3, "it is older and does not know doctor")
    assert found["tnr-0", "agent"]["fix"].startswith("upgrade it: cd playbooks && ansible-playbook")
