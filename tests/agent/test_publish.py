"""The files for tools and people: when they are written, and that only what changed is written again."""

from __future__ import annotations

import json

import pytest

from agent_world import config, readings
from policy_driver import Host, rules
from rlagent.paths import Paths
from rlagent.publish import Publisher
from rlagent.statusview import build
from rlagent.summary import read


class Published:
    """A publisher of a host's state."""

    def __init__(self, folder) -> None:
        self.paths = Paths(folder)
        self.publisher = Publisher(self.paths)
        self.host = Host(rules(modes=(("light", 1), ("medium", 2)), games="ABC")).up()

    def publish(self, seq: int, now: float) -> None:
        state = self.host.state
        self.publisher.publish(build(config(), state, readings(state, now=state.t + now)), state, seq, now)


@pytest.fixture
def published(tmp_path):
    return Published(tmp_path)


@pytest.mark.parametrize(
    ("seq", "now", "due"),
    [
        (7, 100.0, False),
        (7, 104.9, False),
        (7, 105.0, True),
        (7, 200.0, True),
        (8, 100.0, True),
        (6, 100.0, True),
    ],
)
def test_they_are_due_after_each_event_and_after_five_seconds(published, seq, now, due):
    assert published.publisher.is_due(7, 0.0) is True
    published.publish(7, 100.0)
    assert published.publisher.is_due(seq, now) is due


def test_the_status_is_one_line_and_always_the_newest(published):
    for now in (1.0, 2.0):
        published.publish(7, now)
        text = published.paths.status_json.read_text()
        assert (text[-1], text.count("\n"), json.loads(text)["in_mode_s"]) == ("\n", 1, now)


def test_the_state_is_written_when_it_changed_whichever_way(published):
    published.publish(7, 1.0)
    first = published.paths.state_toml.stat().st_ino
    published.publish(7, 2.0)
    assert published.paths.state_toml.stat().st_ino == first
    for seq in (9, 8):
        published.publish(seq, 3.0)
        assert read(published.paths.state_toml).journal_seq == seq


def test_a_state_that_could_not_be_written_is_tried_again(published):
    published.paths.state_toml.mkdir()
    with pytest.raises(OSError, match="directory"):
        published.publish(7, 1.0)
    assert published.publisher.is_due(7, 1.0)
    published.paths.state_toml.rmdir()
    published.publish(7, 1.0)
    assert read(published.paths.state_toml).mode == "light"
