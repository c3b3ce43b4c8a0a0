"""Time, injected: now, and a wait that a stop ends at once."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, and waiting in them."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait until `stop` is set or the seconds are over; True where it was set."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds of time.monotonic."""
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Block this thread on the event."""
        return stop.wait(seconds) if seconds > 0 else stop.is_set()
