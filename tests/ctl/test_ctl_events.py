"""`rlctl history` and `rlctl explain`."""

import json

import pytest

import ctl_runs
from ctl_inside import rlctl
from ctl_runs import Agent, inventory
from ctl_sshd import free_port
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
        "2020-11-23 11:00:05  time passed  #7",
        "                     → promote to medium: 60 min stable",
        "                     → start Breakout",
    ]


def test_the_history_of_several_hosts_is_merged_in_the_order_of_time(tmp_path, agent):
    other = Agent(tmp_path / "other")
    moments = ["2020-11-23T10:30:00Z", "2020-11-23T09:00:00Z", "2020-11-23T12:00:00Z"]  # its clock jumped back
    other.answer(
        "history",
        [HistoryEntry(seq=n, at=at, kind="tick", summary=f"other {n}", decisions=[]) for n, at in enumerate(moments)],
    )
    dead = {"ansible_host": "127.0.0.1", "ansible_port": free_port()}
    done = rlctl("-i", inventory(tmp_path, {"a": agent.local(), "long": other.local(), "c": dead}), "history")
    assert done.returncode == 4
    assert done.stdout.splitlines() == [
        "2020-11-23 10:00:00  a     agent 0.1.0 started",
        "2020-11-23 10:30:00  long  other 0",
        "2020-11-23 09:00:00  long  other 1",
        "2020-11-23 11:00:05  a     time passed  #7",
        "                           → promote to medium: 60 min stable",
        "                           → start Breakout",
        "2020-11-23 12:00:00  long  other 2",
    ]
    assert done.stderr.startswith("c: 127.0.0.1:")


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


def test_explain_of_a_decision_is_about_one_host(tmp_path, agent):
    source = inventory(tmp_path, {"a": agent.local(), "b": agent.local()})
    done = rlctl("-i", source, "explain", "--decision", "7")
    assert done.returncode == 2
    assert done.stderr == "rlctl: --decision is about one host, not 2 (a, b); name it\n"


def test_replay_of_a_file_is_what_the_agent_of_this_installation_says(tmp_path):
    done = ctl_runs.rlctl("replay", str(tmp_path / "journal.sqlite3"))  # it speaks for itself, to the terminal
    assert (done.returncode, done.stdout) == (2, "")
    assert "journal.sqlite3: no such file" in done.stderr
