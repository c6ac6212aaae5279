"""`rlctl history` and `rlctl explain`."""

import json

import pytest

from ctl_runs import Agent, free_port, inventory, rlctl
from rlagent.protocol.messages import Explanation, HistoryEntry

ENTRIES = [
    HistoryEntry(seq=1, at="2020-11-23T10:00:00Z", kind="agent_started", summary="agent 0.1.0 started", decisions=[]),
    HistoryEntry(
        seq=7,
        at="2020-11-23T11:00:05Z",
        kind="tick",
        summary="time passed",
        decisions=["promote to medium: 60 min stable", "start Breakout"],
    ),
]


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path / "root")
    agent.answer("history", ENTRIES)
    agent.answer("explain", Explanation(next_action="promote in 18 min", lines=["Mode light.", "No incidents."]))
    return agent


@pytest.fixture
def source(tmp_path, agent):
    return inventory(tmp_path, {"tnr-0": agent.local()})


def test_history_shows_events_and_their_decisions(source):
    done = rlctl("-i", source, "history")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2020-11-23 10:00:00  agent 0.1.0 started",
        "2020-11-23 11:00:05  time passed",
        "                     → promote to medium: 60 min stable",
        "                     → start Breakout",
    ]


def test_history_asks_for_the_time_that_was_given(agent, source):
    assert rlctl("-i", source, "history", "--since", "2h", "--limit", "5").returncode == 0
    assert agent.requests() == [{"verb": "history", "since_s": 7200.0, "limit": 5}]


def test_history_as_json(source):
    data = json.loads(rlctl("-i", source, "history", "-o", "json").stdout)
    assert data["schema_version"] == 1
    assert data["hosts"][0]["entries"][1]["decisions"] == ["promote to medium: 60 min stable", "start Breakout"]


def test_an_empty_history_says_so(agent, source):
    agent.answer("history", [])
    assert rlctl("-i", source, "history", "--since", "1s").stdout.strip() == "nothing in this time"


def test_a_bad_duration_is_one_clear_error(source):
    done = rlctl("-i", source, "history", "--since", "soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rlctl: 'soon' is no duration; write for example 90s, 45m, 2h, 1d or 2h30m\n"


def test_explain_says_what_comes_next_and_why(source):
    assert rlctl("-i", source, "explain").stdout.splitlines() == [
        "next    promote in 18 min",
        "why     Mode light.",
        "        No incidents.",
    ]


def test_explain_as_json(source):
    (host,) = json.loads(rlctl("-i", source, "explain", "-o", "json").stdout)["hosts"]
    assert (host["next_action"], host["lines"]) == ("promote in 18 min", ["Mode light.", "No incidents."])


def test_of_several_hosts_each_has_its_section_and_the_dead_are_named_on_stderr(tmp_path, agent):
    dead = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    source = inventory(tmp_path, {"a": agent.local(), "b": agent.local(), "c": dead})
    done = rlctl("-i", source, "explain")
    assert done.returncode == 4
    assert done.stdout.splitlines()[:2] == ["a", "  next    promote in 18 min"]
    assert "\n\nb\n" in done.stdout
    assert done.stderr.startswith("c: 127.0.0.1:")
