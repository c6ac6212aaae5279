"""The trainer as the agent sees it: one run's processes, killed, orphaned, stopped and finished, and what is left.

What happens to it is in `trainer_lives`; each test here looks at one side of it.
"""

import os
import signal

import msgspec
import pytest

import soak
from trainer_lives import Life, Lives, longest_gap_s, watched
from trainer_runs import metrics, stop, trainer, wait_until

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """A run of Breakout whose lives are over."""
    return Lives(tmp_path_factory.mktemp("lives") / "run")


def test_two_trainers_never_share_a_folder(lives):
    assert lives.second.returncode == 1
    assert f"in use by another rltrain (PID {lives.pid})" in lives.second.stderr


def test_a_trainer_that_users_start_keeps_its_memory_and_its_workers_yield_to_it(lives):
    assert "glibc.malloc.mmap_threshold" in lives.environment["GLIBC_TUNABLES"]
    assert lives.schedulers == [os.SCHED_BATCH] * 2


def test_after_sigkill_no_worker_and_no_shared_memory_is_left(lives):
    """That the workers end is waited for; here are those that there were."""
    assert lives.killed.code == -signal.SIGKILL
    assert len(lives.workers) == 2
    assert lives.left_in_memory == set()


def test_an_evaluation_beside_it_neither_waits_nor_disturbs_and_a_sigterm_ends_it(lives):
    """Of the signal itself, long before its last episode."""
    assert lives.evaluation_code == -signal.SIGTERM
    assert lives.went_on
    assert "QUARANTINE" not in lives.killed.log
    assert not lives.quarantine_of_evaluation


def test_what_it_reports_as_saved_is_on_disk(lives):
    """A checkpoint may be on disk a moment before the report that tells of it."""
    for life in (lives.killed, lives.orphaned):
        assert 0 < life.report.checkpoint.global_step <= life.saved.global_step


def test_no_report_of_a_resumed_run_shows_fewer_steps_than_its_checkpoint(lives):
    """From 0 to the checkpoint's would look like new steps to the agent, also of a trainer that never takes one."""
    assert lives.killed.first.global_step == 0
    assert lives.orphaned.first.global_step >= lives.killed.saved.global_step > 0


def test_it_says_where_it_goes_on(lives):
    saved = lives.killed.saved
    told = (
        f"resume: ckpt-{saved.global_step:012d}.pt | step {saved.global_step} | episode {saved.episodes} | "
        f"iteration {saved.iteration} | "
    )
    assert told in lives.orphaned.log


def test_when_a_worker_dies_the_trainer_ends_with_1_and_says_so(lives):
    assert lives.orphaned.code == 1
    assert lives.orphaned.log.splitlines()[-1] == (
        f"rltrain: an environment worker (PID {lives.dead_worker}) was killed by SIGKILL (out of memory?); start again "
        "to resume from the last checkpoint"
    )


def test_a_damaged_newest_checkpoint_is_put_aside_and_the_run_goes_on_from_the_one_before(lives):
    assert f"QUARANTINE: {lives.damaged.name} is damaged" in lives.stopped.log
    assert f"resume: {lives.intact.name} | step {lives.intact_tally.global_step} | " in lives.stopped.log
    assert (lives.damaged.parent / "quarantine" / lives.damaged.name).exists()


def test_signals_to_the_whole_group_are_answered_with_a_checkpoint_and_more_of_them_do_not_hurt(lives):
    """As a terminal's Ctrl-C, or a supervisor that signals the group: the workers leave it to the trainer."""
    report = lives.stopped.report
    assert lives.stopped.code == 0
    assert (report.phase, report.finished) == ("stopping", False)
    assert report.global_step > lives.intact_tally.global_step
    assert lives.stopped.saved.global_step == report.global_step == report.checkpoint.global_step
    assert lives.stopped.log.splitlines()[-1].startswith(f"stop: as asked | step {report.global_step} | ")


def test_a_run_that_reaches_its_target_exits_0_and_says_so(lives):
    """Its last iteration may go beyond it."""
    report = lives.finished.report
    assert lives.finished.code == 0, lives.finished.log
    assert (report.phase, report.finished) == ("done", True)
    assert lives.target_steps <= report.global_step < lives.target_steps + 64
    assert lives.finished.saved.global_step == report.global_step
    assert f"done: target reached | step {report.global_step} | " in lives.finished.log


def test_a_run_to_its_end_loads_neither_torchs_compiler_nor_the_emulator(lives):
    assert lives.finished.log.splitlines()[-1] == "[] True"


def test_started_again_once_it_is_finished_it_ends_at_once_without_torch(lives):
    """All but the speeds and costs is as before: nothing runs any more, so there are none."""
    finished = lives.finished.report
    assert (lives.done.code, lives.done.log.splitlines()[-1]) == (0, "[] False")
    assert f"done: target reached before this start | step {finished.global_step} | " in lives.done.log
    saved = msgspec.structs.replace(finished.checkpoint, cost_s=None)
    expected = msgspec.structs.replace(finished, sps=None, episodes_per_hour=None, checkpoint=saved)
    assert lives.done.report == expected


def test_over_all_its_lives_numbers_continue_without_gap_or_repeat(lives):
    """Every episode and iteration is recorded once, and returns are those reported."""
    iterations, episodes = metrics(lives.run_dir, "iteration"), metrics(lives.run_dir, "episode")
    assert [record["iteration"] for record in iterations] == list(range(1, len(iterations) + 1))
    assert [record["global_step"] for record in iterations] == [64 * n for n in range(1, len(iterations) + 1)]
    assert len(episodes) >= 2
    assert [record["episode"] for record in episodes] == list(range(1, len(episodes) + 1))
    tally = lives.finished.saved
    assert (tally.iteration, tally.episodes) == (len(iterations), len(episodes))
    assert tally.recent_returns == [record["episodic_return"] for record in episodes][-100:]


def test_it_reports_again_and_again_from_the_start_up_into_training(lives):
    """How often is measured by a moved clock in `test_trainer_reporter`, by a real one in soak."""
    for life, trained in ((lives.killed, 3), (lives.orphaned, 2)):
        assert life.phases[0] == "starting"
        assert life.phases.count("training") >= trained
        assert len(life.phases) == len(life.beats_s)


@soak.tenth(1)
def test_the_heartbeat_is_never_older_than_two_seconds_for_long(tmp_path):
    """Reports are replaced about every second from the start-up on; the bound leaves room for a loaded machine.

    A machine that is busier than that leaves a gap here and there, a trainer that does not beat leaves it every time.
    """
    assert any(longest_gap_s(beats_of_another(tmp_path / f"run-{attempt}")) < 4.0 for attempt in range(5))


def beats_of_another(run_dir):
    """When a new run has reported, from its start-up into its training."""
    life = Life()
    with trainer(run_dir) as process:
        wait_until(watched(run_dir, life))
        assert stop(process, run_dir) == 0
    return life.beats_s
