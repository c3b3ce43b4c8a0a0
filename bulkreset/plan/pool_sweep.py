"""Lists all users of one pool: disjoint shards in parallel, or one sweep if the pool does not allow that."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from bulkreset.cognito.list_users import PAGE, UserLister, UserPage
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.plan.user_store import LookupProgress, UserStore
from bulkreset.send.paged_reader import REFUSED, RESTARTS, PagedReader

AT_ONCE: Final = 32  # shards read in parallel: enough for a pace of 30 pages/s if a page takes one second
FEW, MANY = 16, 256  # shards: prefixes of one or two hexadecimal digits
SHARDED_FROM: Final = 64  # pages; a smaller pool is read in one sweep
MANY_FROM: Final = 4096  # pages
# DescribeUserPool's number of users is an old estimate. The shards' sum may differ from it by this share.
TOLERANCE: Final = 0.1
TOLERATED_USERS: Final = 600
_HEXADECIMAL: Final = frozenset("0123456789abcdef")

# A part of a sweep is the prefix of `sub` that its users have, or one of these.
WHOLE: Final = "*"  # the whole pool
FIRST: Final = "?"  # the first pages of the whole pool, before the shards
_GROUP: Final = "@"  # the first letter before a group's name


class SweptPage(NamedTuple):
    """The answer for one page of a part: a page, or the error. `generation` is the sweep's when the call was made."""

    generation: int
    part: str
    token: str | None
    page: UserPage | ReadCallError


class PoolSweep:
    """The listing of one pool, or of some of its groups. The store records how far each part is.

    A page's token makes one sweep serial: it takes the answer time of every page. So a large pool is read in shards,
    each with the users whose `sub` has one prefix. One sweep replaces the shards if the service refuses the filter, if
    a user does not belong to its shard, or if the sum of all shards does not fit the estimated number of users.

    `expression` is the filter of a whole sweep; a shard's only filter is its prefix. If the whole sweep ends within
    `first_pages`, no shard is read.
    """

    def __init__(
        self,
        lister: UserLister,
        pages: PagedReader,
        store: UserStore,
        *,
        expression: str = "",
        first_pages: int = 1,
        groups: Sequence[str] = (),
    ) -> None:
        self._lister = lister
        self._pages = pages
        self._store = store
        self._pool = lister.facts.user_pool_id
        self._expression = expression
        self._first_pages = first_pages
        self._generation = 0
        self._restarts: dict[str, int] = {}
        self._under_way: set[str] = set()
        self._parts = store.progress(self._pool)
        self._waiting = deque(part for part, progress in self._parts.items() if not progress.swept)
        self.made = sum(progress.pages for progress in self._parts.values())
        if self._parts:
            self._settle()
        elif groups:
            self._begin([_GROUP + group for group in groups])
        else:
            self._begin([FIRST if self.expected >= SHARDED_FROM else WHOLE])

    @property
    def expected(self) -> int:
        """Return about how many pages the whole pool has."""
        return max(1, -(-(self._lister.facts.users or 0) // PAGE))

    @property
    def done(self) -> bool:
        """Return whether every part was read to its end."""
        return not self._waiting and not self._under_way

    def next_call(self) -> Callable[[], SweptPage] | None:
        """Return the next call to make; None if it depends on an answer that is still missing."""
        if not self._waiting or len(self._under_way) >= AT_ONCE:
            return None
        part = self._waiting.popleft()
        self._under_way.add(part)
        return partial(self._read, self._generation, part, self._parts[part].token)

    def take(self, swept: SweptPage, store_page: Callable[[str, UserPage], object]) -> None:
        """Handle an answer. `store_page` stores the users of a part's page, and the part's progress.

        Raises ReadCallError if the pool, or the group, cannot be listed.
        """
        if swept.generation != self._generation:
            return  # one sweep has replaced this shard
        part, page = swept.part, swept.page
        if isinstance(page, ReadCallError):
            self._failed(part, swept.token, page)
            return
        self.made += 1
        if not self._covers(part, page):
            self._begin([WHOLE])
            return
        store_page(part, page)
        before = self._parts[part]
        self._parts[part] = LookupProgress(
            page.token, before.pages + 1, before.users + len(page.users), page.token is None
        )
        self._under_way.discard(part)
        if page.token is not None:
            # a shard is read to its end before another one begins, because its token expires
            self._waiting.appendleft(part)
        self._settle()

    def _read(self, generation: int, part: str, token: str | None) -> SweptPage:
        try:
            page: UserPage | ReadCallError = self._pages.read(partial(self._ask, part, token))
        except ReadCallError as error:
            page = error
        return SweptPage(generation, part, token, page)

    def _ask(self, part: str, token: str | None) -> UserPage:
        if part.startswith(_GROUP):
            return self._lister.members(part.removeprefix(_GROUP), token)
        return self._lister.page(token, self._expression if part in {FIRST, WHOLE} else f'sub ^= "{part}"')

    def _failed(self, part: str, token: str | None, error: ReadCallError) -> None:
        """Start the part again if its token has expired, or the whole pool if a shard's filter was refused."""
        self._under_way.discard(part)
        self._waiting.appendleft(part)
        refused = error.verdict is Disposition.REFUSED and not error.denied
        if token and error.code == REFUSED and self._restarts.get(part, 0) < RESTARTS:
            self._restarts[part] = self._restarts.get(part, 0) + 1
            self._store.restart_sweep(self._pool, part)
            self._parts[part] = LookupProgress()
        elif refused and self._is_shard(part):
            self._begin([WHOLE])
        else:
            raise error

    def _settle(self) -> None:
        """Begin the shards after the first pages, and one sweep if the users of all shards are too few or too many."""
        first = self._parts.get(FIRST)
        if first and not first.swept and first.pages >= self._first_pages:
            digits = 1 if self.expected < MANY_FROM else 2
            self._begin([f"{number:0{digits}x}" for number in range(FEW if digits == 1 else MANY)])
        elif self.done and self._is_shard(next(iter(self._parts))):
            listed = sum(progress.users for progress in self._parts.values())
            estimated = self._lister.facts.users or 0
            if abs(listed - estimated) > max(TOLERANCE * estimated, TOLERATED_USERS):
                self._begin([WHOLE])

    def _begin(self, parts: Sequence[str]) -> None:
        self._store.begin_sweep(self._pool, parts)
        self._generation += 1
        self._parts = {part: LookupProgress() for part in parts}
        self._under_way.clear()
        self._waiting = deque(parts)

    @staticmethod
    def _is_shard(part: str) -> bool:
        return _HEXADECIMAL.issuperset(part)

    def _covers(self, part: str, page: UserPage) -> bool:
        """Return whether all users of the page belong to the part's shard (for the first pages: to any shard)."""
        if part == FIRST:
            return page.token is None or all(_HEXADECIMAL.issuperset(user.sub[:2]) and user.sub for user in page.users)
        return not self._is_shard(part) or all(user.sub.startswith(part) for user in page.users)


def group_of(part: str) -> str:
    """Return the group that a part lists, "" if it does not list a group."""
    return part.removeprefix(_GROUP) if part.startswith(_GROUP) else ""
