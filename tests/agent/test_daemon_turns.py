"""The main path turn by turn, in a world that a test turns: what is journaled, what is told."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
import types

import msgspec
import pytest

from rlagent import __version__, recovery
from rlagent.journal import Journal, JournalDamagedError, JournalError
from rlagent.policy import events as ev
from rlagent.protocol.status import GpuStatus
from rlagent.supervisor import Running


def test_the_first_agent_of_a_host_tells_its_configuration_and_where_attempts_stand(agents):
    agents.parts.trainers.attempts = {"A": 4}
    daemon = agents.start()
    assert agents.kinds() == ["configured", "agent_started"]
    assert agents.events()[0].used_attempts == {"A": 4}
    assert (agents.events()[1].version, agents.events()[1].boot) == (__version__, "kernel/1")
    assert daemon.state.game("A").attempt == 4 + 1
    assert agents.parts.trainers.strangers == [["A", "B", "C"]]


def test_the_next_one_tells_only_what_changed(agents):
    agents.start()
    agents.start()
    assert agents.kinds() == ["configured", "agent_started", "agent_started"]
    agents.config = msgspec.structs.replace(
        agents.config, policy=msgspec.structs.replace(agents.config.policy, max_crashes=9)
    )
    agents.start()
    assert agents.kinds()[-2:] == ["agent_started", "configured"]


def test_a_boot_identity_that_changes_is_a_reboot_unless_trainers_live(agents, caplog):
    agents.start()
    agents.parts.host.boot = "kernel/2"
    agents.parts.trainers.living = True
    assert agents.start().state.boot == "kernel/1"
    assert "the boot identity changed from kernel/1 to kernel/2 under living trainers" in caplog.text
    agents.parts.trainers.living = False
    assert agents.start().state.boot == "kernel/2"


def test_a_turn_starts_trainers_and_journals_that_they_run(agents):
    agents.start()
    agents.turn()
    assert agents.parts.trainers.asked[0] == ("A", 1, True)
    assert agents.kinds()[2:] == ["trainer_started"]


def test_what_is_learned_while_acting_is_acted_on_in_the_same_turn(agents):
    agents.start()
    agents.parts.trainers.ends("A", code=78)
    agents.turn()
    assert [event.game for event in agents.events() if isinstance(event, ev.TrainerExited)] == ["A"]
    assert ("B", 1, True) in agents.parts.trainers.asked


def test_what_time_alone_decides_is_acted_on_in_the_same_turn(agents):
    daemon = agents.start()
    agents.turn()
    daemon._record(ev.TrainerProgressed(t=daemon.state.t, wall=1.0, game="A", attempt=1, global_step=3))
    agents.turn(3600.0)
    assert daemon.state.transition is not None
    assert [stop[:2] for stop in agents.parts.trainers.stops] == [("A", 1)]


def test_a_turn_in_which_nothing_happens_asks_once(agents):
    agents.start()
    agents.turn()
    agents.turn(0.0)
    agents.parts.trainers.asked.clear()
    agents.turn(0.0)
    assert len(agents.parts.trainers.asked) == 1


def test_acting_that_does_not_come_to_an_end_is_left_after_fifty_rounds(agents, caplog):
    daemon = agents.start()
    rounds = []
    daemon._hands = types.SimpleNamespace(
        act=lambda *_: rounds.append(1) or [ev.Tick(t=1, wall=1)], troubles=list, _=None
    )
    daemon._carry_out()
    assert len(rounds) == 50
    assert "acting does not come to an end; going on with the next turn" in caplog.text


def test_the_passing_of_time_is_journaled_every_minute_only(agents):
    agents.start()
    for _ in range(190):
        agents.turn()
    ticks = [event.t for event in agents.events() if isinstance(event, ev.Tick)]
    assert [after - before for before, after in itertools.pairwise(ticks[-3:])] == [60.0, 60.0]


@pytest.mark.parametrize(("passed_s", "journaled"), [(59.9, 0), (60.0, 1)])
def test_a_tick_is_journaled_when_exactly_a_minute_has_passed(agents, passed_s, journaled):
    daemon = agents.start()
    agents.turn()
    agents.turn()
    before = agents.kinds().count("tick")
    last = daemon.state.t
    daemon._record(ev.Tick(t=last + passed_s, wall=1.0))
    assert agents.kinds().count("tick") - before == journaled


def test_an_observation_that_decides_nothing_but_changes_the_state_is_journaled(agents):
    daemon = agents.start()
    agents.turn()
    before = len(agents.kinds())
    for _ in range(2):
        daemon._record(ev.CheckpointCommitted(t=daemon.state.t, wall=1.0, game="A", global_step=3))
    assert agents.kinds()[before:] == ["checkpoint_committed"]


def test_a_full_disk_is_an_alert_and_the_state_stays_what_the_journal_holds(agents, caplog):
    daemon = agents.start()
    agents.turn()
    before = daemon.state
    daemon._journal.fault = JournalError(agents.paths.journal, "can't write: full")
    with pytest.raises(JournalError):
        daemon.operate(ev.StopRequested(t=before.t, wall=1.0, who="", why=""))
    agents.parts.trainers.ends("A")
    for _ in range(3):
        agents.turn()
    said = f"journal: journal {agents.paths.journal}: can't write: full"
    assert said in daemon.status().alerts
    assert daemon.state == before
    assert caplog.text.count("can't write: full") == 1
    daemon._journal.fault = None
    agents.turn()
    told = agents.kinds()
    assert told[told.index("journal_back") :][:2] == ["journal_back", "trainer_exited"]
    assert said not in daemon.status().alerts


def test_a_turn_that_had_nothing_to_journal_does_not_end_the_alert(agents):
    daemon = agents.start()
    agents.turn()
    agents.turn()
    daemon._journal.fault = JournalError(agents.paths.journal, "full")
    with contextlib.suppress(JournalError):
        daemon._record(ev.StopRequested(t=1.0, wall=1.0, who="", why=""))
    daemon._troubles["journal"] = "journal: full"
    daemon._try("journal", lambda: None, heals=False)
    assert daemon._troubles == {"journal": "journal: full"}
    daemon._try("journal", lambda: None)
    assert daemon._troubles == {}


def test_a_journal_that_turns_out_damaged_is_rebuilt_and_nothing_is_lost(agents, monkeypatch):
    daemon, real = agents.start(), recovery.rebuild
    agents.turn()
    damaged = daemon._journal

    def rebuild(*what, **more):
        """Its connection must be closed by now: closed later it would remove the log of the new journal."""
        with pytest.raises(sqlite3.ProgrammingError):
            damaged.last_stamp()
        return real(*what, **more)

    monkeypatch.setattr(recovery, "rebuild", rebuild)
    before, seq = daemon.state, daemon._journal.seq
    daemon._journal.fault = JournalDamagedError(agents.paths.journal, "damaged: malformed")
    daemon.operate(ev.StopRequested(t=before.t, wall=1.0, who="ana", why=""))
    assert agents.kinds()[seq:] == ["journal_recovered", "stop"]
    assert daemon.state.stopped
    assert any("the journal was damaged once" in alert for alert in daemon.status().alerts)
    agents.turn()


def test_a_bug_is_an_alert_and_does_not_end_the_agent(agents, caplog):
    daemon = agents.start()

    def break_down(*_):
        raise ZeroDivisionError("oops")

    daemon._senses.look = break_down
    for _ in range(3):
        agents.turn()
    assert "journal: a bug: ZeroDivisionError: oops" in daemon.status().alerts
    assert caplog.text.count("journal failed") == 1


def test_a_crash_of_the_moment_is_told_before_a_wish(agents):
    daemon = agents.start()
    agents.turn()
    agents.parts.trainers.ends("A", code=None, signal=11)
    daemon.operate(ev.StopRequested(t=daemon.state.t, wall=1.0, who="ana", why=""))
    assert agents.kinds()[-2:] == ["trainer_exited", "stop"]
    assert len(daemon.state.incidents) == 1


def test_what_a_wish_would_lead_to_is_only_said(agents):
    daemon = agents.start()
    agents.turn()
    before = daemon.state, agents.kinds()
    foreseen = daemon.foresee(ev.StopRequested(t=daemon.state.t, wall=1.0, who="ana", why=""))
    assert [decision.kind for decision in foreseen] == ["stopped", "stop"]
    assert (daemon.state, agents.kinds()) == before


def test_a_wish_is_begun_at_once(agents):
    daemon = agents.start()
    agents.turn()
    daemon.operate(ev.StopRequested(t=daemon.state.t, wall=1.0, who="ana", why=""))
    assert [stop[:2] for stop in agents.parts.trainers.stops] == [("A", 1)]


def test_the_end_is_journaled_after_a_crash_of_the_moment_and_everything_is_let_go_of(agents):
    daemon = agents.start()
    agents.turn()
    agents.parts.trainers.ends("A")
    daemon.shut_down("SIGTERM")
    daemon.end()
    with Journal(agents.paths.journal)._db as db:
        kinds = [kind for (kind,) in db.execute("SELECT kind FROM events ORDER BY seq DESC LIMIT 2")]
    assert kinds == ["agent_stopping", "trainer_exited"]
    assert agents.parts.gpus.stopped
    with pytest.raises(sqlite3.ProgrammingError):
        daemon._journal.last_stamp()


def test_what_it_decides_is_in_its_log_and_what_needs_a_person_stands_out(agents, caplog):
    with caplog.at_level(logging.INFO, "rlagent.daemon"):
        agents.start()
        agents.parts.trainers.ends("A", code=78)
        agents.turn()
    levels = {record.levelname for record in caplog.records if "FATAL" in record.message}
    assert levels == {"WARNING"}
    assert any(record.levelname == "INFO" for record in caplog.records if "start" in record.message)


def test_the_status_is_written_when_something_happened_and_every_five_seconds(agents):
    daemon = agents.start()
    agents.turn()
    written = []
    daemon._publisher.publish = lambda *what: (
        written.append(what[-1]) or type(daemon._publisher).publish(daemon._publisher, *what)
    )
    begin = agents.parts.clock.now
    for _ in range(11):
        agents.turn()
    assert [at - begin for at in written] == [5.0, 10.0]
    daemon.operate(
        ev.HoldRequested(t=daemon.state.t, wall=1.0, mode="light", for_s=None, no_fallback=False, who="", why="")
    )
    agents.turn(0.5)
    assert [at - begin for at in written] == [5.0, 10.0, 11.5]


def test_a_status_that_can_not_be_written_is_an_alert_until_it_can(agents):
    daemon = agents.start()
    agents.paths.status_json.mkdir()
    agents.turn()
    assert any(alert.startswith("status files: ") for alert in daemon.status().alerts)
    agents.paths.status_json.rmdir()
    agents.turn(6.0)
    assert not any(alert.startswith("status files: ") for alert in daemon.status().alerts)


def test_the_status_tells_of_the_agent_the_host_and_every_trouble(agents):
    daemon = agents.start()
    agents.parts.gpus.gpus = [GpuStatus(index=0)]
    agents.parts.trainers.outcomes["A"] = OSError("refused")
    agents.turn(7.0)
    status = daemon.status()
    assert (status.agent.uptime_s, status.agent.rss_mib, status.agent.pid) == (7.0, 30.0, os.getpid())
    assert (status.uptime_s, status.host.cpu_count) == (5000.0, 8)
    assert [gpu.index for gpu in status.gpu] == [0]
    assert "can't start A: refused; trying again" in status.alerts


def test_its_headline_counts_what_runs(agents):
    daemon = agents.start()
    agents.turn()
    assert daemon._headline() == f"{__version__}: mode light, 0 trainers run"
    daemon._record(ev.TrainerProgressed(t=daemon.state.t, wall=1.0, game="A", attempt=1, global_step=3))
    assert daemon._headline() == f"{__version__}: mode light, 1 trainers run"


def test_a_trainer_that_runs_is_told_once(agents):
    agents.start()
    agents.parts.trainers.outcomes["A"] = Running(trainer_pid=5, adopted=True)
    for _ in range(3):
        agents.turn()
    assert agents.kinds().count("trainer_started") == 1
