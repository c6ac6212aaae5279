"""The stream of one host's logs, and commands on this machine: what is asked, what is heard, how it ends."""

import queue
import sys
import time

import msgspec
import pytest

from ctl_runs import gone
from rlagent.protocol.logs import LogBeat, LogLine, LogNotice, LogStart
from rlctl import logfeed
from rlctl.channel import Completed
from rlctl.errors import ConnectError, HostError
from rlctl.fanout import Deadline
from rlctl.hosts import Host
from rlctl.local import LocalChannel, open_channel
from rlctl.logfeed import Asked, Clock, Ended, Feed, Said

HOST = Host("tnr-0", "a")
GOOD = Completed(0, b"", b"")


class Stream:
    """A connection that says these lines and ends so."""

    def __init__(self, lines=(), end=GOOD) -> None:
        self.lines, self.end = list(lines), end
        self.asked, self.closed = [], 0

    def stream(self, argv, sink, *, follow):
        self.asked.append((tuple(argv), follow))
        for line in self.lines:
            sink(line)
        if isinstance(self.end, Exception):
            raise self.end
        return self.end

    def close(self):
        self.closed += 1


def said(record):
    return msgspec.json.encode(record).decode() + "\n"


@pytest.fixture
def opened(monkeypatch):
    """Let feeds open these streams, one after the other."""
    streams = []
    monkeypatch.setattr(logfeed, "open_channel", lambda _: streams.pop(0))
    return streams


def feed(*sources, lines=50, follow=False):
    return Feed(HOST, Asked(sources, lines, follow))


def drained(out, count):
    return [out.get(timeout=60) for _ in range(count)]


def test_what_is_asked_for_is_what_the_person_wants_and_behind_what_was_heard_already(opened):
    streams = [Stream(), Stream(), Stream()]
    opened.extend(streams)
    plain = feed("Pong", "agent", lines=7)
    plain.read_all()
    plain.taken(LogLine(source="Pong", at=1.0, text="x", place="5:9"))
    plain.taken(LogStart(source="agent", place="0"))
    plain.read_all()
    feed("Pong", follow=True).read_all()
    agent = "/opt/rlfleet/bin/rlagent"
    assert [stream.asked for stream in streams] == [
        [((agent, "stream", "-n", "7", "--", "Pong", "agent"), False)],
        [((agent, "stream", "-n", "7", "--after", "Pong=5:9", "--after", "agent=0", "--", "Pong", "agent"), False)],
        [((agent, "stream", "-n", "50", "-f", "--", "Pong"), True)],
    ]
    assert [stream.closed for stream in streams] == [1, 1, 1]


def test_records_are_heard_in_their_order_and_other_lines_passed_over(opened):
    records = [LogBeat(at=time.time()), LogStart(source="Pong", place="0"), LogNotice(text="hi")]
    line = LogLine(source="Pong", at=5.0, text="Ep 1", place="1")
    opened.append(Stream(["Welcome!\n", *map(said, records), "{\n", said(line)]))
    found = feed("Pong").read_all()
    assert [one.record for one in found] == [*records, line]
    assert abs(found[-1].at - 5.0) < 600
    assert all(abs(one.at - time.time()) < 600 for one in found[:-1])


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
def test_a_line_is_shown_by_the_laptops_clock(opened, ahead_s):
    begun = time.time()
    line = LogLine(source="Pong", at=begun + ahead_s, text="Ep 1", place="1")
    opened.append(Stream([said(LogBeat(at=begun + ahead_s)), said(line)]))
    found = feed("Pong").read_all()
    assert abs(found[1].at - begun) < 600


@pytest.mark.parametrize(
    ("end", "kind", "reason", "code"),
    [
        (Completed(2, b"", b"rlagent: logs Pnog: no such game\n"), "no-such-game", "logs Pnog: no such game", 6),
        (Completed(2, b"", b"argument COMMAND: invalid choice: 'stream'"), "older-agent", "its agent is older and", 6),
        (Completed(2, b"", b""), "agent-broken", "rlagent stream ended with 2 and said: nothing", 5),
        (Completed(127, b"", b""), "no-agent", "no agent is installed (/opt/rlfleet/bin/rlagent not found)", 5),
        (Completed(126, b"", b""), "no-permission", "/opt/rlfleet/bin/rlagent can't be run", 5),
        (Completed(1, b"", b"rlagent: odd\n"), "agent-broken", "rlagent stream ended with 1 and said: odd", 5),
        (ConnectError("network", "cut"), "network", "cut", 5),
        (RuntimeError("odd"), "internal", "RuntimeError: odd", 5),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_how_a_stream_ended_is_told(opened, end, kind, reason, code):
    stream = Stream(end=end)
    opened.append(stream)
    with pytest.raises(HostError) as caught:
        feed("Pong").read_all()
    error = caught.value
    assert (error.kind, error.reason[: len(reason)], error.exit_code) == (kind, reason, code)
    assert stream.closed == 1


def test_what_a_command_complains_of_on_a_terminal_counts_too(opened):
    opened.append(Stream(["a\n", "rlagent: logs Pnog: no such game\n"], Completed(2, b"", b"")))
    with pytest.raises(HostError, match="logs Pnog: no such game"):
        feed("Pnog").read_all()


def test_a_stream_that_was_given_up_is_not_heard_any_more(opened):
    out = queue.SimpleQueue()
    beat = said(LogBeat(at=1.0))
    streams = [Stream([beat], ConnectError("network", "cut")), Stream([beat])]
    opened.extend(streams)
    one = feed("Pong", follow=True)
    one.start(out)
    first = drained(out, 2)
    assert [type(event) for event in first] == [Said, Ended]
    assert [event.generation for event in first] == [1, 1]
    assert first[1].error.kind == "network"
    one.give_up()
    one.start(out)
    assert [event.generation for event in drained(out, 2)] == [3, 3]
    end = time.monotonic() + 60
    while not streams[0].closed and time.monotonic() < end:
        time.sleep(0.01)
    assert [stream.closed for stream in streams] == [1, 0]


def test_a_late_record_of_a_stream_that_was_given_up_ends_it(opened):
    out = queue.SimpleQueue()
    one = feed("Pong", follow=True)

    class Late(Stream):
        def stream(self, argv, sink, *, follow):
            one.give_up()
            sink(said(LogBeat(at=1.0)))
            out.put("not reached")

    opened.append(Late())
    one.start(out)
    with pytest.raises(queue.Empty):
        out.get(timeout=0.3)


def test_clocks_that_may_agree_agree():
    clock = Clock(asked_at=100.0)
    assert clock.ahead_s == 0.0
    clock.beat(100.0, 100.0)
    assert clock.ahead_s == 0.0


def run(*words, stdin=b"", timeout_s=60.0):
    return LocalChannel(HOST).run(words, stdin, Deadline(timeout_s))


def test_a_command_here_gets_its_input_and_gives_back_all_it_said():
    assert run("sh", "-c", "cat; echo e >&2; exit 4", stdin=b"in") == Completed(4, b"in", b"e\n")
    assert run("~/../../bin/echo", "~").stdout == b"~\n"


@pytest.mark.parametrize(
    ("program", "code"), [("/nowhere", 127), ("/etc/passwd/x", 127), ("/etc/passwd", 126), ("/etc", 126)]
)
def test_a_command_that_can_not_be_started_ends_as_in_a_shell(program, code):
    for done in (run(program), LocalChannel(HOST).stream([program], print, follow=False)):
        assert (done.exit_code, done.stdout, done.stderr != b"") == (code, b"", True)


def test_a_command_here_that_takes_too_long_is_a_host_that_did_not_answer():
    with pytest.raises(ConnectError, match=r"no answer within 0\.3 s"):
        run("sleep", "60", timeout_s=0.3)


def test_lines_of_a_command_here_come_one_by_one_and_it_never_outlives_its_reader():
    lines = []

    class EnoughError(Exception):
        pass

    def sink(line):
        lines.append(line)
        if line == "two\n":
            raise EnoughError

    script = "echo $$; echo two; exec sleep 600"
    with pytest.raises(EnoughError):
        LocalChannel(HOST).stream(["sh", "-c", script], sink, follow=True)
    assert (lines[1:], gone(int(lines[0]))) == (["two\n"], True)
    much = "import sys; sys.stderr.write('e' * 200_000); print('ü'); sys.exit(3)"
    done = LocalChannel(HOST).stream([sys.executable, "-c", much], lines.append, follow=False)
    assert (lines[-1], done.exit_code, len(done.stderr)) == ("ü\n", 3, 200_000)


def test_a_stubborn_command_is_killed():
    lines = []

    class EnoughError(Exception):
        pass

    def sink(line):
        lines.append(line)
        raise EnoughError

    stubborn = (
        "import signal, os, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
    )
    with pytest.raises(EnoughError):
        LocalChannel(HOST).stream([sys.executable, "-c", stubborn], sink, follow=True)
    assert gone(int(lines[0]))


def test_only_this_machine_is_reached_without_ssh():
    assert isinstance(open_channel(Host("a", "a", local=True)), LocalChannel)
    assert not isinstance(open_channel(HOST), LocalChannel)
