"""Reads pages of the pools' users in parallel, at the ListUsers pace, and retries transient errors."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, ParamSpec, Self, TypeVar

from bulkreset.clock import Clock
from bulkreset.cognito.list_users import UserLister, UserPage
from bulkreset.cognito.read_calls import ReadCallError, is_transient
from bulkreset.cognito.response import Disposition
from bulkreset.job import Job
from bulkreset.plan.preflight import listing_rate
from bulkreset.retry import retrying
from bulkreset.send.pacer import Pacer

ATTEMPTS = 10
MOST_WAIT = 20.0  # seconds
RESTARTS = 3  # times that a list may start again after its token expired
REFUSED = "InvalidParameterException"  # the code for an expired token or an invalid filter


ResultT = TypeVar("ResultT")
ParamsT = ParamSpec("ParamsT")


class ParallelCalls(Generic[ResultT]):
    """Makes the calls of several pools in parallel. Leaving the context sets `halt` and waits for the running calls.

    After an error nobody needs their answers, because a page changes nothing: they are abandoned.
    """

    def __init__(self, threads: int, listers: Iterable[UserLister], halt: threading.Event) -> None:
        self._listers = listers
        self._halt = halt
        self._executor = ThreadPoolExecutor(max_workers=threads)
        self._pending: dict[Future[ResultT], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        self._halt.set()
        if kind:
            for lister in self._listers:
                lister.abandon()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def submit(
        self, pool: str, call: Callable[ParamsT, ResultT], *args: ParamsT.args, **kwargs: ParamsT.kwargs
    ) -> None:
        """Start a call for a pool."""
        self._pending[self._executor.submit(call, *args, **kwargs)] = pool

    def completed(self) -> Iterator[list[tuple[str, Future[ResultT]]]]:
        """Yield the completed calls with their pools until none is left, at least every 0.1 s."""
        while self._pending:
            done, _ = wait(self._pending, timeout=0.1, return_when=FIRST_COMPLETED)
            yield [(self._pending.pop(future), future) for future in done]


class PagedReader:
    """Reads pages of one pool; usable from any thread. Sends no more calls after `halt` is set."""

    def __init__(self, directory: UserLister, pacer: Pacer, clock: Clock, halt: threading.Event) -> None:
        self._directory = directory
        self._pacer = pacer
        self._clock = clock
        self._halt = halt

    def read(self, ask: Callable[[], UserPage]) -> UserPage:
        """Return the page from `ask`, with retries. Raises ReadCallError.

        Every attempt waits for a slot of the lane's pace.
        """
        retry = retrying(is_transient, attempts=ATTEMPTS, longest_wait=MOST_WAIT, clock=self._clock, halt=self._halt)
        return retry(self._attempt, ask)

    def _attempt(self, ask: Callable[[], UserPage]) -> UserPage:
        if not self._pacer.wait(self._halt):
            raise ReadCallError("stopped", Disposition.REFUSED)
        started = self._clock.now()
        try:
            page = ask()
        except ReadCallError as error:
            if error.verdict is Disposition.THROTTLED:
                self._pacer.on_throttled(started)
            elif error.verdict is Disposition.EXPIRED and self._directory.refresh_credentials():
                raise ReadCallError(error.code, Disposition.NOT_SENT) from None
            raise
        self._pacer.on_accepted()
        return page


def listing_pacers(job: Job, lanes: Sequence[Sequence[str]], clock: Clock) -> dict[str, Pacer]:
    """Return the ListUsers pacer of each pool. The pools of a lane share one."""
    rate = listing_rate(job)
    return {pool: pacer for lane in lanes for pacer in [Pacer(rate, clock)] for pool in lane}
