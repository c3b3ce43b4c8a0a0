"""Evidence that a call whose answer was lost has set a password: the user was changed after the call began."""

import threading
from collections.abc import Callable, Mapping
from functools import partial

from bulkreset.clock import Clock
from bulkreset.cognito.list_users import UserLister, filter_by
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import MAX_SKEW, ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError
from bulkreset.models import Row
from bulkreset.send.pacer import Pacer
from bulkreset.send.paged_reader import STOPPED, PagedReader

MARGIN = 5_000  # milliseconds between two clocks if the service's answer has no Date
ATTEMPTS = 3  # for one page
LONGEST_WAIT = 2.0  # seconds between two attempts
PAGES = 5  # a page may have no user, and another one may follow


def open_lister(session: TargetSession) -> UserLister:
    """Return a lister for users whose usernames are known, so that no facts about the pool are needed."""
    return UserLister(session, PoolFacts(session.target.user_pool_id))


class ListedEvidence:
    """Decides whether a lost call has set the password of a row: looks its user up with ListUsers, which costs nothing.

    It has its own pace, and ends early when `stop` is set. All threads of a lane share it; a pool's client is created
    at the first lookup.
    """

    def __init__(
        self,
        sessions: Mapping[str, TargetSession],
        pacer: Pacer,
        clock: Clock,
        stop: threading.Event,
        lister: Callable[[TargetSession], UserLister] = open_lister,
    ) -> None:
        self._sessions = sessions
        self._pacer = pacer
        self._clock = clock
        self._stop = stop
        self._open = lister
        self._opening = threading.Lock()
        self._readers: dict[str, PagedReader] = {}

    def missing(self, row: Row, since: int | None) -> str:
        """Return "" if the user was changed after `since`, otherwise the reason why this is unknown.

        `since` is a time before the lost call, in Unix milliseconds; None if unknown.
        """
        if since is None:
            return "the time of that call is not known"
        try:
            return self._compare(self._reader(row.pool), row.canonical or row.username, since)
        except ReadCallError as error:
            stopped = error.code == STOPPED
            return "the run stopped before the user was looked up" if stopped else f"ListUsers failed ({error.code})"

    def _compare(self, reader: PagedReader, username: str, since: int) -> str:
        token = None
        for _ in range(PAGES):
            page = reader.read(partial(reader.lister.page, token, filter_by("username", username)))
            if user := next((user for user in page.users if user.username == username), None):
                if user.modified is None:
                    return "ListUsers gave no date of the user's last change"
                if page.ahead is not None and abs(page.ahead) > MAX_SKEW:
                    return "the clocks of this machine and of the service differ by more than 5 minutes"
                begun = since + (-MARGIN if page.ahead is None else page.ahead)
                return "" if user.modified >= begun else "the user was last changed before that call"
            token = page.token
            if not token:
                break
        return "ListUsers did not find the user"

    def _reader(self, pool: str) -> PagedReader:
        with self._opening:
            if pool not in self._readers:
                try:
                    lister = self._open(self._sessions[pool])
                except TargetError:
                    raise ReadCallError("TargetError", Disposition.FATAL) from None
                self._readers[pool] = PagedReader(lister, self._pacer, self._clock, self._stop, ATTEMPTS, LONGEST_WAIT)
            return self._readers[pool]
