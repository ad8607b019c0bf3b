"""Signals that ask a training to stop."""

import signal

import pytest

from digit.training.signals import SAME_SIGNAL_S, StopRequest


@pytest.fixture
def stop(monkeypatch):
    """A request whose clock is `stop.now` and whose alarms are noted."""
    stop = StopRequest()
    stop.now = 1000.0
    stop.alarms = []
    monkeypatch.setattr("digit.training.signals.time.monotonic", lambda: stop.now)
    monkeypatch.setattr(stop, "_set_alarm", stop.alarms.append)
    return stop


def test_impatience_puts_the_end_off_no_further(stop):
    """Ctrl-C pressed again and again ends the training, however fast it is pressed."""
    stop._on_signal(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(20):
            stop.now += SAME_SIGNAL_S / 4
            stop._on_signal(signal.SIGINT, None)
    assert stop.now < 1000 + 2 * SAME_SIGNAL_S
    assert len(stop.alarms) == 1


def test_one_press_that_arrives_twice_is_one(stop):
    stop._on_signal(signal.SIGINT, None)
    stop.now += SAME_SIGNAL_S / 2
    stop._on_signal(signal.SIGINT, None)
    assert stop.signal_number == signal.SIGINT
