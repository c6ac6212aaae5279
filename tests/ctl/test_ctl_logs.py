"""`rlctl logs`: lines of one log and of many, in the order of time, and an end to what was started."""

import os
import re
import signal

import pytest

from ctl_runs import Agent, Terminal, gone, inventory, rlctl
from ctl_sshd import free_port
from rlctl.logfeed import Clock


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path / "root")
    agent.log("agent", "agent 1\nagent 2\n")
    agent.log("Pong", "".join(f"Ep {n}\n" for n in range(100)))
    return agent


@pytest.fixture
def source(tmp_path, agent):
    return inventory(tmp_path, {"tnr-0": agent.local()})


@pytest.fixture
def two(tmp_path):
    """Return the inventory of two hosts whose logs have times."""
    hosts = {}
    for index, name in enumerate(("tnr-0", "tnr-1")):
        agent = Agent(tmp_path / name)
        for second in range(index, 6, 2):
            agent.log("agent", f"2026-11-24T10:00:0{second}Z INFO line {second}\n")
        agent.log("Pong", f"2026-11-24T10:00:0{index + 2}.5Z Ep {index}\n")
        hosts[name] = agent
    (tmp_path / "two").mkdir()
    return hosts, inventory(tmp_path / "two", {name: agent.local() for name, agent in hosts.items()})


def test_the_agents_own_log(source):
    done = rlctl("-i", source, "logs", "tnr-0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "agent 1\nagent 2\n", "")


def test_the_last_lines_of_a_game(source):
    assert rlctl("-i", source, "logs", "tnr-0", "Pong", "-n", "2").stdout == "Ep 98\nEp 99\n"
    assert rlctl("-i", source, "logs", "Pong", "-n", "1").stdout == "Ep 99\n"
    assert rlctl("-i", source, "logs", "tnr-0", "-g", "Pong", "-n", "1").stdout == "Ep 99\n"


def test_an_unknown_game_is_the_agents_message_and_exit_code_2(source):
    done = rlctl("-i", source, "logs", "tnr-0", "Pnog")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rlctl: tnr-0: logs Pnog: no such game; the configuration has Pong, MsPacman\n"


def test_a_mistyped_host_is_no_game(source):
    done = rlctl("-i", source, "logs", "trn-0")
    assert (done.returncode, done.stderr.endswith("did you mean tnr-0?\n")) == (2, True)


def test_no_agent_is_exit_code_5(agent, source):
    agent.program.unlink()
    done = rlctl("-i", source, "logs", "tnr-0")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"rlctl: no agent is installed ({agent.program} not found); deploy it: ")


def test_an_agent_too_old_to_stream_is_one_clear_sentence(agent, source):
    agent.program.write_text(
        "#!/bin/sh\necho \"rlagent: error: argument COMMAND: invalid choice: 'stream'\" >&2; exit 2\n"
    )
    done = rlctl("-i", source, "logs", "tnr-0")
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "its agent is older and does not know the stream of logs; upgrade it: cd playbooks" in done.stderr


def test_logs_of_several_hosts_and_games_are_merged_in_the_order_of_time(two):
    _, source = two
    done = rlctl("-i", source, "logs", "tnr-*", "-g", "agent", "-g", "P*")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [re.sub(r" +", " ", line) for line in done.stdout.splitlines()]
    assert shown == [
        "tnr-0 agent | 2026-11-24T10:00:00Z INFO line 0",
        "tnr-1 agent | 2026-11-24T10:00:01Z INFO line 1",
        "tnr-0 agent | 2026-11-24T10:00:02Z INFO line 2",
        "tnr-0 Pong | 2026-11-24T10:00:02.5Z Ep 0",
        "tnr-1 agent | 2026-11-24T10:00:03Z INFO line 3",
        "tnr-1 Pong | 2026-11-24T10:00:03.5Z Ep 1",
        "tnr-0 agent | 2026-11-24T10:00:04Z INFO line 4",
        "tnr-1 agent | 2026-11-24T10:00:05Z INFO line 5",
    ]


@pytest.mark.parametrize(
    ("beats", "ahead_s"),
    [
        ([(100.5, 105.0)], 0.0),
        ([(110.0, 100.4)], 9.6),
        ([(110.0, 100.4), (112.0, 102.1)], 9.9),
        ([(90.2, 100.5)], -10.3),
        ([(90.2, 100.5), (92.2, 102.2)], -10.0),
    ],
    ids=["slow", "ahead", "ahead-and-slow-at-first", "behind", "behind-and-slow-at-first"],
)
def test_a_host_that_is_slow_to_speak_is_not_taken_for_one_whose_clock_is_off(beats, ahead_s):
    """Else its lines would be shown too late among those of others: here each is told by when it was asked, 100."""
    clock = Clock(asked_at=100.0)
    for at, now in beats:
        clock.beat(at, now)
    assert clock.ahead_s == pytest.approx(ahead_s)


def test_a_dead_host_does_not_hide_the_lines_of_the_others(tmp_path, agent):
    dead = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    source = inventory(tmp_path, {"up": agent.local(), "down": dead})
    done = rlctl("-i", source, "logs", "Pong", "-n", "1")
    assert (done.returncode, done.stdout) == (4, "up | Ep 99\n")
    assert done.stderr.startswith("down: 127.0.0.1:")


def test_many_logs_are_followed_with_a_colour_each(two):
    hosts, source = two
    terminal = Terminal("-i", source, "logs", "-f", "-n", "1")
    terminal.read_until("line 5")
    hosts["tnr-0"].log("agent", "new 0\n")
    terminal.read_until("new 0")
    hosts["tnr-1"].log("agent", "new 1\n")
    assert "\x1b[36mtnr-0 |\x1b[0m new 0\r\n" in terminal.read_until("new 1")
    assert "\x1b[33mtnr-1 |\x1b[0m new 1\r\n" in terminal.output
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.output
    assert all(gone(int((agent.root / "logs.pid").read_text())) for agent in hosts.values())


def test_following_goes_on_after_the_stream_ends_and_loses_and_doubles_nothing(agent, source):
    """The stream is killed again and again while lines come and the log is rotated."""
    terminal = Terminal("-i", source, "logs", "tnr-0", "Pong", "-n", "1", "-f", NO_COLOR="1")
    log = agent.root / "logs" / "Pong.log"
    terminal.read_until("Ep 99")
    for turn in range(3):
        agent.log("Pong", f"before {turn}\n")
        terminal.read_until(f"before {turn}\r\n")
        os.kill(int((agent.root / "logs.pid").read_text()), signal.SIGKILL)
        agent.log("Pong", f"lost {turn}\n")
        if turn == 1:
            log.rename(log.with_name("Pong.log.1"))
        agent.log("Pong", f"after {turn}\n")
        terminal.read_until(f"after {turn}\r\n")
    terminal.type("\x03")
    assert terminal.finish() == 130
    lines = [line for line in terminal.output.split("\r\n") if re.match(r"(Ep|before|lost|after)", line)]
    assert lines == ["Ep 99", *(f"{word} {turn}" for turn in range(3) for word in ("before", "lost", "after"))]
    assert terminal.output.count("tnr-0: connected again") == 3
    assert terminal.output.count("trying again until it is back") == 3


def test_a_terminated_rlctl_leaves_nothing_behind(agent, source):
    terminal = Terminal("-i", source, "logs", "tnr-0", "-f")
    terminal.read_until("agent 2")
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.finish() == 143
    assert gone(int((agent.root / "logs.pid").read_text()))
