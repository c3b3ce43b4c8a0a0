"""Makes the ListUsers calls of several pools in parallel, each lane at its own pace."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, ParamSpec, Self, TypeVar

from bulkreset.causes import FATAL, advice_for
from bulkreset.clock import Clock
from bulkreset.cognito.endpoint import connection_problem
from bulkreset.cognito.list_users import UserLister
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.errors import ServiceError
from bulkreset.job import Job
from bulkreset.plan.preflight import listing_rate
from bulkreset.send.pacer import Pacer

ResultT = TypeVar("ResultT")
ParamsT = ParamSpec("ParamsT")


class ParallelCalls(Generic[ResultT]):
    """Makes the calls of several pools in parallel. Leaving the context sets `halt` and waits for the running calls.

    After an error nobody needs their answers, and reading a page changes nothing, so they are abandoned.
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


def listing_pacers(job: Job, lanes: Sequence[Sequence[str]], clock: Clock) -> dict[str, Pacer]:
    """Return the ListUsers pacer of each pool. The pools of a lane share one."""
    rate = listing_rate(job)
    return {pool: pacer for lane in lanes for pacer in [Pacer(rate, clock)] for pool in lane}


def listing_interrupted(lister: UserLister, error: ReadCallError, what: str, advice: str) -> ServiceError | None:
    """Return the error of a listing that may succeed later; None if it was denied or can never succeed."""
    if problem := connection_problem(error.code, lister.session):
        return ServiceError(error.code, *problem)
    if error.denied or error.verdict is Disposition.FATAL:
        return None
    advice = advice_for(error.code) if error.code in FATAL else advice  # FATAL: the credentials have expired
    return ServiceError(error.code, f"{what} could not be listed: {error.code}.", advice)
