"""The policy's table of handlers: the type checker can't see that each stands beside its own event; this can."""

from __future__ import annotations

import inspect
import typing

import pytest

from rlagent.policy import events as ev
from rlagent.policy.step import _HANDLERS

BY_STEP_ITSELF = {ev.Configured, ev.AgentStarted, ev.JournalRecovered, ev.JournalBack}
NOTHING_BUT_TIME = {ev.Tick, ev.TrainerStarted}
WRITTEN = {
    kind: handler for kind, handler in _HANDLERS.items() if inspect.signature(handler).return_annotation == "None"
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_handler_is_written_for_the_event_that_it_stands_beside(kind):
    handler = WRITTEN[kind]
    hints = typing.get_type_hints(handler)
    assert hints[list(inspect.signature(handler).parameters)[1]] is kind


def test_every_event_is_handled_once():
    assert set(typing.get_args(ev.Event)) == {*_HANDLERS} | BY_STEP_ITSELF | NOTHING_BUT_TIME
    assert not {*_HANDLERS} & (BY_STEP_ITSELF | NOTHING_BUT_TIME)
    assert set(WRITTEN) == {*_HANDLERS} - {ev.CheckpointCommitted}
