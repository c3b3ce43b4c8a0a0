"""Wait for another process or thread, without guessing how long it takes."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_SECONDS = 0.01  # between two checks


def wait_until(condition: Callable[[], T], patience: float = 90.0) -> T:
    """Return the first true value of `condition`. Raises AssertionError after `patience` seconds without one."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {patience:g} s"
        time.sleep(LOOK_SECONDS)
    return found


def let_questions_end(patience: float = 90.0) -> None:
    """Wait for background requests that a run did not need: they use its environment."""
    for thread in threading.enumerate():
        if thread.name == "background question":
            thread.join(patience)
