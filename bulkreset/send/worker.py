"""The worker: one row's errand run until it is settled, every attempt paying its slot."""

import threading
import time
from dataclasses import dataclass
from itertools import chain
from typing import Generic

from tenacity import (
    Retrying,
    retry_if_result,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from bulkreset.cognito.response import FATAL_SET, Disposition, Response
from bulkreset.errors import Stopped
from bulkreset.job import PaceConfig
from bulkreset.send.clock import Clock
from bulkreset.send.operations import AttemptState, Operation, OperationResult, T
from bulkreset.send.pacer import Pacer

_NEVER = object()
FIRST_WAIT = 0.25  # seconds: the upper end of the first backoff; it doubles each time

_AGAIN = frozenset({Disposition.THROTTLED, Disposition.NOT_SENT, Disposition.AMBIGUOUS})


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of a row, and what forbids going on, where there was something: an answer, or the lane itself."""

    outcome: OperationResult
    latency: float | None = None
    fatal: Response | Stopped | None = None


class Worker(Generic[T]):
    """Sends one row at a time through a lane's pacer; one object per thread."""

    def __init__(
        self, errand: Operation[T], pacer: Pacer, pace: PaceConfig, clock: Clock, stop: threading.Event
    ) -> None:
        self._errand = errand
        self._pacer = pacer
        self._clock = clock
        self._stop = stop
        self._max_attempts = pace.max_attempts
        # Retry outside, slot inside: every attempt pays. No hooks: tenacity's own would log arguments, and one is a password.
        self._retrying = Retrying(
            retry=retry_if_result(_is_to_be_tried_again),
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=pace.max_wait),
            stop=stop_after_attempt(pace.max_attempts) | stop_when_event_set(stop),
            sleep=self._sleep,
            retry_error_callback=lambda _state: None,  # attempts used up are no error: the tally has the last answer
        )

    def send(self, what: T) -> RowResult:
        """Try until it is settled, its attempts are used up or the lane stops."""
        tally = self._errand.begin(what)
        first = self._attempt(what, tally)
        if _is_to_be_tried_again(first):
            # Its result is tenacity's first attempt: for the many rows that need no second one, tenacity is not set going.
            answers = chain([first], iter(lambda: self._attempt(what, tally), _NEVER))
            self._retrying(next, answers)
        outcome = self._errand.settle(what, tally, self._max_attempts)
        fatal = tally.response if tally.response and tally.response.disposition in FATAL_SET else None
        return RowResult(outcome, tally.latency, fatal)

    def _attempt(self, what: T, tally: AttemptState) -> Response | None:
        """One paid attempt; None where the lane stopped before it could leave."""
        if not self._pacer.wait(self._stop):
            return None
        tally.attempts += 1
        started = self._clock.now()
        tally.started_at = tally.started_at or _unix_ms()
        answer = tally.response = self._errand.send(what)
        tally.latency = self._clock.now() - started
        tally.finished_at = _unix_ms()
        if answer.disposition is Disposition.THROTTLED:
            tally.throttled += 1
            self._pacer.on_throttled(started)
        elif answer.disposition in FATAL_SET:
            self._stop.set()  # here and now: the other threads must not send one call more
        elif answer.disposition is Disposition.AMBIGUOUS:
            tally.was_in_doubt = tally.outcome_unknown = True
        elif answer.disposition is not Disposition.NOT_SENT:
            self._pacer.on_accepted()
        return answer

    def _sleep(self, seconds: float) -> None:
        self._clock.wait(self._stop, seconds)


def _is_to_be_tried_again(answer: Response | None) -> bool:
    return answer is not None and answer.disposition in _AGAIN


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
