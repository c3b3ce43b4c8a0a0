"""Reads pages of a pool's users at the ListUsers pace, and retries transient errors."""

import threading
from collections.abc import Callable
from functools import partial

from bulkreset.backoff import retrying
from bulkreset.clock import Clock
from bulkreset.cognito.list_users import UserLister, UserPage
from bulkreset.cognito.read_calls import ReadCallError, is_transient
from bulkreset.cognito.response import Disposition
from bulkreset.send.pacer import Pacer

ATTEMPTS = 10
MOST_WAIT = 20.0  # seconds
RESTARTS = 3  # times that a list may start again after its token expired
REFUSED = "InvalidParameterException"  # the code for an expired token or an invalid filter
STOPPED = "stopped"  # the code if `halt` was set before the call


class PagedReader:
    """Reads pages of one pool; usable from any thread. Sends no more calls after `halt` is set."""

    def __init__(
        self,
        lister: UserLister,
        pacer: Pacer,
        clock: Clock,
        halt: threading.Event,
        attempts: int = ATTEMPTS,
        longest_wait: float = MOST_WAIT,
    ) -> None:
        self.lister = lister
        self._pacer = pacer
        self._clock = clock
        self._halt = halt
        self._retrying = partial(
            retrying, is_transient, attempts=attempts, longest_wait=longest_wait, clock=clock, halt=halt
        )

    def read(self, ask: Callable[[], UserPage]) -> UserPage:
        """Return the page from `ask`, with retries. Raises ReadCallError.

        Every attempt waits for a slot of the lane's pace.
        """
        page: UserPage = self._retrying()(self._attempt, ask)
        return page

    def _attempt(self, ask: Callable[[], UserPage]) -> UserPage:
        if not self._pacer.wait(self._halt):
            raise ReadCallError(STOPPED, Disposition.REFUSED)
        started = self._clock.now()
        try:
            page = ask()
        except ReadCallError as error:
            if error.verdict is Disposition.THROTTLED:
                self._pacer.on_throttled(started)
            elif error.verdict is Disposition.EXPIRED and self.lister.refresh_credentials():
                raise ReadCallError(error.code, Disposition.NOT_SENT) from None
            raise
        self._pacer.on_accepted()
        return page
