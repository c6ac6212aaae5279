"""Following many logs: who is tried again and when, what the person is told, in which order lines are shown."""

import queue

import pytest

from rlagent.protocol.logs import LogBeat, LogLine, LogNotice, LogStart
from rlctl import logfollow
from rlctl.errors import AgentError, ConnectError
from rlctl.hosts import Host
from rlctl.logfeed import Ended, Said
from rlctl.logfollow import Follower
from rlctl.reorder import Reorder

ONE, TWO = Host("tnr-0", "a"), Host("tnr-1", "b")
CUT, GONE = ConnectError("network", "cut"), AgentError("no-agent", "no agent is installed")


class Time:
    """A clock that moves while events are waited for; ends the following at an instant, as Ctrl-C does."""

    def __init__(self, end_s) -> None:
        self.now, self.end_s = 0.0, end_s
        self.due = []
        """What will happen: (instant, event)."""

    def monotonic(self):
        return self.now

    def SimpleQueue(self):  # noqa: N802  # as the module that it stands for
        return self

    def get(self, timeout):
        if not self.due or min(self.due, key=lambda one: one[0])[0] > self.now:
            self.now = round(self.now + timeout, 6)
            if self.now > self.end_s:
                raise KeyboardInterrupt
        return self.get_nowait()

    def get_nowait(self):
        ready = [one for one in self.due if one[0] <= self.now]
        if not ready:
            raise queue.Empty
        first = min(ready, key=lambda one: one[0])
        self.due.remove(first)
        return first[1]

    Empty = queue.Empty


class Feed:
    """A host's stream by a script: for each start what comes, and so many seconds after it."""

    def __init__(self, host, time, *starts) -> None:
        self.host, self._time, self._starts = host, time, list(starts)
        self.generation = 0
        self.started = []
        self.places = []

    def start(self, out):
        self.generation += 1
        self.started.append(self._time.now)
        for after_s, what in self._starts.pop(0) if self._starts else []:
            said = what is None or isinstance(what, Exception)
            event = Ended(self, what, self.generation) if said else Said(self, what, self._time.now, self.generation)
            self._time.due.append((round(self._time.now + after_s, 6), event))

    def give_up(self):
        self.generation += 1

    def taken(self, record):
        self.places.append(record.place)


@pytest.fixture
def follow(monkeypatch):
    """Return a function that follows scripts for a while: (outcomes or None, lines, what was told, feeds)."""

    def followed(*scripts, end_s=100.0, timeout_s=10.0):
        time = Time(end_s)
        monkeypatch.setattr(logfollow, "time", time)
        monkeypatch.setattr(logfollow, "queue", time)
        feeds = [Feed(host, time, *starts) for host, starts in zip((ONE, TWO), scripts, strict=False)]
        lines, told, met = [], [], []
        follower = Follower(
            feeds, timeout_s, lambda host, line: lines.append((time.now, host.name, line.text)), told.append,
            lambda host, uuid: met.append((host.name, uuid)),
        )  # fmt: skip
        try:
            outcomes = follower.run()
        except KeyboardInterrupt:
            outcomes = None
        return outcomes, lines, told, feeds, met

    return followed


def line(text, at=0.0):
    return LogLine(source="Pong", at=at, text=text, place=text)


BEAT = LogBeat(at=0.0, host_uuid="uuid-0")


def beats(*seconds):
    return [(second, BEAT) for second in seconds]


def test_lines_are_held_for_a_moment_and_the_rest_is_shown_at_the_end(follow):
    _, lines, told, feeds, met = follow([[*beats(0), (1.0, line("a")), (4.9, line("b"))]], end_s=5.0)
    assert [(when, text) for when, _, text in lines] == [(pytest.approx(1.4, abs=0.15), "a"), (pytest.approx(5.1), "b")]
    assert (told, feeds[0].places, met) == ([], ["a", "b"], [("tnr-0", "uuid-0")])


def test_where_a_log_begins_is_a_place_too_and_what_a_host_says_beside_lines_is_told(follow):
    start = LogStart(source="Pong", place="start")
    _, lines, told, feeds, _ = follow([[(0.0, start), (0.1, LogNotice(text="the agent was dead"))]], end_s=1.0)
    assert (lines, told, feeds[0].places) == ([], ["tnr-0: the agent was dead"], ["start"])


def test_a_stream_that_ends_is_opened_again_after_1_2_4_8_15_and_then_15_seconds(follow):
    script = [[*beats(0), (0.0, CUT)], *([[(0.0, CUT)]] * 6)]
    outcomes, _, told, feeds, _ = follow(script, end_s=62.0)
    pauses = [after - before for before, after in zip(feeds[0].started, feeds[0].started[1:], strict=False)]
    assert outcomes is None
    assert pauses == [pytest.approx(seconds, abs=0.25) for seconds in (1, 2, 4, 8, 15, 15, 15)]
    assert told == ["tnr-0: cut; trying again until it is back"]


def test_after_a_sign_of_life_the_pauses_begin_anew_and_the_person_is_told(follow):
    script = [[*beats(0), (0.0, CUT)], [(0.0, CUT)], [*beats(0, 1), (1.0, CUT)], [*beats(0)]]
    _, _, told, feeds, _ = follow(script, end_s=8.0)
    assert feeds[0].started == pytest.approx([0.0, 1.0, 3.0, 5.0], abs=0.35)
    again, back = "tnr-0: cut; trying again until it is back", "tnr-0: connected again"
    assert told == [again, back, again, back]


@pytest.mark.parametrize(("quiet_s", "replaced"), [(11.9, False), (12.3, True)])
def test_a_stream_that_is_silent_for_twelve_seconds_is_replaced_and_not_heard_any_more(follow, quiet_s, replaced):
    script = [[*beats(0, quiet_s), (14.0, line("late"))], [*beats(*range(20))]]
    _, lines, told, feeds, _ = follow(script, end_s=20.0)
    assert (len(feeds[0].started), [text for _, _, text in lines]) == ((2, []) if replaced else (1, ["late"]))
    assert (told[:1] == ["tnr-0: silent for 12 s; trying again until it is back"]) is replaced


@pytest.mark.parametrize(("first_s", "lost"), [(9.9, False), (10.3, True)])
def test_the_first_sign_of_a_host_is_waited_for_as_long_as_the_person_says(follow, first_s, lost):
    outcomes, *_ = follow([[(first_s, BEAT)]], end_s=11.0)
    assert (outcomes is not None) is lost
    if lost:
        assert (outcomes[0].error.kind, outcomes[0].error.reason) == ("timeout", "silent for 10 s")


@pytest.mark.parametrize("error", [CUT, GONE])
def test_where_no_host_is_reached_at_all_it_ends_with_the_reasons(follow, error):
    outcomes, lines, told, feeds, _ = follow([[(0.5, error)]], [[(1.0, CUT)]])
    assert [outcome.error for outcome in outcomes] == [error, CUT]
    assert (lines, told) == ([], [])
    assert [len(feed.started) for feed in feeds][1] == 1


def test_what_was_wrong_from_the_beginning_is_told_and_not_tried_again_and_the_others_go_on(follow):
    outcomes, _, told, feeds, _ = follow([[(0.0, GONE)]], [[*beats(*range(40))]], end_s=30.0)
    assert outcomes is None
    assert (told, len(feeds[0].started)) == (["tnr-0: no agent is installed"], 1)


def test_a_host_that_could_not_be_reached_at_first_is_tried_until_it_is_there(follow):
    script = [[(0.0, CUT)], [*beats(*range(10))]]
    _, _, told, feeds, _ = follow(script, [[*beats(*range(10))]], end_s=4.0)
    assert told == ["tnr-0: cut; trying again until it is back", "tnr-0: connected again"]
    assert len(feeds[0].started) == 2


def test_a_stream_that_ends_without_a_reason_is_opened_again(follow):
    _, _, told, feeds, _ = follow([[*beats(0), (0.0, None)], [*beats(*range(9))]], end_s=3.0)
    assert (told[0], len(feeds[0].started)) == (
        "tnr-0: the stream of its logs ended; trying again until it is back",
        2,
    )


def test_items_wait_for_earlier_ones_exactly_as_long_as_they_are_held():
    reorder = Reorder(0.5)
    reorder.push(10.0, 5.0, "late")
    assert reorder.due(10.25) == []
    reorder.push(10.25, 4.0, "early")
    reorder.push(10.25, 6.0, "after")
    assert reorder.due(10.5) == ["early", "late"]
    assert reorder.due(10.625) == []
    assert reorder.due(10.75) == ["after"]
    assert (reorder.due(99.0), reorder.rest()) == ([], [])


def test_items_of_one_instant_stay_in_their_order_and_the_rest_is_in_order_too():
    reorder = Reorder(1.0)
    for number, at in enumerate((3.0, 1.0, 1.0, 2.0)):
        reorder.push(0.0, at, number)
    assert reorder.rest() == [1, 2, 3, 0]
