"""`rlctl logs` on this machine: lines, faults, and an end to what was started."""

import os
import signal

import pytest

from ctl_runs import Agent, Terminal, gone, inventory, rlctl


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path / "root")
    agent.log("agent", "agent 1\nagent 2\n")
    agent.log("Pong", "".join(f"Ep {n}\n" for n in range(100)))
    return agent


@pytest.fixture
def source(tmp_path, agent):
    return inventory(tmp_path, {"tnr-0": agent.local(), "tnr-1": agent.local()})


def test_the_agents_own_log(source):
    done = rlctl("-i", source, "logs", "tnr-0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "agent 1\nagent 2\n", "")


def test_the_last_lines_of_a_game(source):
    assert rlctl("-i", source, "logs", "tnr-0", "Pong", "-n", "2").stdout == "Ep 98\nEp 99\n"


def test_an_unknown_game_is_the_agents_message_and_exit_code_2(source):
    done = rlctl("-i", source, "logs", "tnr-0", "Pnog")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rlctl: tnr-0: logs Pnog: no such game; the configuration has Pong\n"


def test_more_than_one_host_is_told(source):
    done = rlctl("-i", source, "logs", "tnr-*")
    assert done.returncode == 2
    assert done.stderr == "rlctl: 'tnr-*' means 2 hosts (tnr-0, tnr-1); logs shows one: name it\n"


def test_no_agent_is_exit_code_5(agent, source):
    agent.program.unlink()
    done = rlctl("-i", source, "logs", "tnr-0")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"rlctl: no agent is installed ({agent.program} not found); deploy it: ")


def test_a_log_is_followed_until_ctrl_c_and_nothing_is_left_behind(agent, source):
    terminal = Terminal("-i", source, "logs", "tnr-0", "Pong", "-n", "1", "-f")
    terminal.read_until("Ep 99")
    agent.log("Pong", "Ep 100\n")
    terminal.read_until("Ep 100")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.output
    assert gone(int((agent.root / "logs.pid").read_text()))


def test_a_terminated_rlctl_leaves_nothing_behind(agent, source):
    terminal = Terminal("-i", source, "logs", "tnr-0", "-f")
    terminal.read_until("agent 2")
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.finish() == 143
    assert gone(int((agent.root / "logs.pid").read_text()))
