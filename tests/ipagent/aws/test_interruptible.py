"""Waiting for calls that hear no signal."""

import os
import signal
import threading

import pytest

from ipagent.aws.interruptible import interruptible
from ipagent.signals import Signals, Stop

pytestmark = pytest.mark.pure


def test_the_answer_is_the_calls_own() -> None:
    assert interruptible(lambda: 7, 10) == 7
    assert interruptible(lambda: None, 10) is None


def test_so_is_the_error() -> None:
    def fail() -> None:
        raise KeyError("a")

    with pytest.raises(KeyError, match="a"):
        interruptible(fail, 10)


def test_a_call_that_takes_too_long_is_left_behind() -> None:
    over = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        interruptible(over.wait, 0.01)
    over.set()


def test_a_signal_ends_the_waiting() -> None:
    over = threading.Event()

    def ring_and_wait() -> None:
        # To the process, as a timer does: the kernel prefers the main thread.
        os.kill(os.getpid(), signal.SIGALRM)
        over.wait()

    with Signals(), pytest.raises(Stop):
        interruptible(ring_and_wait, 60)
    over.set()
