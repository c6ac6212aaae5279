"""state.toml: what it says of a state, and how an older state is brought up to date with it."""

from __future__ import annotations

import msgspec
import pytest

from agent_world import config, readings
from policy_driver import WALL, Host, rules
from rlagent import summary
from rlagent.policy import State
from rlagent.statusview import build
from rlagent.summary import GameSummary, IncidentSummary, Summary, overlay


@pytest.fixture
def host():
    return Host(rules(modes=(("light", 1), ("medium", 2)), games="ABC")).up()


def told(**changes) -> Summary:
    values = {"mode": "light", "ladder": ["light", "medium"], "stopped": False, "agent_version": "1", "host_uuid": "u"}
    return Summary(**(values | changes))


def test_it_says_where_the_policy_stands(host, tmp_path):
    host.climb()
    host.hold("medium", at=host.t + 1)
    host.crash("A", at=host.t + 10)
    state = host.state
    said = summary.summary(build(config(), state, readings(state)), state, 42)
    assert (said.mode, said.ladder, said.changing_to, said.stopped) == ("medium", ["light", "medium"], None, False)
    assert (said.held_in, said.agent_version, said.host_uuid, said.boot) == ("medium", "1", "u", "boot-0")
    assert (said.journal_seq, said.failed_tries) == (42, {})
    (incident,) = said.incidents
    assert (incident.mode, incident.what, incident.counts) == ("medium", "trainer A SIGKILL", True)
    assert [(game.game, game.state, game.attempt) for game in said.games] == [
        ("A", "STARTING", 3),
        ("B", "RUNNING", 1),
        ("C", "QUEUED", 0),
    ]
    assert said.games[0].last_error == "SIGKILL"
    (tmp_path / "state.toml").write_bytes(msgspec.toml.encode(said))
    assert summary.read(tmp_path / "state.toml") == said


def test_it_says_of_a_change_a_stop_and_of_rungs_that_failed(host):
    host.climb()
    host.rollback(at=host.t + 1)
    state = host.state
    said = summary.summary(build(config(), state, readings(state)), state, 1)
    assert (said.changing_to, said.held_in, said.failed_tries) == ("light", None, {"medium": 1})
    host.stop(at=host.t + 1)
    assert summary.summary(build(config(), host.state, readings(host.state)), host.state, 1).stopped


@pytest.mark.parametrize("content", [None, b"", b"mode =", b"mode = 'light'", b"\xff", b"mode = 3"])
def test_what_is_no_summary_tells_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "state.toml").write_bytes(content)
    assert summary.read(tmp_path / "state.toml") is None
    assert summary.read(tmp_path) is None


def test_one_that_was_written_before_the_journal_was_numbered_acknowledges_nothing(tmp_path):
    text = 'mode = "light"\nladder = []\nstopped = false\nagent_version = "1"\nhost_uuid = "u"\n'
    (tmp_path / "state.toml").write_text(text)
    assert summary.read(tmp_path / "state.toml").journal_seq == 0


def test_a_state_without_rules_stays_as_it_is():
    state = State()
    assert overlay(state, told(mode="medium"), {}, WALL) is state


@pytest.mark.parametrize(("mode", "expected"), [("light", "light"), ("medium", "medium"), ("gone", "light")])
def test_the_mode_is_taken_where_it_is_still_configured(host, mode, expected):
    assert overlay(host.state, told(mode=mode), {}, WALL).mode == expected
    host.climb()
    assert overlay(host.state, told(mode=mode), {}, WALL).mode == ("medium" if mode == "gone" else expected)


def test_a_change_that_was_going_on_is_forgotten_with_the_new_mode(host):
    host.climb()
    host.rollback(at=host.t + 1)
    assert overlay(host.state, told(mode="medium"), {}, WALL).transition is None
    assert overlay(host.state, told(mode="gone"), {}, WALL).transition is not None


def test_a_hold_is_kept_and_one_whose_end_was_lost_lasts_until_it_is_released(host):
    assert overlay(host.state, told(), {}, WALL).hold is None
    lost = overlay(host.state, told(held_in="medium"), {}, WALL).hold
    assert (lost.mode, lost.until, lost.no_fallback) == ("medium", None, False)
    assert (lost.who, lost.why) == ("", "its end was lost with the journal")
    host.hold("light", at=5, for_s=60)
    assert overlay(host.state, told(held_in="light"), {}, WALL).hold == host.state.hold
    assert overlay(host.state, told(), {}, WALL).hold is None
    assert overlay(host.state, told(held_in="gone"), {}, WALL).hold is None
    lowest = overlay(Host(rules()).up().state, told(held_in="light"), {}, WALL).hold
    assert lowest.mode == "light"


def test_failed_rungs_wait_their_whole_cooldown_again(host):
    state = overlay(host.state, told(failed_tries={"light": 1, "medium": 2, "gone": 3}), {}, WALL)
    assert state.failed_tries == {"light": 1, "medium": 2}
    assert state.retry_at == dict.fromkeys(("light", "medium"), host.state.t + 3600.0)


def test_stable_time_begins_anew(host):
    host.tick(1000)
    state = overlay(host.state, told(stopped=True), {}, WALL)
    assert (state.stable_s, state.progressing_since, state.incident_open, state.stopped) == (0.0, None, False, True)


def test_the_boot_is_taken_where_it_is_told(host):
    assert overlay(host.state, told(boot="new"), {}, WALL).boot == "new"
    assert overlay(host.state, told(), {}, WALL).boot == "boot-0"


@pytest.mark.parametrize(
    ("said", "used", "expected"),
    [
        # Game A of the state: attempt 1, RUNNING.
        (None, 9, ("RUNNING", 1)),
        (("RUNNING", 1), 1, ("RUNNING", 1)),
        (("FATAL", 1), 0, ("RUNNING", 1)),
        (("QUEUED", 0), 0, ("RUNNING", 1)),
        (("RUNNING", 2), 2, ("STARTING", 2)),
        (("BACKOFF", 2), 0, ("QUEUED", 2)),
        (("STOPPING", 2), 2, ("STOPPING", 2)),
        (("FATAL", 5), 4, ("FATAL", 5)),
        (("EXITED", 2), 2, ("EXITED", 2)),
        # A trace of a later attempt than the summary's: it may be alive.
        (("FATAL", 2), 3, ("STARTING", 3)),
        (("RUNNING", 1), 2, ("STARTING", 2)),
    ],
)
def test_a_game_goes_on_from_its_last_attempt(host, said, used, expected):
    games = [] if said is None else [GameSummary(game="A", state=said[0], attempt=said[1], last_error="why")]
    game = overlay(host.state, told(games=games), {"A": used}, WALL).games[0]
    assert (game.status, game.attempt) == expected
    if expected != ("RUNNING", 1):
        assert (game.progressing, game.progressed_at, game.last_error) == (False, None, "why")


@pytest.mark.parametrize(
    ("at", "age_s"),
    [("2027-01-15T08:00:30Z", 30.0), ("2027-01-15T08:01:00Z", 0.0), ("2027-01-15T09:00:00Z", 0.0), ("at noon", 0.0)],
)
def test_an_incident_keeps_its_age(host, at, age_s):
    incident = IncidentSummary(at=at, mode="light", what="reboot", counts=True)
    host.tick(500)
    (found,) = overlay(host.state, told(incidents=[incident]), {}, WALL + 60).incidents
    assert (found.t, found.mode, found.symptoms, found.reboot) == (host.state.t - age_s, "light", ("reboot",), False)


def test_an_incident_counts_for_the_present_visit_as_it_did(host):
    some = [IncidentSummary(at="2027-01-15T08:00:30Z", mode="light", what="x", counts=c) for c in (False, True)]
    state = overlay(host.state, told(incidents=some), {}, WALL + 60)
    assert [incident.visit - state.visit for incident in state.incidents] == [-1, 0]
    assert [incident.wall for incident in state.incidents] == [WALL + 30] * 2
