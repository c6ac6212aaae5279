"""The wish to stop: while starting up at once, while training as a flag; what is changed is put back."""

import os
import signal

import pytest

from rltrainer import signals
from rltrainer.signals import StopSignal


@pytest.fixture
def stop():
    """Installed handlers, which are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = StopSignal()
    stop.install()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


class EndedError(Exception):
    """In place of the end of this process."""


@pytest.fixture
def ends(monkeypatch):
    codes = []

    def end(code):
        codes.append(code)
        raise EndedError

    monkeypatch.setattr(signals.os, "_exit", end)
    return codes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_training_is_a_flag_however_often_it_comes(stop, number):
    assert not stop.requested
    for _ in range(2):
        os.kill(os.getpid(), number)
        assert stop.requested


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_starting_up_says_farewell_and_ends_the_process_with_0(stop, ends, number):
    said = []
    with pytest.raises(EndedError), stop.at_once(lambda: said.append("farewell")):
        os.kill(os.getpid(), number)
    assert (said, ends) == (["farewell"], [0])


def test_a_wish_from_before_the_start_up_is_answered_at_its_beginning(stop, ends):
    said = []
    stop.request()
    with pytest.raises(EndedError), stop.at_once(lambda: said.append("farewell")):
        said.append("started all the same")
    assert (said, ends) == (["farewell"], [0])


def test_once_started_up_a_signal_is_a_flag_again(stop, ends):
    with stop.at_once(lambda: None):
        pass
    stop.request()
    assert (stop.requested, ends) == (True, [])


def test_on_the_way_out_signals_pass(stop):
    stop.ignore_from_now_on()
    for number in (signal.SIGTERM, signal.SIGINT):
        assert signal.getsignal(number) == signal.SIG_IGN
        os.kill(os.getpid(), number)
    assert not stop.requested
