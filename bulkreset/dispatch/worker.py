"""The worker: one row sent until it is settled, every attempt paying its slot."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from bulkreset.cognito.answer import HISTORY, Answer, Verdict
from bulkreset.cognito.transport import Transport
from bulkreset.dispatch.clock import Clock
from bulkreset.dispatch.pacer import Pacer
from bulkreset.job import Pace
from bulkreset.rows import Outcome, Row, Status

_NEVER = object()
FIRST_WAIT = 0.25  # seconds: the upper end of the first backoff; it doubles each time

_AGAIN = frozenset({Verdict.THROTTLED, Verdict.UNSENT, Verdict.DOUBTFUL})
_STOP = frozenset({Verdict.FATAL, Verdict.EXPIRED})
_ALREADY_SET = "set by an earlier call whose answer was lost: the password is the newest in the user's history"


@dataclass(frozen=True, slots=True)
class Settled:
    """A row's outcome, and the answer that forbids going on, where there was one."""

    outcome: Outcome
    latency: float | None = None
    fatal: Answer | None = None


@dataclass(slots=True)
class _Tally:
    """One row's attempts so far. Times are Unix milliseconds; `latency` is the last attempt's, in seconds."""

    doubted: bool
    attempts: int = 0
    throttled: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    latency: float | None = None
    answer: Answer | None = None


class Worker:
    """Sends one row at a time through a lane's pacer; one object per thread."""

    def __init__(
        self, transport: Callable[[str], Transport], pacer: Pacer, pace: Pace, clock: Clock, stop: threading.Event
    ) -> None:
        self._transport = transport
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
            retry_error_callback=_last_result,
        )

    def send(self, row: Row) -> Settled:
        """Try until the row is settled, its attempts are used up or the lane stops."""
        tally = _Tally(doubted=row.doubted)
        first = self._attempt(row, tally)
        if _is_to_be_tried_again(first):
            # Its result is tenacity's first attempt: for the many rows that need no second one, tenacity is not set going.
            answers = chain([first], iter(lambda: self._attempt(row, tally), _NEVER))
            self._retrying(next, answers)
        latency_ms = None if tally.latency is None else round(tally.latency * 1000)
        status, message = self._status(tally)
        answer = tally.answer or Answer(Verdict.UNSENT)
        given_back = status is Status.READY
        outcome = Outcome(
            row=row.number,
            status=status,
            code="" if given_back or status is Status.SET else answer.code,
            message="" if given_back else message,
            attempts=tally.attempts,
            throttled=tally.throttled,
            in_doubt=tally.doubted,
            latency_ms=latency_ms,
            request_id=answer.request_id,
            started_at=tally.started_at,
            finished_at=tally.finished_at,
        )
        return Settled(outcome, tally.latency, answer if answer.verdict in _STOP else None)

    def _attempt(self, row: Row, tally: _Tally) -> Answer | None:
        """One paid attempt; None where the lane stopped before it could leave."""
        if not self._pacer.wait(self._stop):
            return None
        tally.attempts += 1
        started = self._clock.now()
        tally.started_at = tally.started_at or _unix_ms()
        answer = tally.answer = self._transport(row.pool).set_password(row)
        tally.latency = self._clock.now() - started
        tally.finished_at = _unix_ms()
        if answer.verdict is Verdict.THROTTLED:
            tally.throttled += 1
            self._pacer.refused(started)
        elif answer.verdict in _STOP:
            self._stop.set()  # here and now: the other threads must not send one call more
        elif answer.verdict is Verdict.DOUBTFUL:
            tally.doubted = True
        elif answer.verdict is not Verdict.UNSENT:
            self._pacer.accepted()
        return answer

    def _status(self, tally: _Tally) -> tuple[Status, str]:
        """What the row is after its last attempt, and the message that goes with it."""
        answer = tally.answer
        if answer is not None:
            if answer.verdict is Verdict.SET:
                return Status.SET, ""
            if answer.verdict is Verdict.REFUSED:
                if answer.code == HISTORY and tally.doubted:
                    return Status.SET, _ALREADY_SET
                return Status.FAILED, answer.message
        if tally.doubted:
            return Status.IN_DOUBT, answer.message if answer else ""
        if answer is None or answer.verdict in _STOP or tally.attempts < self._max_attempts:
            return Status.READY, ""
        return Status.FAILED, f"given up after {tally.attempts} attempts: {answer.message}"

    def _sleep(self, seconds: float) -> None:
        self._clock.wait(self._stop, seconds)


def _is_to_be_tried_again(answer: Answer | None) -> bool:
    return answer is not None and answer.verdict in _AGAIN


def _last_result(state: RetryCallState) -> object:
    return state.outcome.result() if state.outcome else None


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
