"""The sweep of one pool: parallel shards at the pace for pages of any duration, or one sweep without shards."""

import heapq
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from bulkreset.cognito.list_users import PAGE, PoolUser, UserPage
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.plan.pool_sweep import AT_ONCE, FIRST, WHOLE, PoolSweep, SweptPage
from bulkreset.plan.user_store import NOBODY, UserStore
from bulkreset.send.pacer import Pacer
from bulkreset.send.paged_reader import PagedReader
from tests.send.fakes import FakeClock
from tests.targets import EU
from tests.user_directory import DENIED, LOST, STALE, FakeDirectory, listed_user, refused

RATE = 24.0
MANY, MILLION = 250_000, 1_000_000  # each has 256 shards


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UserStore]:
    with UserStore(tmp_path / "users.sqlite") as opened:
        yield opened


class RunningSweep:
    """One sweep on its own clock, with overlapping calls: each begins when it can and ends after its answer time."""

    def __init__(
        self,
        store: UserStore,
        directory: FakeDirectory,
        seconds: Callable[[], float] = lambda: 0.1,
        rate: float | None = RATE,
    ) -> None:
        self.clock = FakeClock()
        self.directory = directory
        self.users: list[str] = []
        self.most = 0
        self._number = 0
        self._under_way: list[tuple[float, int, SweptPage]] = []
        self._store = store
        self._seconds = seconds
        pages = PagedReader(directory, Pacer(rate, self.clock), self.clock, threading.Event())
        self.sweep = PoolSweep(directory, pages, store)

    def run(self, most_pages: int = 10**9) -> "RunningSweep":
        """Sweep to the end, or stop after so many pages."""
        under_way = self._under_way
        while self.sweep.made < most_pages:
            while call := self.sweep.next_call():
                began = self.clock.now()
                swept = call()
                self._number += 1
                heapq.heappush(under_way, (self.clock.now() + self._seconds(), self._number, swept))
                self.clock.advance(began - self.clock.now())  # the next call begins at the same time
            self.most = max(self.most, len(under_way))
            if not under_way:
                break
            at, _, swept = heapq.heappop(under_way)
            self.clock.advance(max(0.0, at - self.clock.now()))
            self.sweep.take(swept, self._write)
        return self

    def _write(self, part: str, page: UserPage) -> None:
        self.users += (user.username for user in page.users)
        # The store adds up the findings. Users have no name, so nothing is matched.
        self._store.store_page(EU, part, [NOBODY] * len(page.users), page.token)

    @property
    def filters(self) -> set[str]:
        return {expression for _, expression in self.directory.asked}


@cache
def counts_of(users: int) -> Counter[str]:
    """Count users with random subs: by the first two digits, and in all."""
    chance = random.Random(20261130)
    counts = Counter(chance.choices(range(256), k=users))
    return Counter({f"{first:02x}": count for first, count in counts.items()}) | Counter({"": users})


class LargeDirectory(FakeDirectory):
    """A pool of so many users with random subs. All users of a page are equal, so that a million are fast."""

    def __init__(self, users: int) -> None:
        super().__init__([], PoolFacts(EU, users=users))
        self._counts = counts_of(users)

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return the page at a token, of a shard."""
        self.asked.append((token, expression))
        prefix = expression.partition('"')[2][:-1]
        count = self._counts[prefix]
        start = int(token or 0)
        user = PoolUser("user", "CONFIRMED", enabled=True, federated=False, names=("user",), sub=f"{prefix:0<8}")
        after = start + PAGE
        return UserPage((user,) * min(PAGE, count - start), str(after) if after < count else None)


def people(count: int, start: int = 0) -> list[dict[str, object]]:
    """Return users whose subs have every first digit in turn."""
    return [listed_user(f"user{n:06d}", sub=f"{n:08x}"[::-1] + "-0000") for n in range(start, start + count)]


@pytest.mark.parametrize(
    ("users", "milliseconds"),
    [(MANY, 20), (MANY, 400), *(pytest.param(MILLION, each, marks=pytest.mark.soak) for each in (20, 60, 200, 400))],
)
def test_many_users_are_listed_at_the_pace_with_slow_pages(store: UserStore, users: int, milliseconds: int) -> None:
    chance = random.Random(milliseconds)
    swept = RunningSweep(store, LargeDirectory(users), lambda: milliseconds / 1000 * chance.uniform(0.7, 1.3))
    began = swept.clock.now()
    swept.run()
    assert len(swept.users) == users + PAGE  # users of the first page are also in a shard
    assert users / PAGE / (swept.clock.now() - began) >= 0.95 * RATE
    assert len(swept.filters) == 1 + 256
    assert swept.most <= AT_ONCE


def test_one_sweep_has_one_call_at_a_time(store: UserStore) -> None:
    swept = RunningSweep(store, FakeDirectory(people(600))).run()
    assert (swept.most, swept.filters) == (1, {""})
    assert list(store.progress(EU)) == [WHOLE]


def test_pool_of_unknown_size_is_listed_in_one_sweep(store: UserStore) -> None:
    swept = RunningSweep(store, FakeDirectory(people(6000), PoolFacts(EU, users=None))).run()
    assert (len(swept.users), swept.filters) == (6000, {""})


def test_shards_have_everybody_once(store: UserStore) -> None:
    swept = RunningSweep(store, FakeDirectory(people(6000))).run()
    assert sorted(swept.users[PAGE:]) == [f"user{number:06d}" for number in range(6000)]
    assert swept.filters == {"", *(f'sub ^= "{digit:x}"' for digit in range(16))}


def test_pool_that_ends_on_its_first_page_has_no_shards(store: UserStore) -> None:
    swept = RunningSweep(store, FakeDirectory(people(50), PoolFacts(EU, users=10**6))).run()
    assert swept.directory.asked == [(None, "")]
    assert len(swept.users) == 50


@pytest.mark.parametrize("code", ["InvalidParameterException", "ValidationException"])
def test_refused_filter_leads_to_one_sweep(store: UserStore, code: str) -> None:
    directory = PrefixRefused(people(6000), refused(code))
    swept = RunningSweep(store, directory).run()
    assert len(set(swept.users)) == 6000
    assert list(store.progress(EU)) == [WHOLE]
    assert sum(not expression for _, expression in directory.asked) == 1 + 100
    assert len(directory.asked) <= 101 + AT_ONCE


class PrefixRefused(FakeDirectory):
    """A directory that answers a filter by prefix with an error."""

    def __init__(self, users: list[dict[str, object]], error: ReadCallError) -> None:
        super().__init__(users)
        self._error = error

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return the page, or raise the error."""
        if "^=" in expression:
            self.asked.append((token, expression))
            raise self._error
        return super().page(token, expression)


class PrefixIgnored(FakeDirectory):
    """A directory that accepts a filter by prefix, but lists everybody."""

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return the page of all users."""
        page = super().page(token)
        self.asked[-1] = (token, expression)
        return page


class PrefixLost(FakeDirectory):
    """A directory whose filters by prefix omit the users of one prefix."""

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return the page, empty for one prefix."""
        page = super().page(token, expression)
        return UserPage((), None) if expression == 'sub ^= "7"' else page


@pytest.mark.parametrize(("kind", "users"), [(PrefixIgnored, 6000), (PrefixLost, 7200)])
def test_shards_that_cannot_be_trusted_lead_to_one_sweep(
    store: UserStore, kind: type[FakeDirectory], users: int
) -> None:
    # The loss of one shard is within the tolerance; too high an estimate adds the rest.
    directory = kind(people(users), PoolFacts(EU, users=users if kind is PrefixIgnored else round(users * 1.05)))
    swept = RunningSweep(store, directory).run()
    assert len(set(swept.users)) == users
    assert list(store.progress(EU)) == [WHOLE]


def test_user_without_a_hexadecimal_sub_leads_to_one_sweep(store: UserStore) -> None:
    swept = RunningSweep(store, FakeDirectory([listed_user("odd", sub="x"), *people(6000)])).run()
    assert len(swept.users) == 6001
    assert swept.filters == {""}


@pytest.mark.parametrize("estimate", [6900, 7700])
def test_slightly_old_estimate_is_not_a_reason_for_one_sweep(store: UserStore, estimate: int) -> None:
    swept = RunningSweep(store, FakeDirectory(people(7200), PoolFacts(EU, users=estimate))).run()
    assert len(swept.users) == 7200 + PAGE
    assert len(store.progress(EU)) == 16


def test_expired_token_begins_its_shard_again_and_no_other(store: UserStore) -> None:
    directory = FakeDirectory(people(6000))
    swept = RunningSweep(store, directory).run(30)
    directory.faults.append(STALE)
    swept.run()
    assert set(swept.users) == {f"user{number:06d}" for number in range(6000)}
    again = [expression for token, expression in directory.asked if token is None and expression]
    assert len(again) == 17
    assert len(store.progress(EU)) == 16


def test_token_that_expires_again_and_again_leads_to_one_sweep(store: UserStore) -> None:
    swept = RunningSweep(store, PageExpires(people(6000))).run()
    assert set(swept.users) == {f"user{number:06d}" for number in range(6000)}
    assert list(store.progress(EU)) == [WHOLE]


class PageExpires(FakeDirectory):
    """A directory in which the second page of one shard can never be read."""

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return the page, unless it is that one."""
        if token == "60" and expression == 'sub ^= "3"':
            raise STALE
        return super().page(token, expression)


def test_interrupted_sweep_continues_shard_by_shard(store: UserStore) -> None:
    directory = FakeDirectory(people(6000))
    RunningSweep(store, directory).run(40)
    made = sum(progress.pages for progress in store.progress(EU).values())
    before = len(directory.asked)
    swept = RunningSweep(store, directory).run()
    assert len(directory.asked) - before == 16 * 7 - made  # 375 users in each shard
    assert all(progress.swept for progress in store.progress(EU).values())
    assert sum(progress.users for progress in store.progress(EU).values()) == 6000
    assert RunningSweep(store, directory).sweep.done
    assert swept.sweep.made == 16 * 7


@pytest.mark.parametrize("part", [FIRST, WHOLE])
def test_interrupted_sweep_continues_in_its_part(store: UserStore, part: str) -> None:
    directory = FakeDirectory(people(6000))
    store.begin_sweep(EU, [part])
    store.store_page(EU, part, [], "60")
    RunningSweep(store, directory).run()
    assert directory.asked[0] == ((None, 'sub ^= "0"') if part == FIRST else ("60", ""))


def test_shards_that_a_killed_process_has_ended_are_added_up_again(store: UserStore) -> None:
    store.begin_sweep(EU, [f"{digit:x}" for digit in range(16)])
    for digit in range(16):
        store.store_page(EU, f"{digit:x}", [], None)
    swept = RunningSweep(store, FakeDirectory(people(6000))).run()
    assert len(swept.users) == 6000
    assert swept.filters == {""}


@pytest.mark.parametrize("error", [DENIED, LOST], ids=lambda error: error.code)
def test_pool_that_cannot_be_listed_is_an_error_and_no_reason_for_one_sweep(
    store: UserStore, error: ReadCallError
) -> None:
    directory = FakeDirectory(people(6000))
    swept = RunningSweep(store, directory).run(20)
    directory.always = error
    with pytest.raises(ReadCallError, match=error.code):
        swept.run()
    assert len(store.progress(EU)) == 16
