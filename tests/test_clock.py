"""The clocks: the machine's, which a stop wakes at once, and the tests' own."""

import threading
import time

from bulkreset.clock import Clock, SystemClock
from tests.send.fakes import FakeClock


def test_stop_wakes_who_waits() -> None:
    clock: Clock = SystemClock()
    stop, woken = threading.Event(), []
    waiting = threading.Thread(target=lambda: woken.append(clock.wait(stop, 3600)), daemon=True)
    waiting.start()
    stop.set()
    waiting.join(90)
    assert woken == [True]


def test_time_that_is_over_is_not_waited_for() -> None:
    class Never(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise AssertionError(timeout)

    clock = SystemClock()
    before = time.monotonic()
    assert not clock.wait(Never(), -5)
    assert before <= clock.now() <= time.monotonic()


def test_fake_clock_passes_by_waiting() -> None:
    clock: Clock = FakeClock(5)
    stop = threading.Event()
    assert not clock.wait(stop, 2)
    assert not clock.wait(stop, -2)
    assert clock.now() == 7
    stop.set()
    assert clock.wait(stop, 2)
    assert clock.now() == 7


def test_wait_is_not_over_before_its_seconds_are() -> None:
    clock = SystemClock()
    for seconds in (0.00005, 0.001, 0.01):
        began = clock.now()
        assert not clock.wait(threading.Event(), seconds)
        assert clock.now() - began >= seconds


def test_wait_in_its_last_moments_sees_the_stop() -> None:
    stop = threading.Event()
    stop.set()
    assert SystemClock().wait(stop, 0.00005)
