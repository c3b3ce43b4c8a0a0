"""Paging: pages of a pool's users, at the pace of ListUsers, asked for again where that may help."""

import threading
from collections.abc import Callable, Sequence

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_when_event_set, wait_random_exponential

from bulkreset.cognito.list_users import Directory, Page
from bulkreset.cognito.read_calls import ReadError
from bulkreset.cognito.response import Verdict
from bulkreset.job import Job
from bulkreset.plan.preflight import listing_rate
from bulkreset.send.clock import Clock
from bulkreset.send.pacer import Pacer

ATTEMPTS = 10
MOST_WAIT = 20.0  # seconds
RESTARTS = 3  # lists begun again because their token had expired
REFUSED = "InvalidParameterException"  # of a token that is too old, or a filter that is none


class Pages:
    """Reads one pool's pages, on any thread. Nothing more is asked once `halt` is set."""

    def __init__(self, directory: Directory, pacer: Pacer, clock: Clock, halt: threading.Event) -> None:
        self._directory = directory
        self._pacer = pacer
        self._clock = clock
        self._halt = halt

    def read(self, ask: Callable[[], Page]) -> Page:
        """What `ask` brings, retried: every attempt pays a slot of the lane's pace. Raises ReadError."""
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, ReadError) and error.passes),
            wait=wait_random_exponential(multiplier=0.25, max=MOST_WAIT),
            stop=stop_after_attempt(ATTEMPTS) | stop_when_event_set(self._halt),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._attempt, ask)

    def _sleep(self, seconds: float) -> None:
        self._clock.wait(self._halt, seconds)

    def _attempt(self, ask: Callable[[], Page]) -> Page:
        if not self._pacer.wait(self._halt):
            raise ReadError("stopped", Verdict.REFUSED)
        started = self._clock.now()
        try:
            page = ask()
        except ReadError as error:
            if error.verdict is Verdict.THROTTLED:
                self._pacer.refused(started)
            elif error.verdict is Verdict.EXPIRED and self._directory.renew():
                raise ReadError(error.code, Verdict.UNSENT) from None
            raise
        self._pacer.accepted()
        return page


def listing_pacers(job: Job, lanes: Sequence[Sequence[str]], clock: Clock) -> dict[str, Pacer]:
    """Each pool's pacer of ListUsers; the pools of a lane share one."""
    rate = listing_rate(job)
    return {pool: pacer for lane in lanes for pacer in [Pacer(rate, clock)] for pool in lane}


def has_expired(error: ReadError, token: str | None, restarts: int) -> bool:
    """Whether a list failed because its token is too old, and may be begun again."""
    return bool(token) and error.code == REFUSED and restarts < RESTARTS
