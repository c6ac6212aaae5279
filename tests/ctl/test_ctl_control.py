"""The verbs that change something: what they ask, what they send, and what their exit codes say."""

import getpass
import json
import socket

import msgspec
import pytest

from ctl_inside import rlctl
from ctl_runs import Agent, Terminal, inventory
from ctl_sshd import free_port
from rlagent.protocol.messages import Done, Hold, Release, Rollback, Scale, Start, Stop

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
        (["scale", "medium", "tnr-0"], Scale(mode="medium")),
    ],
)
def test_a_verb_sends_its_request_with_who_and_why(agent, source, words, sent):
    done = rlctl("-i", source, *words, "--why", "paper deadline")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"tnr-0: {words[0]} done\n"
    (request,) = agent.requests()
    assert len(request.pop("request_id")) == 16
    assert request == msgspec.to_builtins(sent) | {"who": WHO, "why": "paper deadline"}


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
    done = rlctl("-i", inventory(tmp_path, {"down": dead, "up": agent.local()}), "release", "--yes")
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
    assert "  tnr-0: rollback foreseen\r\n" in shown
    terminal.type("y\n")
    assert terminal.finish() == 0
    assert [(request["verb"], request.get("dry_run")) for request in agent.requests()] == [
        ("rollback", True),
        ("rollback", None),
    ]


@pytest.mark.parametrize("answer", ["\n", "n\n", "no\n", "\x04"])
def test_anything_but_yes_changes_nothing(agent, source, answer):
    terminal = Terminal("-i", source, "stop")
    shown = terminal.read_until("Stop on 1 host? [y/N] ")
    assert "  tnr-0: stop foreseen\r\n" in shown
    terminal.type(answer)
    assert terminal.finish() == 1
    assert "rlctl: nothing was changed" in terminal.output
    assert [request["verb"] for request in agent.requests() if request.get("dry_run")] == ["stop"]


def test_ctrl_c_at_the_question_changes_nothing(agent, source):
    terminal = Terminal("-i", source, "stop")
    terminal.read_until("[y/N] ")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.output
    assert [request["verb"] for request in agent.requests() if request.get("dry_run")] == ["stop"]


def test_the_question_says_what_will_be_refused(agent, source):
    agent.fail("dry-rollback", "refused", "light is the lowest mode: there is nothing to roll back to")
    terminal = Terminal("-i", source, "rollback")
    assert "tnr-0: light is the lowest mode: there is nothing" in terminal.read_until("Roll back on 1 host? [y/N] ")
    terminal.type("n\n")
    assert terminal.finish() == 1


@pytest.mark.parametrize("words", [["hold", "light"], ["release"], ["start"], ["scale", "light"]])
def test_several_hosts_are_only_hit_after_a_question(tmp_path, agent, words):
    other = Agent(tmp_path / "other")
    source = inventory(tmp_path, {"tnr-0": agent.local(), "tnr-1": other.local()})
    done = rlctl("-i", source, *words)
    assert done.returncode == 2
    assert done.stderr.endswith(" for 2 hosts asks first, and nobody can answer here; add --yes\n")
    assert (agent.requests(), other.requests()) == ([], [])
    assert rlctl("-i", source, *words, "--yes").stdout == f"tnr-0: {words[0]} done\ntnr-1: {words[0]} done\n"
    terminal = Terminal("-i", source, *words)
    assert f"tnr-1: {words[0]} foreseen" in terminal.read_until("on 2 hosts? [y/N] ")
    terminal.type("y\n")
    assert terminal.finish() == 0
    ids = {request["request_id"] for request in agent.requests() if "request_id" in request}
    assert ids == {request["request_id"] for request in other.requests() if "request_id" in request}
    assert len(ids) == 2


@pytest.mark.parametrize(
    "words", [["rollback"], ["hold", "light"], ["release"], ["scale", "light"], ["stop"], ["start"]]
)
def test_a_dry_run_asks_the_agent_and_changes_nothing(agent, source, words):
    done = rlctl("-i", source, *words, "--dry-run")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"tnr-0: would: {words[0]} foreseen\n")
    assert [(request["verb"], request["dry_run"]) for request in agent.requests()] == [(words[0], True)]
    (host,) = json.loads(rlctl("-i", source, *words, "--dry-run", "-o", "json").stdout)["hosts"]
    assert (host["dry_run"], host["decisions"]) == (True, [f"{words[0]} foreseen"])


def test_a_dry_run_that_would_be_refused_is_exit_code_6(agent, source):
    agent.fail("dry-release", "refused", "nothing to release: the host is not held")
    assert rlctl("-i", source, "release", "--dry-run").returncode == 6


def test_a_request_that_is_given_again_by_its_name(agent, source):
    agent.answer("scale", Done(decisions=["scale light -> medium"], repeated=True))
    done = rlctl("-i", source, "scale", "medium", "--request-id", "abc")
    assert done.stdout == "tnr-0: scale light -> medium (done at an earlier try)\n"
    assert [request["request_id"] for request in agent.requests()] == ["abc"]


def test_a_lost_reply_is_asked_for_again_at_once_under_the_same_name(agent, source):
    agent.fail("stop", "timeout", "the agent did not answer within 10 s")
    done = rlctl("-i", source, "stop", "--yes")
    first, second = (request["request_id"] for request in agent.requests())
    assert (first, done.returncode) == (second, 5)
    assert f"it may have been done: the same command with --request-id {first} does it once" in done.stderr


def test_an_agent_that_is_revived_by_a_verb_says_so_on_stderr(agent, source):
    agent.revived("the agent was dead: started in the background")
    for words in (["status"], ["history"], ["explain"], ["release"], ["stop", "--yes"], ["start", "--dry-run"]):
        done = rlctl("-i", source, *words)
        assert (done.returncode, done.stderr) == (0, "tnr-0: the agent was dead: started in the background\n")


def test_an_older_agent_without_names_of_wishes_still_does_them(agent, source):
    """Release 0.1.0 knows neither request_id nor dry_run: it refuses both before it does anything."""
    agent.knows("hold", "release", "rollback", "stop", "start", without=("request_id", "dry_run"))
    assert rlctl("-i", source, "hold", "light").stdout == "tnr-0: hold done\n"
    assert "request_id" not in agent.requests()[-1]
    done = rlctl("-i", source, "stop", "--dry-run")
    assert done.returncode == 6
    assert done.stderr.startswith(
        "tnr-0: its agent is older and does not know stop with dry_run; upgrade it: cd playbooks"
    )
    assert [request["verb"] for request in agent.requests()] == ["hold"]


def test_an_older_agent_that_does_not_know_a_verb_is_one_clear_sentence(agent, source):
    agent.knows("hold", "release", "rollback", "stop", "start", without=("request_id", "dry_run"))
    done = rlctl("-i", source, "scale", "medium")
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert done.stderr.startswith("tnr-0: its agent is older and does not know scale; upgrade it: cd playbooks")


def test_hold_with_host_and_mode_swapped_is_told(agent, source):
    done = rlctl("-i", source, "hold", "tnr-0", "light")
    assert done.returncode == 2
    assert done.stderr == (
        "rlctl: 'tnr-0' is a host and 'light' is not; the mode comes first: rlctl hold light tnr-0\n"
    )
    assert agent.requests() == []
