"""Evidence that a call whose answer was lost has set a password: the user was changed after the call began."""

import threading
from collections.abc import Mapping
from typing import Protocol

from bulkreset.clock import Clock
from bulkreset.cognito.last_change import LastChangeReader, UserChange
from bulkreset.cognito.read_calls import ReadCallError, is_transient
from bulkreset.cognito.response import Disposition
from bulkreset.models import Row
from bulkreset.retry import retrying
from bulkreset.send.pacer import Pacer

MARGIN = 5_000  # milliseconds between two clocks if the service's answer has no Date
ATTEMPTS = 3  # for one page
LONGEST_WAIT = 2.0  # seconds between two attempts
PAGES = 5  # a page may have no user, and another one may follow


class Evidence(Protocol):
    """Decides whether a lost call has set the password of a row."""

    def missing(self, row: Row, since: int | None) -> str:
        """Return "" if the user was changed after `since`, otherwise the reason why this is not known.

        `since` is a time before the lost call, in Unix milliseconds; None if unknown.
        """


class ListedEvidence:
    """Looks users up with ListUsers, which costs nothing, at its own pace. Ends early when `stop` is set."""

    def __init__(
        self, readers: Mapping[str, LastChangeReader], pacer: Pacer, clock: Clock, stop: threading.Event
    ) -> None:
        self._readers = readers
        self._pacer = pacer
        self._clock = clock
        self._stop = stop

    def missing(self, row: Row, since: int | None) -> str:
        """Return "" if the user was changed after `since`, otherwise the reason why this is not known."""
        if since is None:
            return "the time of that call is not known"
        try:
            change = self._find(row)
        except ReadCallError as error:
            return error.code if error.code == _STOPPED else f"ListUsers failed ({error.code})"
        if not change.found:
            return "ListUsers did not find the user"
        if change.modified is None:
            return "ListUsers gave no date of the user's last change"
        begun = since + (-MARGIN if change.ahead is None else change.ahead)
        return "" if change.modified >= begun else "the user was last changed before that call"

    def _find(self, row: Row) -> UserChange:
        """Return the user's last change. Raises ReadCallError."""
        reader = self._readers[row.pool]
        token = None
        for _ in range(PAGES):
            retry = retrying(
                is_transient, attempts=ATTEMPTS, longest_wait=LONGEST_WAIT, clock=self._clock, halt=self._stop
            )
            change: UserChange = retry(self._attempt, reader, row.canonical or row.username, token)
            token = change.token
            if change.found or not token:
                break
        return change

    def _attempt(self, reader: LastChangeReader, username: str, token: str | None) -> UserChange:
        if not self._pacer.wait(self._stop):
            raise ReadCallError(_STOPPED, Disposition.REFUSED)
        started = self._clock.now()
        try:
            change = reader.read(username, token)
        except ReadCallError as error:
            if error.verdict is Disposition.THROTTLED:
                self._pacer.on_throttled(started)
            elif error.verdict is Disposition.EXPIRED and reader.refresh_credentials():
                raise ReadCallError(error.code, Disposition.NOT_SENT) from None
            raise
        self._pacer.on_accepted()
        return change


_STOPPED = "the run stopped before the user was looked up"
