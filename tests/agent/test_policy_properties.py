"""Invariants of the policy under any order of events: each test must fail when its invariant is broken."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import soak
from policy_driver import WALL, rules
from rlagent.policy import State, step
from rlagent.policy import events as ev
from rlagent.policy.decisions import MODE_CHANGES
from rlagent.policy.explain import alerts, lines, next_action

pytestmark = pytest.mark.longer
RULES = rules(games="ABCDEF", stable_s=60.0, window_s=100.0, cooldown_s=90.0, forget_s=500.0, backoff_s=(1.0, 3.0))
GAMES = st.sampled_from("ABCDEFZ")
ATTEMPT_OFFSETS = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
EXITS = st.sampled_from(["done", "config", "error", "signal", "oom", "hang", "stopped", "outside", "lost"])
WHO = {"who": "ana", "why": ""}

MOVES = st.one_of(
    st.tuples(st.just(ev.Tick), st.just({})),
    st.tuples(st.just(ev.Tick), st.just({})),
    st.tuples(st.just(ev.TrainerProgressed), st.fixed_dictionaries({"game": GAMES, "global_step": st.just(1)})),
    st.tuples(st.just(ev.TrainerProgressed), st.fixed_dictionaries({"game": GAMES, "global_step": st.just(1)})),
    st.tuples(st.just(ev.TrainerStalled), st.fixed_dictionaries({"game": GAMES, "silent_s": st.just(9.0)})),
    st.tuples(st.just(ev.TrainerHung), st.fixed_dictionaries({"game": GAMES, "silent_s": st.just(9.0)})),
    st.tuples(
        st.just(ev.TrainerExited),
        st.fixed_dictionaries(
            {"game": GAMES, "exit": EXITS, "detail": st.just("detail"), "checkpoint_step": st.sampled_from([None, 1])}
        ),
    ),
    st.tuples(st.just(ev.CheckpointCommitted), st.fixed_dictionaries({"game": GAMES, "global_step": st.just(1)})),
    st.tuples(st.just(ev.GpuLost), st.fixed_dictionaries({"gpu": st.sampled_from([0, 1])})),
    st.tuples(st.just(ev.GpuBack), st.fixed_dictionaries({"gpu": st.sampled_from([0, 1])})),
    st.tuples(st.just(ev.AgentStarted), st.fixed_dictionaries({"boot": st.sampled_from("xy"), "version": st.just("")})),
    st.tuples(st.just(ev.JournalBack), st.just({})),
    st.tuples(st.just(ev.AgentStopping), st.just({"reason": "SIGTERM"})),
    st.tuples(st.just(ev.RebootAnnounced), st.booleans().map(lambda drain: {"drain": drain, **WHO})),
    st.tuples(st.just(ev.RebootWithdrawn), st.just(WHO)),
    st.tuples(st.just(ev.ScaleRequested), st.sampled_from(["light", "medium"]).map(lambda mode: {"mode": mode, **WHO})),
    st.tuples(
        st.just(ev.HoldRequested),
        st.fixed_dictionaries(
            {
                "mode": st.sampled_from(["light", "medium", "nonsense"]),
                "for_s": st.sampled_from([None, 0.0, 50.0]),
                "no_fallback": st.booleans(),
                **{key: st.just(value) for key, value in WHO.items()},
            }
        ),
    ),
    st.tuples(st.just(ev.ReleaseRequested), st.just(WHO)),
    st.tuples(st.just(ev.ReleaseRequested), st.just(WHO)),
    st.tuples(st.just(ev.RollbackRequested), st.just({"to": None, **WHO})),
    st.tuples(st.just(ev.StopRequested), st.just(WHO)),
    st.tuples(st.just(ev.StartRequested), st.just(WHO)),
    st.tuples(st.just(ev.StartRequested), st.just(WHO)),
)
SCRIPTS = st.lists(
    st.tuples(MOVES, st.sampled_from([0.0, 0.5, 1.0, 3.0, 20.0, 60.0, 100.0, -1e6]), ATTEMPT_OFFSETS), max_size=60
)


def play(script, how=RULES):
    """Run a script; yields (before, event, decisions, after) for each event."""
    state, t = State(), 0.0
    for kind, fields in ((ev.Configured, {"rules": how}), (ev.AgentStarted, {"boot": "x", "version": "1"})):
        event = kind(t=t, wall=WALL, **fields)
        after, decisions = step(state, event)
        yield state, event, decisions, after
        state = after
    for (kind, drawn), delay, offset in script:
        t = max(0.0, t + delay)
        fields = drawn
        if "game" in fields and "attempt" in kind.__struct_fields__:
            game = state.game(fields["game"])
            fields = {**fields, "attempt": (game.attempt if game else 0) + offset}
        event = kind(t=t, wall=WALL + t, **fields)
        after, decisions = step(state, event)
        yield state, event, decisions, after
        state = after


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_never_raises_and_explains_itself_in_every_state(script):
    for _, _, _, after in play(script):
        assert next_action(after, after.t).reason
        assert lines(after, after.t)
        assert isinstance(alerts(after, after.t), list)


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_never_more_trainers_than_slots_and_none_of_two_modes_at_once(script):
    for before, _, decisions, after in play(script):
        slots = RULES.modes[RULES.index(after.mode)].slots
        assert sum(game.has_process for game in after.games) <= slots
        started = [d for d in decisions if d.kind == "start"]
        if started and before.transition is not None:
            assert after.transition is None
            assert all(d.game for d in started)
        if after.mode != before.mode and before.mode:
            alive_before = {(g.name, g.attempt) for g in before.games if g.has_process}
            alive_after = {(g.name, g.attempt) for g in after.games if g.has_process}
            assert not alive_before & alive_after


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_never_promoted_before_the_stable_time_the_cooldown_or_while_held(script):
    for before, event, decisions, _ in play(script):
        for decision in decisions:
            if decision.kind == "promote":
                t = max(before.t, event.t)
                assert before.stable_at(t) >= RULES.stable_s
                assert before.progressing_since is not None
                assert t >= before.retry_at.get(decision.to_mode, 0.0)
                hold_over = before.hold is not None and before.hold.until is not None and t >= before.hold.until
                assert before.hold is None or hold_over or isinstance(event, ev.ReleaseRequested)


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_a_mode_changes_only_by_a_decision_with_a_graceful_stop_first(script):
    began = 0
    entered = 0
    for before, _, decisions, after in play(script):
        began += sum(d.kind in MODE_CHANGES and d.from_mode is not None for d in decisions)
        entered += sum(d.kind == "enter" for d in decisions)
        if before.mode and after.mode != before.mode:
            assert any(d.kind == "enter" and d.to_mode == after.mode for d in decisions)
        for game in before.games:
            later = after.game(game.name)
            if game.status == "RUNNING" and later is not None and later.status == "QUEUED":
                raise AssertionError("a running trainer was forgotten without a stop")
    assert entered <= began


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_replaying_the_events_gives_the_same_state_through_json(script):
    state = State()
    for _, event, decisions, after in play(script):
        reread = msgspec.json.decode(msgspec.json.encode(event), type=ev.Event)
        state, again = step(msgspec.json.decode(msgspec.json.encode(state), type=State), reread)
        assert state == after
        assert again == decisions


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_a_duplicate_of_a_trainers_exit_changes_nothing(script):
    for before, event, _, after in play(script):
        if isinstance(event, ev.TrainerExited):
            game = before.game(event.game)
            if game is not None and event.attempt > game.attempt:
                continue  # begun only at this moment, if at all: nothing the first time, and news the second
            again, decisions = step(after, event)
            assert again.games == after.games
            assert again.incidents == after.incidents
            assert again.barren_incidents == after.barren_incidents
            assert [d for d in decisions if d.kind == "incident"] == []


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_stopped_by_an_operator_means_that_nothing_starts(script):
    for _, _, decisions, after in play(script):
        if after.stopped:
            assert [d for d in decisions if d.kind == "start"] == []


@settings(max_examples=soak.examples(300), deadline=None)
@given(SCRIPTS)
def test_time_alone_can_be_left_out_of_the_journal(script):
    """A tick that decides nothing must not change what later events lead to."""
    for before, event, _, after in play(script):
        if isinstance(event, ev.Tick) or before.rules is None:
            continue
        t = max(before.t, event.t)
        ticked, decisions = step(before, ev.Tick(t=(before.t + t) / 2, wall=event.wall))
        if decisions or msgspec.structs.replace(ticked, t=before.t, wall=before.wall) != before:
            continue
        direct, _ = step(ticked, event)
        if not isinstance(event, ev.AgentStarted | ev.JournalBack):  # they read how long nobody watched
            assert direct == after


GOODPUT = msgspec.structs.replace(RULES, policy="goodput", crash_price_s=60.0)
SPEEDS = st.tuples(
    st.just(ev.SpeedMeasured),
    st.fixed_dictionaries({"steps_per_s": st.sampled_from([0.0, -1.0, 10.0, 2000.0, 1e300]), "over_s": st.just(9.0)}),
)
GOODPUT_SCRIPTS = st.lists(
    st.tuples(
        st.one_of(MOVES, MOVES, SPEEDS), st.sampled_from([0.0, 1.0, 20.0, 60.0, 1000.0, 1e7, -1e6]), ATTEMPT_OFFSETS
    ),
    max_size=60,
)


@settings(max_examples=soak.examples(300), deadline=None)
@given(GOODPUT_SCRIPTS)
def test_goodput_never_raises_replays_and_never_climbs_while_held_or_before_a_cooldown(script):
    state = State()
    for before, event, decisions, after in play(script, GOODPUT):
        reread = msgspec.json.decode(msgspec.json.encode(event), type=ev.Event)
        state, again = step(msgspec.json.decode(msgspec.json.encode(state), type=State), reread)
        assert (state, again) == (after, decisions)
        assert lines(after, after.t)
        assert next_action(after, after.t).reason
        for decision in decisions:
            if decision.kind == "promote":
                assert after.hold is None
                assert not after.stopped
                assert after.t >= before.retry_at.get(decision.to_mode, 0.0)
                assert "steps/s" in decision.reason or "never tried" in decision.reason
            assert decision.kind != "shadow"
