"""The injected clock: the current time, and a wait that a stop event ends at once."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

DAY_MS: Final = 86_400_000  # milliseconds
_WAKES_LATE: Final = 0.00012  # seconds; Linux wakes a thread about so much later than asked


class Clock(Protocol):
    """A monotonic clock in seconds that can also wait."""

    def now(self) -> float:
        """Return seconds since a fixed time; the value never decreases."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait until `stop` is set or the seconds are over. Return True if it was set."""


class SystemClock:
    """The system clock."""

    def now(self) -> float:
        """Return time.monotonic() in seconds."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Block this thread until `stop` is set or the seconds are over. Return True if it was set.

        The end is exact, because each slot of a lane begins with such a wait: the last moments are waited in a loop.
        """
        if seconds <= 0:
            return stop.is_set()
        until = time.monotonic() + seconds
        if stop.wait(seconds - _WAKES_LATE):
            return True
        while time.monotonic() < until:
            pass
        return stop.is_set()


_since_boot: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class SinceBoot(SystemClock):
    """A clock that also counts the time while the machine is suspended, because leases and time limits end then."""

    def now(self) -> float:
        """Return the seconds of CLOCK_BOOTTIME, or of the system clock if the platform does not have it."""
        return _since_boot()


def now_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


SYSTEM_CLOCK: Final = SystemClock()
SINCE_BOOT: Final = SinceBoot()
