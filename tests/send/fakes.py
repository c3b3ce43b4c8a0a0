"""Substitutes for the machine's clock and the service in the send tests."""

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

from bulkreset.cognito.response import Disposition, Response
from bulkreset.models import Row, Secret

POOL = "eu-west-1_Here00001"


class FakeClock:
    """A clock on which only waiting passes time.

    `late` returns for each wait by how many seconds it wakes too late; `on_wait` may set the stop in the middle.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._lock = threading.Lock()
        self.late: Callable[[], float] = lambda: 0.0
        self.on_wait: Callable[[threading.Event, float], None] = lambda _stop, _seconds: None
        self.waited: list[float] = []
        self.woke: list[float] = []

    def now(self) -> float:
        """Return seconds since a fixed time."""
        return self._now

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Pass the time, unless `stop` is set."""
        if stop.is_set():
            return True
        self.waited.append(seconds)
        self.on_wait(stop, seconds)
        if stop.is_set():
            return True
        self.advance(max(0.0, seconds) + self.late())
        self.woke.append(self._now)
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Pass the time."""
        with self._lock:
            self._now += seconds


class Scripted:
    """A transport that returns its answers in order, and repeats the last one. A call takes `seconds`."""

    def __init__(self, clock: FakeClock, answers: Sequence[Response], seconds: float = 0.0) -> None:
        self._clock = clock
        self._answers: Iterator[Response] = chain(answers, repeat(answers[-1]))
        self._seconds = seconds
        self.sent: list[float] = []
        self.meant: list[object] = []

    def set_password(self, row: Row) -> Response:
        """Record when the call left, and for which user."""
        return self.answer(row)

    def answer(self, what: object) -> Response:
        """Return the next answer for any call."""
        self.sent.append(self._clock.now())
        self.meant.append(what)
        self._clock.advance(self._seconds)
        return next(self._answers)


def row(number: int = 1, *, doubted: bool = False, revived: bool = False, pool: str = POOL) -> Row:
    """Return a row to be sent."""
    return Row(
        number,
        f"user{number}",
        Secret(f"Hidden-{number}"),
        pool,
        permanent=True,
        was_in_doubt=doubted,
        retrying_failed=revived,
    )


SET = Response(Disposition.DONE, request_id="r-set")
THROTTLED = Response(Disposition.THROTTLED, "TooManyRequestsException", "slow down", "r-throttled")
DOUBTFUL = Response(Disposition.AMBIGUOUS, "ReadTimeoutError", "the answer was lost")
UNSENT = Response(Disposition.NOT_SENT, "EndpointConnectionError", "no connection could be made")
REFUSED = Response(Disposition.REFUSED, "UserNotFoundException", "User does not exist.", "r-refused")
HISTORY = Response(Disposition.REFUSED, "PasswordHistoryPolicyViolationException", "used before", "r-history")
FATAL = Response(Disposition.FATAL, "AccessDeniedException", "not authorized", "r-fatal")
EXPIRED = Response(Disposition.EXPIRED, "ExpiredTokenException", "expired")
