"""The worker, which sends one row until it is finished. Every attempt takes a slot of the pacer."""

import threading
import time
from functools import partial
from itertools import chain
from typing import Final, Generic

from bulkreset.backoff import retrying
from bulkreset.clock import Clock
from bulkreset.cognito.response import FATAL_SET, Disposition, Response
from bulkreset.job import PaceConfig
from bulkreset.send.operations import AttemptState, LaneFailed, Operation, OperationResult, T
from bulkreset.send.pacer import Pacer
from bulkreset.send_permit import AllPermits, Departure, SendPermit, departing, never_late

GATE_SECONDS = 0.1  # between two checks whether the run may send again

_NEVER = object()

_AGAIN: Final = frozenset({Disposition.THROTTLED, Disposition.PAUSED, Disposition.NOT_SENT, Disposition.AMBIGUOUS})

_NOT_LAST: Final = _AGAIN | {Disposition.MORE}


class Worker(Generic[T]):
    """Sends one row at a time through a lane's pacer, while `permit` allows it; one object per thread.

    `latency` is that of the last row's last attempt, in seconds.
    """

    def __init__(
        self,
        operation: Operation[T],
        pacer: Pacer,
        pace: PaceConfig,
        clock: Clock,
        stop: threading.Event,
        permit: SendPermit | None = None,
    ) -> None:
        self._operation = operation
        self._pacer = pacer
        self._clock = clock
        self._stop = stop
        self._permit = permit or AllPermits()
        self._max_attempts = pace.max_attempts
        self.latency: float | None = None
        self.retrying = 0  # the number of the next attempt of a row that is retried; 0 if there is none
        # The retry wraps the slot, so every attempt takes one.
        self._retry = retrying(
            _is_to_be_tried_again, attempts=pace.max_attempts, longest_wait=pace.max_wait, clock=clock, halt=stop
        )

    def send(self, what: T) -> OperationResult | LaneFailed:
        """Send a row until it is finished, its attempts are used up or the lane stops. Return its outcome."""
        state = self._operation.begin(what)
        answer = self._attempt(what, state)
        while answer and answer.disposition in _NOT_LAST:
            if answer.disposition is Disposition.MORE:
                answer = self._attempt(what, state)
                continue
            # This result is tenacity's first attempt. Most rows need no second one, so they skip the cost of tenacity.
            answers = chain([answer], iter(lambda: self._attempt(what, state), _NEVER))
            answer = self._retry(next, answers)
            self.retrying = 0
            if _is_to_be_tried_again(answer):
                break  # given up
        outcome = self._operation.settle(what, state, self._max_attempts)
        self.latency = state.latency
        fatal = state.response
        if fatal is None or fatal.disposition not in FATAL_SET:
            return outcome
        if fatal.disposition is Disposition.PAUSED:
            if state.tries < self._max_attempts:  # another reason has stopped the lane
                return outcome
            self._stop.set()
        return LaneFailed(outcome, fatal)

    def _attempt(self, what: T, state: AttemptState) -> Response | None:
        """Wait for a slot and send one attempt. Return None if the lane stopped first.

        A withheld call is not an attempt: it waits for a new slot.
        """
        may_be_late = False
        while self._wait_for_turn():
            started, at = self._clock.now(), _unix_ms()
            # Late only once: an endpoint with always slow connections would get no call at all.
            is_late = never_late if may_be_late else partial(self._pacer.is_late, started)
            with departing(Departure(self._permit, is_late)):
                answer = self._operation.send(what)
            if answer.disposition is not Disposition.WITHHELD:
                return self._count(answer, state, started, at)
            may_be_late = True
        return None

    def _wait_for_turn(self) -> bool:
        """Wait for a slot in which the run may send. Return False if the lane stopped first."""
        while self._pacer.wait(self._stop):
            if self._permit.seconds_left() > 0:
                return True
            if self._clock.wait(self._stop, GATE_SECONDS):
                break
        return False

    def _count(self, answer: Response, state: AttemptState, started: float, at: int) -> Response:
        """Record the answer to an attempt that began at `started` (clock) and `at` (Unix milliseconds)."""
        state.attempts += 1
        state.started_at = state.started_at or at
        state.response = answer
        state.latency = self._clock.now() - started
        state.finished_at = _unix_ms()
        if answer.disposition is Disposition.THROTTLED:
            state.throttled += 1
            self._pacer.on_throttled(started)
        elif answer.disposition is Disposition.PAUSED:
            pass  # says nothing about the rate
        elif answer.disposition in FATAL_SET:
            self._stop.set()  # at once: the other threads must not send another call
        elif answer.disposition is Disposition.AMBIGUOUS:
            state.was_in_doubt = state.outcome_unknown = True
            state.doubted_since = state.doubted_since or at
        elif answer.disposition is not Disposition.NOT_SENT:
            self._pacer.on_accepted()
        if answer.disposition is Disposition.MORE:
            state.attempts_before, state.was_in_doubt = state.attempts, False
        if answer.disposition in _AGAIN:
            self.retrying = state.tries + 1
        return answer


def _is_to_be_tried_again(answer: object) -> bool:
    return isinstance(answer, Response) and answer.disposition in _AGAIN


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
