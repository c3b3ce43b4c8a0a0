"""Waits that grow between the attempts of a call. All retries of our own are set up here; boto3 has its own as well."""

import math
import threading
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, Retrying, wait_random_exponential

from bulkreset.clock import SYSTEM_CLOCK, Clock

FIRST_WAIT = 0.25  # seconds: the maximum of the first wait; it doubles each time


def retrying(
    again: Callable[[Any], bool],
    *,
    longest_wait: float,
    attempts: float = math.inf,
    patience: float = math.inf,
    clock: Clock = SYSTEM_CLOCK,
    halt: threading.Event | None = None,
) -> Retrying:
    """Return a function that calls another one until `again` returns False for its result, or for its exception.

    It stops after `attempts`, if the next one would begin later than `patience` seconds from now, or if `halt` is set,
    which also ends a wait at once. Then it returns the last result or raises the last exception. Waits are in seconds.
    """
    halt = halt or threading.Event()
    until = clock.now() + patience

    def sleep(seconds: float) -> None:
        clock.wait(halt, seconds)

    def is_over(state: RetryCallState) -> bool:
        return state.attempt_number >= attempts or halt.is_set() or clock.now() + state.upcoming_sleep > until

    # No hooks: tenacity's would log arguments, and one may be a password.
    return Retrying(
        retry=lambda state: again(_outcome(state)),
        wait=wait_random_exponential(multiplier=FIRST_WAIT, max=longest_wait),
        stop=is_over,
        sleep=sleep,
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )


def _outcome(state: RetryCallState) -> object:
    return state.outcome and (state.outcome.exception() or state.outcome.result())
