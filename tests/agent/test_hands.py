"""Making trainers match the state: what is asked of the supervisor, and what comes back as events."""

from __future__ import annotations

import pytest

from agent_world import Gpus, Parts, config
from policy_driver import Host, rules
from rlagent.hands import Hands
from rlagent.paths import Paths
from rlagent.policy import events as ev
from rlagent.probe.gpu import NOT_READ_YET
from rlagent.protocol.progress import CheckpointReport, Progress
from rlagent.protocol.status import GpuStatus
from rlagent.senses import Senses
from rlagent.supervisor import Running


class Acting:
    """The agent's hands in a world of their own, with a policy that feeds on what they learn."""

    def __init__(self, folder, text: str = "", gpus: Gpus | None = None) -> None:
        self.parts = Parts(gpus=gpus or Gpus())
        self.trainers, self.clock = self.parts.trainers, self.parts.clock
        self.paths = Paths(folder)
        self.paths.logs.mkdir()
        self.config = config(text)
        world = self.parts.world()
        self.senses = Senses(self.config, self.paths, self.trainers, self.parts.gpus, world)
        self.hands = Hands(self.config, self.paths, self.trainers, self.senses, self.parts.host)
        self.host = Host(rules(modes=(("light", 1), ("medium", 2)), games="ABC"))
        self.host.tick(1)

    def act(self) -> list[ev.Event]:
        return self.hands.act(self.host.state, self.clock.stamp)

    def runs(self) -> None:
        """Let what waits run and take a step."""
        self.act()
        self.host.up()

    def stops(self) -> None:
        self.runs()
        self.host.stop(at=self.host.t + 1)


@pytest.fixture
def acting(tmp_path):
    return Acting(tmp_path)


def test_a_game_with_a_slot_is_started_and_told_once_its_pid_is_known(acting):
    acting.trainers.outcomes["A"] = Running(trainer_pid=None, adopted=False)
    assert (acting.act(), acting.trainers.asked) == ([], [("A", 1, True)])
    acting.trainers.outcomes["A"] = Running(trainer_pid=123, adopted=True)
    (event,) = acting.act()
    assert (type(event), event.game, event.attempt, event.pid, event.adopted) == (ev.TrainerStarted, "A", 1, 123, True)
    assert acting.act() == []


def test_a_running_trainer_is_only_asked_after(acting):
    acting.runs()
    acting.trainers.asked.clear()
    acting.act()
    assert acting.trainers.asked == [("A", 1, False)]
    assert acting.trainers.launches["A"].command == ()


def test_a_new_attempt_of_a_game_is_told_too(acting):
    acting.runs()
    acting.host.crash("A", at=2)
    acting.host.tick(100)
    (event,) = acting.act()
    assert (type(event), event.attempt) == (ev.TrainerStarted, 2)


def test_an_end_is_told_with_how_it_came(acting):
    acting.runs()
    acting.trainers.ends("A", code=3)
    (event,) = acting.act()
    assert (type(event), event.game, event.attempt) == (ev.TrainerExited, "A", 1)
    assert (event.exit, event.detail, event.global_step) == ("error", "exit code 3", None)


def test_what_is_not_there_any_more_is_lost_or_had_not_started(acting):
    acting.runs()
    acting.trainers.outcomes["A"] = None
    (event,) = acting.act()
    assert (event.exit, event.detail) == ("lost", "it was not there any more")
    acting.host.stop(at=5)
    (event,) = acting.act()
    assert (event.exit, event.detail) == ("stopped", "it had not started")


def test_a_stop_asks_with_the_configured_patience(tmp_path):
    acting = Acting(tmp_path, "[supervisor]\nstop_timeout_s = 45")
    acting.stops()
    acting.act()
    assert acting.trainers.stops == [("A", 1, 45.0)]
    assert acting.trainers.asked[-1] == ("A", 1, False)


def test_so_does_a_change_of_mode(tmp_path):
    acting = Acting(tmp_path, "[supervisor]\nstop_timeout_s = 45")
    acting.runs()
    acting.host.scale("medium", at=5)
    acting.act()
    assert acting.trainers.stops == [("A", 1, 45.0)]


@pytest.mark.parametrize(("configured_s", "grace_s"), [(45, 10.0), (10, 10.0), (4, 4.0)])
def test_a_trainer_that_hangs_gets_at_most_ten_seconds(tmp_path, configured_s, grace_s):
    acting = Acting(tmp_path, f"[supervisor]\nstop_timeout_s = {configured_s}")
    acting.runs()
    acting.host.hang("A", at=5)
    acting.act()
    assert acting.trainers.stops == [("A", 1, grace_s)]
    acting.trainers.ends("A", code=None, signal=9)
    (event,) = acting.act()
    assert event.exit == "hang"


def test_an_end_that_was_asked_for_is_a_stop(acting):
    acting.stops()
    acting.act()
    acting.trainers.ends("A", code=0)
    (event,) = acting.act()
    assert (event.exit, event.detail) == ("stopped", "stopped")


def test_a_kill_for_memory_is_told_by_the_kernel_s_count(acting):
    acting.runs()
    acting.act()
    acting.parts.host.kills += 1
    acting.trainers.ends("A", code=None, signal=9)
    assert acting.act()[0].exit == "oom"


def test_the_last_report_tells_of_the_target_and_the_last_checkpoint(acting):
    acting.runs()
    acting.senses.look(acting.host.state, acting.clock.stamp)
    report(acting, Progress(global_step=1))
    acting.senses.look(acting.host.state, acting.clock.stamp)
    saved = CheckpointReport(global_step=77, saved_at=1.0)
    report(acting, Progress(global_step=99, finished=False, checkpoint=saved))
    acting.trainers.ends("A", code=0)
    (event,) = acting.act()
    assert (event.exit, event.detail) == ("error", "exit code 0 before its target")
    assert (event.global_step, event.checkpoint_step) == (99, 77)


def test_a_trainer_that_said_it_stops_was_told_to_by_somebody_else(acting):
    acting.runs()
    acting.senses.look(acting.host.state, acting.clock.stamp)
    report(acting, Progress(global_step=5, phase="stopping"))
    acting.trainers.ends("A", code=0)
    assert acting.act()[0].exit == "outside"


def report(acting, progress: Progress) -> None:
    from rlagent import files  # noqa: PLC0415
    from rlagent.protocol.progress import encode  # noqa: PLC0415

    path = acting.paths.progress_file("A")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, encode(progress), durable=False)


@pytest.mark.parametrize(
    ("log", "detail"),
    [
        (b"", "exit code 1"),
        (b"first\nRuntimeError: x\n", "exit code 1: RuntimeError: x"),
        (b"RuntimeError: x\n\n  \n", "exit code 1: RuntimeError: x"),
        (b"too far up\n" + b"\n" * 10, "exit code 1"),
        (b"just near enough\n" + b"\n" * 9, "exit code 1: just near enough"),
        (b"y" * 300 + b"\n", "exit code 1: " + "y" * 200),
        (b"caf\xe9\n", "exit code 1: caf\ufffd"),
    ],
)
def test_the_last_line_of_the_log_says_why(acting, log, detail):
    acting.runs()
    acting.paths.game_log("A").write_bytes(log)
    acting.trainers.ends("A", code=1)
    assert acting.act()[0].detail == detail


def test_a_trainer_that_can_not_be_started_is_an_alert_until_it_can(acting, caplog):
    acting.trainers.outcomes["A"] = OSError(28, "No space left on device")
    assert [acting.act() for _ in range(3)] == [[]] * 3
    said = "can't start A: [Errno 28] No space left on device; trying again"
    assert acting.hands.troubles() == [said]
    assert caplog.text.count(said) == 1
    del acting.trainers.outcomes["A"]
    acting.act()
    assert acting.hands.troubles() == []


@pytest.mark.parametrize(("waited_s", "alerts"), [(30.0, []), (31.0, ["A has waited 31 s: the lock is held"])])
def test_what_is_in_the_way_for_more_than_half_a_minute_is_an_alert(acting, waited_s, alerts):
    acting.trainers.waits("A")
    assert acting.act() == []
    acting.clock.now += waited_s
    assert (acting.act(), acting.hands.troubles()) == ([], alerts)


def test_a_wait_that_ended_is_forgotten(acting):
    acting.trainers.waits("A")
    acting.act()
    acting.clock.now += 60
    acting.act()
    del acting.trainers.outcomes["A"]
    assert len(acting.act()) == 1
    assert acting.hands.troubles() == []
    acting.clock.now += 60
    acting.trainers.waits("A")
    acting.act()
    assert acting.hands.troubles() == []


def test_a_start_waits_for_the_driver_s_first_word_but_nothing_else_does(tmp_path):
    acting = Acting(tmp_path, gpus=Gpus(error=NOT_READ_YET))
    assert (acting.act(), acting.trainers.asked) == ([], [])
    acting.parts.gpus.error = "no driver"
    assert len(acting.act()) == 1
    acting.host.up()
    waiting = Acting(tmp_path / "logs", gpus=Gpus(error=NOT_READ_YET))
    waiting.host.up()
    waiting.act()
    assert waiting.trainers.asked == [("A", 1, False)]


def test_a_start_carries_its_mode_its_share_of_the_host_and_its_gpu(tmp_path):
    gpus = Gpus(GpuStatus(index=4), GpuStatus(index=5), error=None)
    acting = Acting(tmp_path, "[trainer]\ncheckpoint_interval_s = 70", gpus)
    acting.runs()
    acting.host.scale("medium", at=5)
    acting.host.settle_drain(at=6, recover=False)
    acting.host.tick(7)
    acting.act()
    names = ("MODE", "THREADS", "CHECKPOINT_INTERVAL_S", "ATTEMPT")
    seen = {game: acting.trainers.launches[game].env for game in ("A", "B")}
    assert [seen["B"][f"RLFLEET_{name}"] for name in names] == ["medium", "4", "70.0", "1"]
    assert seen["A"]["RLFLEET_ATTEMPT"] == "2"
    assert {seen[game]["CUDA_VISIBLE_DEVICES"] for game in seen} == {"4", "5"}


@pytest.mark.parametrize(("cost_s", "interval"), [(None, "90"), (0.04, "BEST")])
def test_checkpoints_are_taken_as_often_as_pays_where_that_is_asked_for(tmp_path, monkeypatch, cost_s, interval):
    monkeypatch.setattr("rlagent.hands.best_interval_s", lambda *values: None if values[-1] is None else 12.345)
    acting = Acting(tmp_path, "[trainer]\nadaptive_checkpoints = true")
    monkeypatch.setattr(acting.senses, "checkpoint_cost_s", lambda: cost_s)
    acting.act()
    wanted = "12.3" if interval == "BEST" else "90"
    assert float(acting.trainers.launches["A"].env["RLFLEET_CHECKPOINT_INTERVAL_S"]) == float(wanted)
