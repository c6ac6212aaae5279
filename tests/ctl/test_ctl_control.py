"""The verbs that change something: what they ask, what they send, and what their exit codes say."""

import getpass
import json
import socket

import msgspec
import pytest

from ctl_runs import Agent, Terminal, free_port, inventory, rlctl, status
from rlagent.protocol.messages import Hold, Release, Rollback, Start, Stop

WHO = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "root")


@pytest.fixture
def source(tmp_path, agent):
    return inventory(tmp_path, {"tnr-0": agent.local()})


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["hold", "light"], Hold(mode="light")),
        (
            ["hold", "light", "tnr-0", "--for", "2h30m", "--no-fallback"],
            Hold(mode="light", for_s=9000.0, no_fallback=True),
        ),
        (["release", "tnr-*"], Release()),
        (["rollback", "--yes"], Rollback()),
        (["rollback", "tnr-0", "--to", "light", "-y"], Rollback(to="light")),
        (["stop", "-y"], Stop()),
        (["start"], Start()),
    ],
)
def test_a_verb_sends_its_request_with_who_and_why(agent, source, words, sent):
    done = rlctl("-i", source, *words, "--why", "paper deadline")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"tnr-0: {words[0]} done\n"
    assert agent.requests() == [msgspec.to_builtins(sent) | {"who": WHO, "why": "paper deadline"}]


def test_a_refusal_is_exit_code_6_with_the_agents_reason(agent, source):
    agent.fail("hold", "refused", "there is no mode ligth", "the ladder is light < medium")
    done = rlctl("-i", source, "hold", "ligth")
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr == "tnr-0: there is no mode ligth; the ladder is light < medium\n"


def test_decisions_as_json(source):
    done = rlctl("-i", source, "release", "-o", "json")
    (host,) = json.loads(done.stdout)["hosts"]
    assert (host["host"], host["ok"], host["decisions"]) == ("tnr-0", True, ["release done"])


def test_nothing_to_do_is_said(agent, source):
    (agent.root / "answers" / "release").write_text('{"v":1,"ok":true,"result":{"decisions":[]}}\n')
    assert rlctl("-i", source, "release").stdout == "tnr-0: nothing to do: it is so already\n"


def test_one_dead_host_does_not_keep_the_others_from_being_told(tmp_path, agent):
    dead = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    done = rlctl("-i", inventory(tmp_path, {"down": dead, "up": agent.local()}), "release")
    assert (done.returncode, done.stdout) == (4, "up: release done\n")
    assert done.stderr.startswith(f"down: 127.0.0.1:{dead['ansible_port']} refused the connection; ")


@pytest.mark.parametrize("verb", ["rollback", "stop"])
def test_without_a_terminal_to_ask_on_nothing_is_changed(agent, source, verb):
    done = rlctl("-i", source, verb)
    assert done.returncode == 2
    assert done.stderr.endswith("asks first, and nobody can answer here; add --yes\n")
    assert agent.requests() == []


def test_a_rollback_lists_what_will_happen_and_goes_on_with_yes(agent, source):
    terminal = Terminal("-i", source, "rollback")
    shown = terminal.read_until("Roll back on 1 host? [y/N] ")
    assert "tnr-0: medium -> light, counted as a failed try of medium; MsPacman, Pong checkpoint" in shown
    terminal.type("y\n")
    assert terminal.finish() == 0
    assert [request["verb"] for request in agent.requests()] == ["status", "rollback"]


@pytest.mark.parametrize("answer", ["\n", "n\n", "no\n", "\x04"])
def test_anything_but_yes_changes_nothing(agent, source, answer):
    terminal = Terminal("-i", source, "stop")
    shown = terminal.read_until("Stop on 1 host? [y/N] ")
    assert "tnr-0: MsPacman, Pong checkpoint and stop, and stay stopped across reboots" in shown
    terminal.type(answer)
    assert terminal.finish() == 1
    assert "rlctl: nothing was changed" in terminal.output
    assert [request["verb"] for request in agent.requests()] == ["status"]


def test_ctrl_c_at_the_question_changes_nothing(agent, source):
    terminal = Terminal("-i", source, "stop")
    terminal.read_until("[y/N] ")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.output
    assert [request["verb"] for request in agent.requests()] == ["status"]


@pytest.mark.parametrize(
    ("changes", "to", "plan"),
    [
        ({"mode": "light"}, None, "already in the lowest mode, light: will be refused"),
        ({}, "heavy", "heavy is not below medium: will be refused"),
        ({}, "ligth", "no mode 'ligth' (did you mean light?)"),
        ({"mode": "heavy", "trainers": []}, "light", "heavy -> light, counted as a failed try of heavy"),
    ],
)
def test_the_plan_says_what_will_be_refused(agent, source, changes, to, plan):
    agent.answer("status", status(**changes))
    terminal = Terminal("-i", source, "rollback", *(["--to", to] if to else []))
    assert plan in terminal.read_until("[y/N] ")
    terminal.type("n\n")
    assert terminal.finish() == 1


def test_hold_with_host_and_mode_swapped_is_told(agent, source):
    done = rlctl("-i", source, "hold", "tnr-0", "light")
    assert done.returncode == 2
    assert done.stderr == (
        "rlctl: 'tnr-0' is a host and 'light' is not; the mode comes first: rlctl hold light tnr-0\n"
    )
    assert agent.requests() == []
