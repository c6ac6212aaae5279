"""Each step of an announced reboot, and each way in which it may end, against a host that a clock of ours moves."""

import pytest

from ctl_statuses import queued, status, trainer
from rlagent.protocol import messages
from rlagent.protocol.status import IncidentStatus
from rlctl import reboots
from rlctl.channel import Completed
from rlctl.errors import AgentError, ConnectError, HostError, RefusedError
from rlctl.hosts import Host
from rlctl.reboots import Reboot, Wanted

GOOD, NOT_HERE = Completed(0, b"", b""), ConnectError("refused", "tnr-0 refused the connection")


class Clock:
    """Stands still but for who sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Machine:
    """A host as `reboots` sees it: seconds count from the beginning, and from when it was told to reboot."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.asked = []
        self.told = []
        self.games = ["Pong"]
        self.drained_s = 3.0
        """From then on no trainer runs."""
        self.down_s, self.up_s = 1.0, 30.0
        """After it was told to."""
        self.learning_s = 40.0
        """Trainers take steps again; after it was told to."""
        self.check = self.reboot = GOOD
        self.before = self.after = {}
        self.withdrawing = messages.Done(decisions=["the announced reboot is withdrawn", "start Pong", "and more"])
        self._begun = clock.now
        self._told_at = None

    def age_s(self):
        return self.clock.now - self._begun

    def ask(self, request, result):
        if isinstance(request, messages.GetStatus):
            return self._status()
        self.asked.append(request)
        if isinstance(request, messages.AnnounceReboot):
            return messages.Done(decisions=["reboot announced", "stop Pong"])
        if isinstance(self.withdrawing, Exception):
            raise self.withdrawing
        return self.withdrawing

    def run(self, *words):
        self.asked.append(words)
        answer = self.check if "--check" in words else self.reboot
        if words == ("reboot",):
            self._told_at = self.clock.now
        if isinstance(answer, Exception):
            raise answer
        return answer

    def restart_by_hand(self):
        self._told_at = self.clock.now

    def _status(self):
        since_s = None if self._told_at is None else self.clock.now - self._told_at
        if since_s is not None and self.down_s <= since_s < self.up_s:
            raise NOT_HERE
        if since_s is not None and since_s >= self.up_s:
            learns = since_s >= self.learning_s
            return status(boot="two", trainers=[trainer("Pong", sps=9.0 if learns else None)], **self.after)
        stopped = self.age_s() >= self.drained_s
        games = [queued(name, "QUEUED" if stopped else "STOPPING") for name in self.games]
        return status(**{"boot": "one", "games": games, "reboot_announced_until": "soon", **self.before})


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(reboots, "time", clock)
    return clock


@pytest.fixture
def machine(clock):
    return Machine(clock)


@pytest.fixture
def reboot(machine):
    """Return a function that reboots the machine and returns what was found, or the error."""

    def rebooted(*, by_hand=False, wait_s=600.0):
        wanted = Wanted("ann@laptop", "kernel", by_hand, wait_s, "id1")
        try:
            return Reboot(Host("tnr-0", "tnr-0"), machine, wanted, machine.told.append).run()
        except HostError as error:
            return error

    return rebooted


ANNOUNCED = messages.AnnounceReboot(who="ann@laptop", why="kernel", request_id="id1")
WITHDRAWN = messages.WithdrawReboot(who="ann@laptop", why="the reboot did not happen")


def test_the_steps_in_their_order(machine, reboot):
    assert reboot() == "rebooted, not counted as an incident: mode medium, Pong RUNNING"
    assert machine.asked == [("reboot", "--check"), ANNOUNCED, ("reboot",)]
    assert machine.told == [
        "reboot announced",
        "waiting for Pong to checkpoint and stop",
        "no trainer runs any more: each has written its checkpoint",
        "rebooting",
        "back in another boot, up for 3 d 3 h; waiting for its trainers",
    ]


def test_by_hand_the_host_is_neither_asked_whether_it_can_nor_told_to(machine, reboot, monkeypatch):
    monkeypatch.setattr(machine, "told", Told(machine))
    assert reboot(by_hand=True) == "rebooted, not counted as an incident: mode medium, Pong RUNNING"
    assert machine.asked == [ANNOUNCED]
    assert "restart it now, in its provider's console; waiting for 10 min" in machine.told


class Told(list):
    """Restarts the machine when the person is told to."""

    def __init__(self, machine) -> None:
        super().__init__()
        self._machine = machine

    def append(self, text):
        super().append(text)
        if text.startswith("restart it now"):
            self._machine.restart_by_hand()


@pytest.mark.parametrize(("drained_s", "kind"), [(601.0, None), (602.0, "no-drain")])
def test_trainers_have_ten_minutes_to_stop_and_a_host_on_which_they_run_is_not_rebooted(
    machine, reboot, drained_s, kind
):
    machine.drained_s, machine.games = drained_s, ["Pong", "Qbert"]
    done = reboot()
    assert getattr(done, "kind", None) == kind
    if kind is not None:
        assert done.reason == "Pong, Qbert did not stop within 10 min"
        assert done.hint == "look: rlctl logs tnr-0 Pong"
        assert machine.asked == [("reboot", "--check"), ANNOUNCED, WITHDRAWN]
        assert machine.told[-1] == "the announced reboot is withdrawn; start Pong"


def test_who_withdraws_the_announcement_meanwhile_is_obeyed(machine, reboot):
    machine.before = {"reboot_announced_until": None}
    machine.withdrawing = RefusedError("refused", "no reboot is announced")
    done = reboot()
    assert (done.kind, done.reason) == ("withdrawn", "somebody else withdrew the announcement")
    assert machine.asked == [("reboot", "--check"), ANNOUNCED, WITHDRAWN]
    assert machine.told == ["reboot announced"]


def test_an_older_agent_is_left_alone(machine, reboot):
    machine.before = {"boot": None}
    done = reboot()
    assert (done.kind, done.exit_code, machine.asked) == ("older-agent", 6, [])


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        (Completed(1, b"", b"rlagent: no systemd runs here\n"), "cannot-reboot", "no systemd runs here"),
        (Completed(3, b"", b""), "cannot-reboot", "rlagent reboot ended with 3"),
        (Completed(2, b"", b"invalid choice: 'reboot'"), "older-agent", "its agent is older and does not know reboot"),
        (Completed(2, b"", b"odd words"), "cannot-reboot", "odd words"),
        (Completed(1, b"", b"invalid choice: x"), "cannot-reboot", "invalid choice: x"),
    ],
)
def test_a_host_that_can_not_is_not_even_announced(machine, reboot, said, kind, reason):
    machine.check = said
    done = reboot()
    assert (done.kind, done.reason, done.exit_code) == (kind, reason, 6)
    assert machine.asked == [("reboot", "--check")]


@pytest.mark.parametrize("code", [1, 2])
def test_a_host_that_refuses_to_go_down_is_withdrawn(machine, reboot, code):
    machine.reboot, machine.down_s = Completed(code, b"", b"Access denied"), 1e9
    done = reboot()
    assert (done.kind, done.reason) == ("cannot-reboot", "Access denied")
    assert machine.asked[-1] == WITHDRAWN


@pytest.mark.parametrize("end", [GOOD, Completed(-1, b"", b""), Completed(255, b"", b""), NOT_HERE])
def test_any_other_end_of_the_session_is_that_of_the_reboot(machine, reboot, end):
    machine.reboot = end
    assert str(reboot()).startswith("rebooted, not counted as an incident")
    assert WITHDRAWN not in machine.asked


@pytest.mark.parametrize(("stays_s", "kind"), [(181.0, None), (182.0, "no-reboot")])
def test_a_host_may_take_three_minutes_to_go_down(machine, reboot, stays_s, kind):
    machine.down_s, machine.up_s, machine.learning_s = stays_s, 190.0, 191.0
    done = reboot()
    assert getattr(done, "kind", None) == kind
    if kind is not None:
        assert done.reason == "it is up after 3 min 1 s, but was not rebooted"
        assert machine.asked[-1] == WITHDRAWN


def test_a_person_may_take_longer(machine, reboot, monkeypatch):
    monkeypatch.setattr(machine, "told", Told(machine))
    machine.down_s, machine.up_s, machine.learning_s = 400.0, 401.0, 401.0
    assert str(reboot(by_hand=True)).startswith("rebooted, not counted")


@pytest.mark.parametrize(("up_s", "kind"), [(9.0, None), (10.0, "refused")])
def test_a_host_that_is_not_back_in_time_is_told_with_its_last_fault_and_stays_announced(machine, reboot, up_s, kind):
    """It is down: the agent finds the announcement when it comes back."""
    machine.up_s = machine.learning_s = up_s
    done = reboot(wait_s=10.0)
    assert getattr(done, "kind", None) == kind
    if kind is not None:
        assert done.reason == "it has not come back within 10 s: tnr-0 refused the connection"
    assert WITHDRAWN not in machine.asked


@pytest.mark.parametrize(("withdrawing", "told"), [
    (RefusedError("refused", "no reboot is announced"), "waiting for Pong to checkpoint and stop"),
    (AgentError("x", "gone"), "could not withdraw the announcement (gone): it ends by itself after half an hour"),
])  # fmt: skip
def test_an_announcement_that_can_not_be_withdrawn_is_told_unless_there_is_none(machine, reboot, withdrawing, told):
    machine.drained_s, machine.withdrawing = 1e9, withdrawing
    assert reboot().kind == "no-drain"
    assert machine.told[-1] == told


@pytest.mark.parametrize("end", [GOOD, NOT_HERE])
@pytest.mark.parametrize(("at_s", "withdrawn"), [(2.0, True), (4.0, False), (20.0, False)])
def test_ctrl_c_withdraws_it_only_before_the_host_was_told_to_go_down(
    machine, reboot, clock, monkeypatch, at_s, withdrawn, end
):
    machine.reboot, machine.down_s = end, 10.0

    def sleep(seconds):
        clock.now += seconds
        if machine.age_s() >= at_s:
            raise KeyboardInterrupt

    monkeypatch.setattr(clock, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        reboot()
    assert (WITHDRAWN in machine.asked) is withdrawn


@pytest.mark.parametrize(("learning_s", "waited_s"), [(30.0, 30.0), (89.0, 89.0), (1e9, 90.0)])
def test_trainers_are_waited_for_for_a_minute_and_no_longer(machine, reboot, learning_s, waited_s):
    machine.learning_s = learning_s
    assert str(reboot()).startswith("rebooted")
    assert machine.age_s() - machine.drained_s == waited_s


def test_a_stopped_host_has_no_trainers_to_wait_for(machine, reboot):
    machine.learning_s, machine.after = 1e9, {"stopped": True}
    assert reboot().endswith("mode medium (stopped by an operator), Pong RUNNING")
    assert machine.age_s() - machine.drained_s == 30.0


def incidents(whats):
    at = "2026-11-23T10:00:00Z"
    return [IncidentStatus(at=at, mode="light", what=what, open=False, counts=True) for what in whats]


@pytest.mark.parametrize(("before", "after", "counted"), [
    (["reboot at 10:00"], ["reboot at 10:00"], "not counted as an incident"),
    (["reboot at 10:00"], ["reboot at 10:00", "reboot at 11:00"], "COUNTED as an incident"),
    ([], ["Pong crashed"], "not counted as an incident"),
])  # fmt: skip
def test_whether_it_was_counted_is_what_the_agent_says(machine, reboot, before, after, counted):
    machine.before, machine.after = {"incidents": incidents(before)}, {"incidents": incidents(after)}
    assert reboot() == f"rebooted, {counted}: mode medium, Pong RUNNING"
