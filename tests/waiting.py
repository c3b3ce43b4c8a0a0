"""Waiting for what another process or thread does, without a guess of how long it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LOOK_SECONDS = 0.01  # between two looks


def wait_until(condition: Callable[[], T], patience: float = 90.0) -> T:
    """Return the first true value of `condition`. Raises AssertionError after `patience` seconds without one."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {patience:g} s"
        time.sleep(LOOK_SECONDS)
    return found
