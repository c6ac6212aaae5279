"""What the world shows becomes events: reports, silences, GPUs; with time that a test lets pass."""

from __future__ import annotations

import math

import pytest

from agent_world import Parts, config
from policy_driver import Host, rules
from rlagent import files
from rlagent.paths import Paths
from rlagent.policy import events as ev
from rlagent.protocol.progress import CheckpointReport, Progress, encode
from rlagent.senses import Senses
from rlagent.supervisor import Process


class Sensing:
    """Senses on one or two trainers."""

    def __init__(self, folder, text: str = "", slots: int = 1) -> None:
        self.parts = Parts()
        self.clock, self.gpus = self.parts.clock, self.parts.gpus
        self.paths = Paths(folder)
        self.senses = Senses(config(text), self.paths, self.parts.trainers, self.gpus, self.parts.world())
        self.host = Host(rules(modes=(("light", slots), ("medium", 3)), games="ABC"))
        self.host.tick(1)
        self.runs("A", *"B"[: slots - 1])

    def runs(self, *games: str) -> None:
        for game in games:
            self.parts.trainers.alive[game] = Process(attempt=1, shim_pid=7, trainer_pid=70)

    def ends(self, game: str) -> None:
        del self.parts.trainers.alive[game]

    def report(self, step: int, game: str = "A", saved: int | None = None, **more) -> None:
        checkpoint = None if saved is None else CheckpointReport(global_step=saved, saved_at=1.0)
        path = self.paths.progress_file(game)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, encode(Progress(global_step=step, checkpoint=checkpoint, **more)), durable=False)

    def look(self, after_s: float = 1.0) -> list[ev.Event]:
        self.clock.now += after_s
        return self.senses.look(self.host.state, self.clock.stamp)

    def looks(self, seconds: int) -> list[ev.Event]:
        """Look every second; returns what the last look found."""
        for _ in range(seconds):
            found = self.look()
        return found

    def steady(self) -> None:
        """Let every trainer take steps, and the policy know of it."""
        names = [game.name for game in self.host.state.games if game.has_slot]
        for step in range(1, 12):
            for game in names:
                self.report(step, game)
            self.look()
        self.host.up()


@pytest.fixture
def sensing(tmp_path):
    return Sensing(tmp_path)


def kinds(found: list[ev.Event]) -> list[type]:
    return [type(event) for event in found]


def test_the_first_new_step_is_told_once_the_policy_knows_it(sensing):
    sensing.report(500)
    assert sensing.look() == []  # the first look at an attempt only learns what is there
    sensing.report(500, sps=1.0)
    assert sensing.look() == []
    sensing.report(501)
    (event,) = sensing.look()
    assert (type(event), event.game, event.attempt, event.global_step) == (ev.TrainerProgressed, "A", 1, 501)
    assert event.t == sensing.clock.now
    sensing.host.progress("A", at=2)
    sensing.report(502)
    assert sensing.look() == []


def test_steps_of_a_trainer_that_is_not_there_are_none(sensing):
    sensing.look()
    sensing.report(1)
    sensing.look()
    sensing.ends("A")
    sensing.report(2)
    assert sensing.look() == []


def test_a_game_that_waits_or_is_stopped_is_not_judged(sensing):
    sensing.steady()
    sensing.host.stop(at=5)
    assert sensing.looks(1000) == []
    assert sensing.senses.hangs_in_s == math.inf


def test_a_silence_is_a_stall_and_then_a_hang(sensing):
    sensing.steady()
    assert kinds(sensing.looks(5)) == []
    (stall,) = sensing.looks(1)
    assert (type(stall), stall.silent_s) == (ev.TrainerStalled, 6.0)
    sensing.host.stall("A", at=6)
    assert kinds(sensing.looks(294)) == []
    assert sensing.senses.hangs_in_s == 0.0
    (hang,) = sensing.look(0.5)
    assert (type(hang), hang.silent_s) == (ev.TrainerHung, 300.5)


def test_a_start_without_a_step_is_a_hang_after_the_start_timeout(tmp_path):
    sensing = Sensing(tmp_path, "[supervisor]\nstart_timeout_s = 50")
    sensing.look()
    assert kinds(sensing.looks(50)) == []
    assert sensing.senses.hangs_in_s == 0.0
    assert kinds(sensing.looks(1)) == [ev.TrainerHung]


def test_the_first_of_several_hangs_is_what_the_agent_waits_for(tmp_path):
    sensing = Sensing(tmp_path, slots=2)
    sensing.steady()
    for step in range(20, 30):
        sensing.report(step, "B")
        sensing.look()
    assert sensing.senses.hangs_in_s == 290.0


def test_silence_on_a_full_disk_is_no_hang_and_is_said(sensing):
    assert sensing.senses.warnings() == []
    sensing.steady()
    sensing.parts.host.full = True
    found = sensing.looks(400)
    assert kinds(found) == [ev.TrainerStalled]
    (warning,) = sensing.senses.warnings()
    assert warning.endswith("no space: trainers can't report, so none is taken for hung; free some space")
    sensing.parts.host.full = False
    sensing.look()
    assert sensing.senses.warnings() == []


def test_a_report_that_is_none_is_a_warning(sensing):
    sensing.report(1)
    sensing.look()
    sensing.paths.progress_file("A").write_text("garbage")
    sensing.look()
    (warning,) = sensing.senses.warnings()
    assert "not a progress report" in warning


def test_checkpoints_are_told_as_they_come_each_once(sensing):
    sensing.report(1, saved=1)
    assert kinds(sensing.look()) == []  # it was there before this agent
    sensing.report(2, saved=1)
    sensing.look()
    sensing.report(3, saved=3)
    assert [event.global_step for event in sensing.look() if isinstance(event, ev.CheckpointCommitted)] == [3]
    sensing.report(4, saved=3)
    assert ev.CheckpointCommitted not in kinds(sensing.look())
    assert sensing.senses.last_checkpoint("A") is None
    sensing.report(5, saved=5)
    assert sensing.senses.finished("A") is None
    assert sensing.senses.last_checkpoint("A") == 5


def test_a_checkpoint_of_a_game_without_a_process_is_not_told(sensing):
    sensing.report(1)
    sensing.look()
    sensing.host.crash("A", at=3)
    sensing.report(2, saved=2)
    assert sensing.look() == []


def test_what_the_first_report_of_a_new_attempt_repeats_is_no_checkpoint(sensing):
    sensing.report(1, saved=1)
    sensing.look()
    sensing.host.crash("A", at=3)
    sensing.host.tick(1000)
    sensing.report(2, saved=2)
    assert sensing.look() == []


def test_gpus_are_lost_and_back_once_each_in_their_order(sensing):
    sensing.gpus.lost_ones = frozenset({2, 1})
    found = sensing.look()
    assert [(type(event), event.gpu) for event in found] == [(ev.GpuLost, 1), (ev.GpuLost, 2)]
    sensing.host.gpu_fault(at=3)
    sensing.gpus.lost_ones = frozenset({0})
    assert sensing.look() == []
    sensing.gpus.lost_ones = frozenset()
    assert sensing.look() == []  # a driver that has not answered does not bring one back
    sensing.gpus.has_answered = True
    assert [(type(event), event.gpu) for event in sensing.look()] == [(ev.GpuBack, 0)]


def test_what_is_asked_of_an_unknown_game_is_not_known(sensing):
    senses = sensing.senses
    assert (senses.finished("X"), senses.last_checkpoint("X"), senses.global_step("X")) == (None, None, None)
    assert (senses.finished("A"), senses.last_checkpoint("A"), senses.global_step("A")) == (None, None, None)
    assert (senses.said_stopping("X"), senses.said_stopping("A")) == (False, False)


def test_reports_and_processes_are_told_by_game(sensing):
    sensing.report(7, finished=True, phase="stopping")
    sensing.look()
    seen = sensing.senses.games()
    assert (seen["A"].pid, seen["A"].progress.global_step) == (70, 7)
    assert (seen["B"].pid, seen["B"].progress) == (None, None)
    assert (sensing.senses.finished("A"), sensing.senses.global_step("A")) == (True, 7)
    assert sensing.senses.said_stopping("A")


def test_the_speed_is_measured_only_while_all_make_progress(tmp_path):
    sensing = Sensing(tmp_path, slots=2)
    sensing.steady()
    for second in range(1, 302):
        for game in "AB":
            sensing.report(1000 + 10 * second, game)
        found = sensing.look()
    assert [(event.steps_per_s, event.over_s) for event in found] == [(20.0, 300.0)]
    sensing.host.stall("A", at=400)
    for second in range(1, 302):
        for game in "AB":
            sensing.report(9000 + 10 * second, game)
        assert ev.SpeedMeasured not in kinds(sensing.look())
