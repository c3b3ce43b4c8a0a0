"""The search: who is meant by every name that is sought, pools swept or asked name by name, at the pace of ListUsers."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from bulkreset.cognito.list_users import PAGE, Directory, Page, User, expressions
from bulkreset.cognito.pool import PoolFacts, arn_of
from bulkreset.cognito.read_calls import Gap, ReadError
from bulkreset.cognito.response import Verdict
from bulkreset.errors import ServiceError
from bulkreset.plan.paged_reader import REFUSED, Pages, has_expired
from bulkreset.plan.user_lookup import NOBODY, UNKNOWN, Lookup, Match, Progress
from bulkreset.send.clock import Clock
from bulkreset.send.pacer import Pacer

AT_ONCE = 8  # look-ups under way in one pool: the pace is met at a quarter of a second each
SURE_PAGES = 1000  # of a pool that folds names: some forty seconds
BATCH = 500  # names taken from the lookup at a time
ACTION = "cognito-idp:ListUsers"
_WHAT = "who is in the pool: its users are not checked"


@dataclass(slots=True)
class _Pool:
    """One pool's search: its directory, its paced pages, and what is under way."""

    directory: Directory
    pages: Pages
    names: int
    sweeps: bool
    search: Progress
    restarts: int = 0
    after: str = ""
    queued: list[tuple[str, str]] = field(default_factory=list)
    under_way: int = 0
    exhausted: bool = False
    asked: int = 0
    answers: list[tuple[str, Match]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """About how many calls the whole search takes."""
        return max(1, -(-(self.directory.facts.users or 0) // PAGE)) if self.sweeps else self.names

    @property
    def made(self) -> int:
        """How many of them are made."""
        return self.search.pages if self.sweeps else self.asked


class Search:
    """Looks up every name that `lookup` seeks.

    A pool is swept page by page where that is fewer calls than to ask for each name. `pacers` has the ListUsers pacer of
    each pool's lane; `kind_of` says what sets a user apart.
    """

    def __init__(
        self,
        directories: Mapping[str, Directory],
        pacers: Mapping[str, Pacer],
        lookup: Lookup,
        clock: Clock,
        kind_of: Callable[[User, PoolFacts], str],
    ) -> None:
        self._directories = directories
        self._pacers = pacers
        self._lookup = lookup
        self._clock = clock
        self._kind_of = kind_of
        self._halt = threading.Event()
        self._pools: dict[str, _Pool] = {}
        self._pending: dict[Future[Page | tuple[str, Match]], str] = {}

    def run(self, seen: Callable[[int, int], None]) -> dict[str, Gap]:
        """Search all pools side by side; `seen` is told of calls made, of how many, and may raise to stop.

        Returns the pools whose users could not be listed, and why. Raises ServiceError where a search broke off; it goes
        on from its page when it is run again.
        """
        self._pools = {name: self._begun(name, directory) for name, directory in self._directories.items()}
        gaps: dict[str, Gap] = {}
        executor = ThreadPoolExecutor(max_workers=min(64, AT_ONCE * max(1, len(self._pools))))
        try:
            for name in self._pools:
                self._ask(executor, name)
            while self._pending:
                done, _ = wait(self._pending, timeout=0.1, return_when=FIRST_COMPLETED)
                for future in done:
                    name = self._pending.pop(future)
                    if name in gaps:
                        continue
                    try:
                        self._take(name, future)
                    except ReadError as error:
                        gaps |= self._given_up(name, error)
                        continue
                    self._ask(executor, name)
                seen(sum(pool.made for pool in self._pools.values()), sum(pool.calls for pool in self._pools.values()))
        finally:
            self._halt.set()
            executor.shutdown(wait=True, cancel_futures=True)
            for name, pool in self._pools.items():
                self._flush(name, pool)
        return gaps

    def _begun(self, name: str, directory: Directory) -> _Pool:
        names, users = self._lookup.names(name), directory.facts.users
        # Each page has sixty users, each look-up takes at least one call. A filter compares case where such a pool does not,
        # so to list it is surer, where that does not take long.
        worth = max(names, SURE_PAGES) if directory.facts.folds else names
        sweeps = names > 0 and (users if users is not None else PAGE * PAGE) < PAGE * worth
        pages = Pages(directory, self._pacers[name], self._clock, self._halt)
        return _Pool(directory, pages, names, sweeps, self._lookup.search(name))

    def _ask(self, executor: ThreadPoolExecutor, name: str) -> None:
        """Start the pool's next call, or as many look-ups as may be under way."""
        pool = self._pools[name]
        if pool.sweeps:
            if not pool.search.swept:
                pool.under_way += 1
                self._pending[executor.submit(self._page, pool, pool.search.token)] = name
            return
        while pool.under_way < AT_ONCE and (sought := self._next_name(name, pool)):
            self._pending[executor.submit(self._found, pool, *sought)] = name
            pool.under_way += 1

    def _next_name(self, name: str, pool: _Pool) -> tuple[str, str] | None:
        if not pool.queued and not pool.exhausted and pool.names:
            pool.queued = self._lookup.missing(name, pool.after, BATCH)[::-1]
            pool.exhausted = not pool.queued
        if not pool.queued:
            return None
        sought = pool.queued.pop()
        pool.after = sought[0]
        return sought

    def _take(self, name: str, future: "Future[Page | tuple[str, Match]]") -> None:
        """Write down what a call brought. Raises ReadError where it failed."""
        pool = self._pools[name]
        pool.under_way -= 1
        try:
            result = future.result()
        except ReadError as error:
            if not (pool.sweeps and has_expired(error, pool.search.token, pool.restarts)):
                raise
            pool.restarts += 1
            self._lookup.begin_again(name)
            pool.search = self._lookup.search(name)
            return
        if isinstance(result, Page):
            matches = [self._match(user, pool.directory.facts) for user in result.users]
            self._lookup.note_page(name, matches, result.token, swept=result.token is None)
            pool.search = self._lookup.search(name)
            if pool.search.swept:
                self._lookup.absent(name)
            return
        pool.asked += 1
        pool.answers.append(result)
        if len(pool.answers) >= PAGE:
            self._flush(name, pool)

    def _flush(self, name: str, pool: _Pool) -> None:
        if pool.answers:
            self._lookup.note_answers(name, pool.answers)
            pool.answers = []

    def _given_up(self, name: str, error: ReadError) -> dict[str, Gap]:
        """The gap that a pool leaves whose users may not be listed. Raises ServiceError where a search just broke off."""
        pool = self._pools[name]
        pool.queued, pool.exhausted = [], True
        if error.denied or error.verdict is Verdict.FATAL:
            return {name: error.gap(_WHAT, ACTION, arn_of(pool.directory.session))}
        raise ServiceError(
            error.code,
            f"The users of {name} could not be listed: {error.code}.",
            "What is looked up is kept: resume, or run without the check (--no-check-users).",
        )

    @staticmethod
    def _page(pool: _Pool, token: str | None, expression: str = "") -> Page:
        return pool.pages.read(lambda: pool.directory.page(token, expression))

    def _found(self, pool: _Pool, name: str, spelled: str) -> tuple[str, Match]:
        """Who is meant by a name: asked for as each thing that it may be."""
        folds = pool.directory.facts.folds
        for expression in expressions(spelled, pool.directory.facts):
            token = None
            while True:
                try:
                    page = self._page(pool, token, expression)
                except ReadError as error:
                    if error.code != REFUSED:
                        raise
                    return name, UNKNOWN  # it is not a filter that the service takes
                for user in page.users:
                    if name in user.names:
                        return name, self._match(user, pool.directory.facts)
                token = page.token
                if token is None:
                    break
        return name, UNKNOWN if folds else NOBODY

    def _match(self, user: User, facts: PoolFacts) -> Match:
        return Match(user.names, user.username, user.status, self._kind_of(user, facts), user.modified, user.reachable)
