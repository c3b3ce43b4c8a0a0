"""Finds the user for every name: lists the pool or looks up each name, at the ListUsers pace."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from bulkreset.clock import Clock
from bulkreset.cognito.list_users import PAGE, PoolUser, UserLister, UserPage, filters_for
from bulkreset.cognito.pool import PoolFacts, arn_of
from bulkreset.cognito.read_calls import ReadCallError, UnknownFact
from bulkreset.plan.parallel_calls import ParallelCalls, listing_interrupted
from bulkreset.plan.pool_sweep import AT_ONCE as PAGES_AT_ONCE
from bulkreset.plan.pool_sweep import PoolSweep, SweptPage
from bulkreset.plan.user_store import NOBODY, NOT_LISTED, UNKNOWN, UserMatch, UserStore
from bulkreset.send.pacer import Pacer
from bulkreset.send.paged_reader import REFUSED, PagedReader

AT_ONCE = 8  # lookups in flight in one pool: enough for the pace if each takes 0.25 s
SURE_PAGES = 1000  # pages to sweep at most in a small search of a case-insensitive pool: about 40 seconds
CONFIRMED = 1000  # the most names without a user in a listing that are then looked up: about 40 seconds
THREADS = 64
BATCH = 500  # names taken from the store at a time
ACTION = "cognito-idp:ListUsers"
_Found = SweptPage | tuple[str, UserMatch]  # a page of a sweep, or a name and the user that it means
_WHAT = "the pool's users: they are not checked"


@dataclass(slots=True)
class _PoolSearch:
    """The search in one pool: its user lister, its page reader, and the state of its calls.

    `sweep` is None if every name is looked up. After a sweep, only names that it did not find are.
    """

    lister: UserLister
    pages: PagedReader
    names: int
    sweep: PoolSweep | None
    after: str = ""
    queued: list[tuple[str, str]] = field(default_factory=list)
    under_way: int = 0
    exhausted: bool = False
    begun: int = 0  # lookups
    asked: int = 0  # lookups with an answer
    answers: list[tuple[str, UserMatch]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Return about how many calls the whole search takes."""
        return max(self.sweep.expected, self.sweep.made) + self.begun if self.sweep else self.names

    @property
    def made(self) -> int:
        """Return how many calls were made so far."""
        return (self.sweep.made if self.sweep else 0) + self.asked


class UserSearch:
    """Looks up every name in `store`.

    A pool is listed page by page if that takes fewer calls than looking up each name. A listing is eventually
    consistent, so up to CONFIRMED missing names are looked up afterwards. `pacers` has the ListUsers pacer of each
    pool's lane. `kind_of` returns the reason to skip a user, or "".
    """

    def __init__(
        self,
        listers: Mapping[str, UserLister],
        pacers: Mapping[str, Pacer],
        store: UserStore,
        clock: Clock,
        kind_of: Callable[[PoolUser, PoolFacts], str],
    ) -> None:
        self._listers = listers
        self._pacers = pacers
        self._store = store
        self._clock = clock
        self._kind_of = kind_of
        self._halt = threading.Event()
        self._pools: dict[str, _PoolSearch] = {}

    def run(self, seen: Callable[[int, int], None]) -> dict[str, UnknownFact]:
        """Search all pools in parallel. `seen` is called with (calls made, calls expected) and may raise to stop.

        Returns the pools whose users cannot be listed, with the reason. Raises ServiceError if a search was
        interrupted; the next run continues from its page.
        """
        self._pools = {name: self._start_pool(name, lister) for name, lister in self._listers.items()}
        gaps: dict[str, UnknownFact] = {}
        try:
            threads = min(THREADS, PAGES_AT_ONCE * max(1, len(self._pools)))
            with ParallelCalls[_Found](threads, self._listers.values(), self._halt) as calls:
                for name in self._pools:
                    self._start_calls(calls, name)
                for completed in calls.completed():
                    for name, future in completed:
                        if name in gaps:
                            continue
                        try:
                            self._store_result(name, future)
                        except ReadCallError as error:
                            gaps |= self._unchecked_pool(name, error)
                            continue
                        self._start_calls(calls, name)
                    pools = self._pools.values()
                    seen(sum(pool.made for pool in pools), sum(pool.calls for pool in pools))
        finally:
            for name, pool in self._pools.items():
                self._flush(name, pool)
        return gaps

    def _start_pool(self, name: str, lister: UserLister) -> _PoolSearch:
        names, users = self._store.names(name), lister.facts.users
        # A page has 60 users, and each lookup takes at least one call. Filters are case-sensitive even if the pool is
        # not, so a sweep of a case-insensitive pool is more reliable. It is used if it does not take long.
        worth = max(names, SURE_PAGES) if lister.facts.case_insensitive else names
        sweeps = names > 0 and (users if users is not None else PAGE * PAGE) < PAGE * worth
        pages = PagedReader(lister, self._pacers[name], self._clock, self._halt)
        return _PoolSearch(lister, pages, names, PoolSweep(lister, pages, self._store) if sweeps else None)

    def _start_calls(self, calls: ParallelCalls[_Found], name: str) -> None:
        """Start as many pages of a sweep, or lookups, as may be in flight."""
        pool = self._pools[name]
        if pool.sweep and not pool.sweep.done:
            while call := pool.sweep.next_call():
                calls.submit(name, call)
                pool.under_way += 1
            return
        while pool.under_way < AT_ONCE and (sought := self._next_name(name, pool)):
            calls.submit(name, self._find_by_name, pool, *sought)
            pool.under_way += 1
            pool.begun += 1
        if pool.sweep and not pool.under_way:
            self._flush(name, pool)
            self._store.mark_unlisted(name)

    def _next_name(self, name: str, pool: _PoolSearch) -> tuple[str, str] | None:
        if pool.sweep and pool.begun >= CONFIRMED:
            return None
        if not pool.queued and not pool.exhausted and pool.names:
            pool.queued = self._store.missing(name, pool.after, BATCH)[::-1]
            pool.exhausted = not pool.queued
        if not pool.queued:
            return None
        sought = pool.queued.pop()
        pool.after = sought[0]
        return sought

    def _store_result(self, name: str, future: Future[_Found]) -> None:
        """Store the result of a call. Raises ReadCallError if it failed, unless the sweep can start again."""
        pool = self._pools[name]
        pool.under_way -= 1
        result = future.result()
        if isinstance(result, SweptPage):
            if pool.sweep:
                pool.sweep.take(result, lambda part, page: self._store_page(name, part, page))
            return
        pool.asked += 1
        pool.answers.append(result)
        if len(pool.answers) >= PAGE:
            self._flush(name, pool)

    def _store_page(self, name: str, part: str, page: UserPage) -> None:
        facts = self._pools[name].lister.facts
        self._store.store_page(name, part, [self._match(user, facts) for user in page.users], page.token)

    def _flush(self, name: str, pool: _PoolSearch) -> None:
        if pool.answers:
            self._store.store_matches(name, pool.answers)
            pool.answers = []

    def _unchecked_pool(self, name: str, error: ReadCallError) -> dict[str, UnknownFact]:
        """Return the gap of a pool whose users cannot be listed (denied or fatal).

        Raises ServiceError for any other failure.
        """
        pool = self._pools[name]
        pool.queued, pool.exhausted = [], True
        advice = "What is looked up is kept: resume, or run without the check (--no-check-users)."
        if interrupted := listing_interrupted(pool.lister, error, f"The users of {name}", advice):
            raise interrupted
        return {name: error.unknown_fact(_WHAT, ACTION, arn_of(pool.lister.session))}

    def _find_by_name(self, pool: _PoolSearch, name: str, spelled: str) -> tuple[str, UserMatch]:
        """Return the name and the user it means. Tries one filter for each attribute that the name may be.

        A filter is case-sensitive even if the pool is not, so without a listing it cannot prove that a user is absent.
        """
        folds = pool.lister.facts.case_insensitive
        for expression in filters_for(spelled, pool.lister.facts):
            token = None
            while True:
                try:
                    page = pool.pages.read(partial(pool.lister.page, token, expression))
                except ReadCallError as error:
                    if error.code != REFUSED:
                        raise
                    return name, NOT_LISTED if pool.sweep else UNKNOWN  # the service rejects this filter
                for user in page.users:
                    if name in user.names:
                        return name, self._match(user, pool.lister.facts)
                token = page.token
                if token is None:
                    break
        return name, UNKNOWN if folds and not pool.sweep else NOBODY

    def _match(self, user: PoolUser, facts: PoolFacts) -> UserMatch:
        return UserMatch.of(user, self._kind_of(user, facts))
