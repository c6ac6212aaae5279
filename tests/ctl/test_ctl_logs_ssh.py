"""`rlctl logs -f` over SSH, through a real sshd whose sessions are cut: no line is lost, none comes twice."""

import os
import re
import shutil
import signal
import time

import psutil
import pytest

from ctl_runs import Agent, Terminal, gone, inventory
from ctl_sshd import SSHD

pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="no sshd here: install openssh-server"),
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here: install openssh-client"),
]


def session_of(agent):
    """Return the sshd process that holds the session of an agent's log stream."""
    stream = psutil.Process(int((agent.root / "logs.pid").read_text()))
    return next(parent for parent in stream.parents() if parent.name().startswith("sshd"))


def test_a_cut_session_is_taken_up_where_it_was(server, tmp_path):
    agents = [Agent(tmp_path / name) for name in ("tnr-0", "tnr-1")]
    for agent in agents:
        agent.log("Pong", "line 0\n")
    source = inventory(tmp_path, {agent.root.name: server.host(agent) for agent in agents})
    terminal = Terminal("-i", source, "logs", "-f", "-g", "Pong", NO_COLOR="1")
    for agent in agents:
        terminal.read_until(f"{agent.root.name} | line 0")
    for turn in range(1, 4):
        stream = int((agents[0].root / "logs.pid").read_text())
        session_of(agents[0]).kill()
        for agent in agents:
            agent.log("Pong", f"line {turn}\n")
        for agent in agents:
            terminal.read_until(f"{agent.root.name} | line {turn}\r\n")
        assert gone(stream)
    terminal.type("\x03")
    assert terminal.finish() == 130
    for agent in agents:
        lines = re.findall(rf"^{agent.root.name} \| (.*)\r$", terminal.output, flags=re.MULTILINE)
        assert lines == [f"line {turn}" for turn in range(4)]
    assert terminal.output.count("tnr-0: connected again") == 3
    assert "tnr-1: connected again" not in terminal.output
    assert "Traceback" not in terminal.output


def test_a_session_that_falls_silent_is_replaced(server, tmp_path):
    """The whole session is frozen, as a network that is cut without a word looks from here."""
    agent = Agent(tmp_path / "root")
    agent.log("Pong", "line 0\n")
    source = inventory(tmp_path, {"tnr-0": server.host(agent)})
    terminal = Terminal("-i", source, "logs", "tnr-0", "Pong", "-f", NO_COLOR="1")
    terminal.read_until("line 0")
    frozen = session_of(agent)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        agent.log("Pong", "line 1\n")
        terminal.read_until("tnr-0: silent for 12 s; trying again until it is back")
        terminal.read_until("line 1\r\n")
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    agent.log("Pong", "line 2\n")
    terminal.read_until("line 2\r\n")
    time.sleep(1)
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert re.findall(r"line \d", terminal.output) == ["line 0", "line 1", "line 2"]
