"""A clock that a test moves forward, for code that waits in its own threads."""

import threading
from collections.abc import Callable

from tests.waiting import LOOK_SECONDS


class ForwardClock:
    """Does not advance, or advances with `base`, until a test moves it. Moving takes no real time."""

    def __init__(self, base: Callable[[], float] = lambda: 1000.0) -> None:
        self._base = base
        self._ahead = 0.0

    def now(self) -> float:
        """Return seconds since a fixed time."""
        return self._base() + self._ahead

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait until `stop` is set or this time has passed. Return whether `stop` was set."""
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            if stop.wait(min(left, LOOK_SECONDS)):
                return True
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._ahead += seconds
