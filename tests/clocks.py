"""A clock that a test puts forward, for code that waits in its own threads."""

import threading
from collections.abc import Callable

from tests.waiting import LOOK_SECONDS


class ForwardClock:
    """Stands still, or runs with `base`, until a test puts it forward: that takes no time of the test's own."""

    def __init__(self, base: Callable[[], float] = lambda: 1000.0) -> None:
        self._base = base
        self._ahead = 0.0

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return self._base() + self._ahead

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait until `stop` is set or the clock has come so far; True where it was set."""
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            if stop.wait(min(left, LOOK_SECONDS)):
                return True
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Put it forward."""
        self._ahead += seconds
