"""Signals as an exception that interrupts."""

import os
import select
import signal
import threading
import time

import pytest

from ipagent.interrupting_signals import InterruptingSignals, StopSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts_whatever_is_waited_for(number: int) -> None:
    def wait() -> None:
        ring.start()
        time.sleep(20)

    with InterruptingSignals():
        ring = threading.Timer(0.05, os.kill, (os.getpid(), number))
        with pytest.raises(StopSignal) as caught:
            wait()
        ring.join()
    assert caught.value.number == number
    assert not caught.value.timed_out


def test_the_alarm_is_told_apart() -> None:
    with InterruptingSignals() as signals:

        def wait() -> None:
            signals.alarm(0.01)
            time.sleep(20)

        with pytest.raises(StopSignal) as caught:
            wait()
    assert caught.value.timed_out
    assert str(caught.value) == "SIGALRM"


def test_an_alarm_that_was_called_off_is_silent() -> None:
    with InterruptingSignals() as signals:
        signals.alarm(20)
        signals.alarm(0)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        signals.check()


def test_only_the_first_signal_interrupts_and_a_swallowed_one_is_found() -> None:
    with InterruptingSignals() as signals:
        with pytest.raises(StopSignal):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopSignal, match="SIGTERM"):
            signals.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGALRM])
def test_nothing_interrupts_the_end(number: int) -> None:
    with InterruptingSignals() as signals:
        signals.end()
        os.kill(os.getpid(), number)
        signals.check()


def test_an_alarm_does_not_outlive_the_work() -> None:
    with InterruptingSignals() as signals:
        signals.alarm(20)
        signals.end()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_signal_before_a_sleep_wakes_it() -> None:
    with InterruptingSignals() as signals:
        with pytest.raises(StopSignal):
            os.kill(os.getpid(), signal.SIGTERM)
        assert select.select([signals.wakeup], [], [], 20)[0] == [signals.wakeup]


def test_afterwards_everything_is_as_it_was() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    with InterruptingSignals():
        pass
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)] == before
    assert signal.set_wakeup_fd(-1) == -1
