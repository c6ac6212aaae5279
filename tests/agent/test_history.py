"""Events as lines for people, and times as people write them."""

from __future__ import annotations

import pytest

from policy_driver import WALL, rules
from rlagent import history
from rlagent.journal import Entry, Foreign, Stamp
from rlagent.policy import State
from rlagent.policy import events as ev
from rlagent.policy.decisions import Decision

AT = {"t": 5.0, "wall": WALL}
WHO = {**AT, "who": "ana", "why": "night"}
TRAINER = {**AT, "game": "Pong", "attempt": 3}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (ev.Configured(**AT, rules=rules(games="AB")), "configuration read: light < medium; 2 games"),
        (ev.AgentStarted(**AT, boot="b", version="1.2"), "agent 1.2 started"),
        (ev.AgentStopping(**AT, reason="SIGTERM"), "agent stopping: SIGTERM"),
        (ev.Tick(**AT), "time passed"),
        (ev.TrainerStarted(**TRAINER, pid=9, adopted=False), "Pong attempt 3 started, pid 9"),
        (ev.TrainerStarted(**TRAINER, pid=9, adopted=True), "Pong attempt 3 adopted, pid 9"),
        (ev.TrainerProgressed(**TRAINER, global_step=7), "Pong attempt 3 makes progress: step 7"),
        (ev.TrainerStalled(**TRAINER, silent_s=30.0), "Pong attempt 3 stalled: no step for 30 s"),
        (ev.TrainerHung(**TRAINER, silent_s=300.0), "Pong attempt 3 hangs: no step for 5 min"),
        (ev.TrainerExited(**TRAINER, exit="error", detail="exit code 1"), "Pong attempt 3 ended: exit code 1"),
        (
            ev.TrainerExited(**TRAINER, exit="error", detail="exit code 1", global_step=0),
            "Pong attempt 3 ended at step 0: exit code 1",
        ),
        (ev.CheckpointCommitted(**AT, game="Pong", global_step=8), "Pong checkpoint at step 8"),
        (
            ev.SpeedMeasured(**AT, steps_per_s=12345.6, over_s=300.0),
            "all trainers together: 12,346 steps/s over 5 min",
        ),
        (ev.GpuLost(**AT, gpu=1), "GPU 1 is lost"),
        (ev.GpuBack(**AT, gpu=1), "GPU 1 is back"),
        (ev.GuardTripped(**AT, cause="disk", evidence="full", act=True, actions_max=3), "guard: full"),
        (ev.JournalBack(**AT), "the journal can be written again"),
        (ev.JournalRecovered(**AT, state=State(mode="light"), how="x"), "journal rebuilt, in mode light"),
        (ev.JournalRecovered(**AT, state=State(), how="x"), "journal rebuilt, in mode none"),
        (ev.RebootAnnounced(**WHO, drain=True), "reboot announced by ana (night)"),
        (ev.RebootWithdrawn(**WHO), "reboot withdrawn by ana (night)"),
        (ev.ScaleRequested(**WHO, mode="medium"), "scale to medium asked for by ana (night)"),
        (ev.HoldRequested(**WHO, mode="light", for_s=None, no_fallback=False), "hold light asked for by ana (night)"),
        (ev.ReleaseRequested(**WHO), "release asked for by ana (night)"),
        (ev.RollbackRequested(**WHO, to=None), "rollback asked for by ana (night)"),
        (ev.StopRequested(**WHO), "stop asked for by ana (night)"),
        (ev.StartRequested(**WHO), "start asked for by ana (night)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_event_is_one_line(event, line):
    assert history.summary(event) == line
    stamp = Stamp(t=5.0, wall=WALL + 60, monotonic=5.0, boot="b")
    shown = history.entry(Entry(seq=4, stamp=stamp, event=event, decisions=(Decision(kind="alert", reason="so"),)))
    assert (shown.seq, shown.at, shown.summary, shown.decisions) == (4, "2027-01-15T08:01:00Z", line, ["so"])
    assert shown.kind == type(event).__struct_config__.tag


def test_what_another_version_wrote_is_said_to_be_that():
    stamp = Stamp(t=5.0, wall=WALL, monotonic=5.0, boot="b")
    shown = history.entry(Entry(seq=4, stamp=stamp, event=Foreign(kind="teleported"), decisions=()))
    assert (shown.kind, shown.summary) == ("teleported", "written by another version of rlagent")


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (-5.0, "1970-01-01T00:00:00Z"),
        (0.999, "1970-01-01T00:00:00Z"),
        (WALL, "2027-01-15T08:00:00Z"),
        (253_402_300_799.0, "9999-12-31T23:59:59Z"),
        (1e18, "9999-12-31T23:59:59Z"),
    ],
)
def test_times_are_of_the_calendar_whatever_a_clock_says(wall, text):
    assert history.iso(wall) == text
