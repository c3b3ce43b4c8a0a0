"""The search: all users with the fewest calls, at the pace of ListUsers, continued after an interruption."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bulkreset.cognito.list_users import PAGE, PoolUser, UserPage
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import ReadCallError, UnknownFact
from bulkreset.errors import Interrupted, ServiceError
from bulkreset.plan import user_search
from bulkreset.plan.user_search import SURE_PAGES, UserSearch
from bulkreset.plan.user_store import ABSENT, UNKNOWN, UNLISTED, UserStore
from bulkreset.send.pacer import Pacer
from bulkreset.send.paged_reader import ATTEMPTS, RESTARTS
from tests.send.fakes import FakeClock
from tests.targets import EU, EU2
from tests.user_directory import (
    DENIED,
    EXPIRED,
    GONE,
    LOST,
    STALE,
    THROTTLED,
    FakeDirectory,
    crowd,
    listed_user,
    refused,
)

PATIENCE = 90.0  # seconds after which a test gives up
DIRECTIONS = {"sweep": 0, "look-ups": 10**6}
Known = dict[int, tuple[str, str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UserStore]:
    with UserStore(tmp_path / "users.sqlite") as opened:
        yield opened


def search_store(store: UserStore, *names: str, folds: bool = False) -> UserStore:
    """A store that searches these names in one pool."""
    store.fill(
        ((row, EU, name) for row, name in enumerate(names, 1)), lambda _pool, name: name.lower() if folds else name
    )
    return store


def kind_of(user: PoolUser, _facts: PoolFacts) -> str:
    return "" if user.enabled else "disabled"


class StaleListing(FakeDirectory):
    """A directory whose listing does not have the last user yet."""

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return the page, without the last user if there is no filter."""
        page = super().page(token, expression)
        return page if expression else UserPage(page.users[:-1], page.token)


class SearchRun:
    """One search of some pools on its own clock. `reported` are its reports on the way: (calls made, calls)."""

    def __init__(self, store: UserStore, *directories: FakeDirectory, rate: float | None = 24.0) -> None:
        self.clock = FakeClock()
        self.pacer = Pacer(rate, self.clock)
        pools = {directory.facts.user_pool_id: directory for directory in directories}
        self.reported: list[tuple[int, int]] = []
        self.search = UserSearch(pools, dict.fromkeys(pools, self.pacer), store, self.clock, kind_of)

    def run(self) -> dict[str, UnknownFact]:
        return self.search.run(lambda made, calls: self.reported.append((made, calls)))


def known_users(store: UserStore) -> Known:
    """Return what is known of each row."""
    return {found.row: (found.username, found.status, found.kind) for found in store.findings()}


def facts(users: int | None, pool: str = EU) -> PoolFacts:
    """Return the facts of a pool that reports so many users."""
    return PoolFacts(pool, users=users)


@pytest.mark.parametrize(("users", "names", "sweeps"), [(600, 10, False), (600, 11, True), (0, 1, True), (1, 1, True)])
def test_pool_is_listed_if_that_needs_fewer_calls(store: UserStore, users: int, names: int, *, sweeps: bool) -> None:
    directory = FakeDirectory(crowd(users))
    SearchRun(search_store(store, *(f"user{number:05d}" for number in range(names))), directory).run()
    missing = max(0, names - users) if sweeps else 0  # looked up after the sweep
    assert len(directory.asked) == (max(1, users // PAGE) if sweeps else names) + missing
    assert bool(directory.pages) is sweeps
    assert len(directory.names) == (missing if sweeps else names)


@pytest.mark.parametrize(("names", "sweeps"), [(60, False), (61, True)])
def test_pool_of_unknown_size_counts_as_sixty_pages(store: UserStore, names: int, *, sweeps: bool) -> None:
    directory = FakeDirectory(crowd(80), facts(None))
    SearchRun(search_store(store, *(f"user{number:05d}" for number in range(names))), directory).run()
    assert bool(directory.pages) is sweeps


@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_both_ways_find_the_same_and_say_who_is_absent(store: UserStore, users: int) -> None:
    people = [*crowd(130), listed_user("out", enabled=False), listed_user("new", "UNCONFIRMED")]
    directory = FakeDirectory(people, facts(users))
    names = ["user00129", "nobody", "out", "new", "User00000", "user00129"]
    assert SearchRun(search_store(store, *names), directory).run() == {}
    assert known_users(store) == {
        1: ("user00129", "CONFIRMED", ""),
        2: ("", "", ABSENT),
        3: ("out", "CONFIRMED", "disabled"),
        4: ("new", "UNCONFIRMED", ""),
        5: ("", "", ABSENT),
        6: ("user00129", "CONFIRMED", ""),
    }


@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_both_ways_know_a_user_by_every_name_that_the_pool_takes(store: UserStore, users: int) -> None:
    people = [
        listed_user("Ann", email="Ann@X.example", email_verified="true", preferred_username="annie"),
        listed_user("bob", email="bob@x.example"),
    ]
    told_of = PoolFacts(EU, users=users, case_insensitive=True, aliases=frozenset({"email", "preferred_username"}))
    directory = FakeDirectory(people, told_of)
    names = ["ANN", "ann@x.EXAMPLE", "Annie", "bob@x.example"]
    # A filter is case-sensitive even if the pool is not, so a user it does not find may still exist.
    missing = ABSENT if users < SURE_PAGES * PAGE else UNKNOWN.kind
    SearchRun(search_store(store, *names, folds=True), directory).run()
    ann = ("Ann", "CONFIRMED", "")
    assert known_users(store) == {1: ann, 2: ann, 3: ann, 4: ("", "", missing)}


def test_pool_that_folds_names_is_listed_if_that_is_fast(store: UserStore) -> None:
    told_of = PoolFacts(EU, users=SURE_PAGES * PAGE - 1, case_insensitive=True)
    directory = FakeDirectory([listed_user("Ann")], told_of)
    SearchRun(search_store(store, "ANN", "aNn", folds=True), directory).run()
    assert {found[0] for found in known_users(store).values()} == {"Ann"}


def test_name_that_fits_no_filter_concerns_only_its_own_row(store: UserStore) -> None:
    directory = FakeDirectory(crowd(3), facts(10**6))
    directory.refuses = {'username = "a\\"b"'}
    assert SearchRun(search_store(store, "user00001", 'a"b'), directory).run() == {}
    assert known_users(store) == {1: ("user00001", "CONFIRMED", ""), 2: ("", "", UNKNOWN.kind)}


def test_no_request_is_made_without_names(store: UserStore) -> None:
    directory = FakeDirectory(crowd(5))
    assert SearchRun(search_store(store), directory).run() == {}
    assert directory.asked == []


def test_each_name_is_looked_up_once_for_any_number_of_names(store: UserStore) -> None:
    names = [f"user{number:05d}" for number in range(1200)]
    directory = FakeDirectory(crowd(3), facts(10**6))
    SearchRun(search_store(store, *names), directory, rate=None).run()
    assert sorted(directory.names) == names
    assert sum(found.kind == ABSENT for found in store.findings()) == 1197


def test_look_up_reads_every_page_of_its_answer(store: UserStore) -> None:
    people = [listed_user("USER", email="x") for _ in range(70)]  # a filter may match users that are not meant
    directory = FakeDirectory([*people, listed_user("user")], facts(10**6))
    SearchRun(search_store(store, "user"), directory).run()
    assert known_users(store) == {1: ("user", "CONFIRMED", "")}
    assert directory.asked == [(None, 'username = "user"'), ("60", 'username = "user"')]


@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_calls_are_paced(store: UserStore, users: int) -> None:
    directory = FakeDirectory(crowd(600), facts(users))
    searched = SearchRun(search_store(store, *(f"user{number:05d}" for number in range(11))), directory, rate=2.0)
    began = searched.clock.now()
    searched.run()
    assert searched.clock.now() - began >= (len(directory.asked) - 1) / 2.0 - 0.01


@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_progress_is_reported_in_calls(store: UserStore, users: int) -> None:
    directory = FakeDirectory(crowd(600), facts(users and 600))
    searched = SearchRun(
        search_store(store, *(f"user{number:05d}" for number in range(10 if users else 11))), directory
    )
    searched.run()
    assert searched.reported[-1] == (10, 10)
    made = [so_far for so_far, _ in searched.reported]
    assert made == sorted(made)


@pytest.mark.parametrize("fault", [THROTTLED, LOST, refused("InternalErrorException", 500)], ids=lambda e: e.code)
@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_failed_call_is_repeated_and_no_user_is_lost(store: UserStore, users: int, fault: ReadCallError) -> None:
    directory = FakeDirectory(crowd(150), facts(users), [fault, None, fault, fault, fault])
    names = [f"user{number:05d}" for number in range(0, 150, 10)]
    searched = SearchRun(search_store(store, *names, "nobody"), directory)
    assert searched.run() == {}
    assert len(directory.asked) == (3 + 1 if users == 0 else 16) + 4  # users who are not listed are looked up
    assert [found.kind for found in store.findings()] == [""] * 15 + [ABSENT]


def test_throttled_call_slows_the_lane(store: UserStore) -> None:
    searched = SearchRun(search_store(store, "ann"), FakeDirectory([listed_user("ann")], faults=[THROTTLED, THROTTLED]))
    searched.run()
    assert searched.pacer.rate() != 24.0


def test_expired_token_begins_the_sweep_again(store: UserStore) -> None:
    directory = FakeDirectory(crowd(240), facts(0), [None, None, STALE])
    searched = SearchRun(search_store(store, "user00000", "user00239", "nobody"), directory)
    assert searched.run() == {}
    assert directory.pages == [None, "60", "120", None, "60", "120", "180"]
    assert [found.kind for found in store.findings()] == ["", "", ABSENT]


def test_token_that_expires_again_and_again_breaks_the_search_off(store: UserStore) -> None:
    directory = FakeDirectory(crowd(240), facts(0), [None, STALE] * (RESTARTS + 1))
    with pytest.raises(ServiceError, match="InvalidParameterException"):
        SearchRun(search_store(store, "ann"), directory).run()
    assert len(directory.asked) == 2 * (RESTARTS + 1)


def test_first_page_that_is_refused_is_not_an_expired_token(store: UserStore) -> None:
    directory = FakeDirectory(crowd(240), facts(0), [STALE])
    with pytest.raises(ServiceError, match="InvalidParameterException"):
        SearchRun(search_store(store, "ann"), directory).run()
    assert directory.pages == [None]


@pytest.mark.parametrize("error", [DENIED, GONE, refused("NotAuthorizedException")], ids=lambda e: e.code)
@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_pool_whose_users_may_not_be_listed_leaves_a_gap_and_the_others_are_searched(
    store: UserStore, users: int, error: ReadCallError
) -> None:
    shut = FakeDirectory(crowd(200), facts(users))
    shut.always = error
    open_ = FakeDirectory([listed_user("ann")], PoolFacts(EU2, users=1))
    store.fill([*((row, EU, f"user{row:05d}") for row in range(1, 30)), (30, EU2, "ann")], lambda _pool, name: name)
    gaps = SearchRun(store, shut, open_).run()
    assert gaps.keys() == {EU}
    gap = gaps[EU]
    assert (gap.action, gap.code) == ("cognito-idp:ListUsers", error.code)
    assert gap.resource == f"arn:aws:cognito-idp:eu-west-1:*:userpool/{EU}"
    assert gap.denied is (error is not GONE)
    assert gap.fatal is (error is GONE)
    assert known_users(store) == {30: ("ann", "CONFIRMED", "")}
    assert len(shut.asked) <= 8


def test_lasting_failure_stops_the_sweep_and_it_continues_from_its_page(store: UserStore) -> None:
    directory = FakeDirectory(crowd(300), facts(0), [None, None, *[LOST] * ATTEMPTS])
    search_store(store, "user00000", "user00299", "nobody")
    with pytest.raises(ServiceError, match=f"users of {EU} could not be listed: ReadTimeoutError") as caught:
        SearchRun(store, directory).run()
    assert "--no-check-users" in str(caught.value)
    assert directory.pages == [None, "60", *["120"] * ATTEMPTS]
    directory.asked.clear()
    assert SearchRun(store, directory).run() == {}
    assert directory.pages == ["120", "180", "240"]
    assert [found.kind for found in store.findings()] == ["", "", ABSENT]


def test_expired_credentials_are_renewed_before_the_check_continues(store: UserStore) -> None:
    directory = FakeDirectory(crowd(9), facts(0))
    directory.always = refused("ExpiredTokenException")
    with pytest.raises(ServiceError) as caught:
        SearchRun(search_store(store, "user00000"), directory).run()
    assert caught.value.advice == "Sign in again or renew the credentials, then resume."


def test_lasting_failure_stops_look_ups_and_found_users_are_not_requested_again(
    store: UserStore,
) -> None:
    names = [f"user{number:05d}" for number in range(200)]
    directory = FakeDirectory(crowd(200), facts(10**6), itertools.repeat(None, 100))
    directory.always = LOST
    with pytest.raises(ServiceError, match="ReadTimeoutError"):
        SearchRun(search_store(store, *names), directory).run()
    found = len(list(store.findings()))
    assert 80 <= found <= 100
    directory.asked.clear()
    directory.always = None
    SearchRun(store, directory).run()
    assert len(directory.asked) == 200 - found
    assert {found.kind for found in store.findings()} == {""}
    assert len(known_users(store)) == 200


@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_expired_credentials_are_renewed_if_there_are_newer_ones(store: UserStore, users: int) -> None:
    directory = FakeDirectory(crowd(130), facts(users), [None, EXPIRED], renewals=1)
    SearchRun(search_store(store, "user00129", "user00001", "nobody"), directory).run()
    assert [found.kind for found in store.findings()] == ["", "", ABSENT]


def test_expired_credentials_that_nothing_renews_break_the_search_off(store: UserStore) -> None:
    directory = FakeDirectory(crowd(130), facts(0), [None, EXPIRED])
    with pytest.raises(ServiceError, match="ExpiredTokenException"):
        SearchRun(search_store(store, "user00129"), directory).run()
    assert {part: progress.token for part, progress in store.progress(EU).items()} == {"*": "60"}


@pytest.mark.parametrize("users", DIRECTIONS.values(), ids=DIRECTIONS)
def test_stopped_search_ends_at_once_and_continues_where_it_was(store: UserStore, users: int) -> None:
    names = [f"user{number:05d}" for number in range(0, 600, 6)]
    directory = FakeDirectory(crowd(600), facts(users))
    search_store(store, *names)

    def stop(made: int, _calls: int) -> None:
        if made >= 4:
            raise Interrupted("Stopped by SIGINT.")

    searched = SearchRun(store, directory)
    with pytest.raises(Interrupted):
        searched.search.run(stop)
    made = len(directory.asked)
    assert made <= 4 + 16
    SearchRun(store, directory).run()
    assert len(directory.asked) <= (10 if users == 0 else 100) + 9
    assert {found.kind for found in store.findings()} == {""}
    assert len(known_users(store)) == 100


def test_swept_pool_is_not_swept_again(store: UserStore) -> None:
    directory = FakeDirectory(crowd(100), facts(0))
    search_store(store, "user00000", "nobody")
    SearchRun(store, directory).run()
    before = known_users(store)
    SearchRun(store, directory).run()
    assert len(directory.asked) == 2 + 1  # users who are not listed are looked up, once
    assert known_users(store) == before


@pytest.mark.parametrize("folds", [False, True])
def test_user_missing_in_a_list_is_looked_up(store: UserStore, *, folds: bool) -> None:
    directory = StaleListing([listed_user("ann"), listed_user("new")], PoolFacts(EU, users=2, case_insensitive=folds))
    SearchRun(search_store(store, "ann", "new", "nobody", folds=folds), directory).run()
    assert sorted(directory.names) == ["new", "nobody"]
    assert known_users(store) == {1: ("ann", "CONFIRMED", ""), 2: ("new", "CONFIRMED", ""), 3: ("", "", ABSENT)}


def test_look_ups_after_a_listing_are_limited_and_the_others_are_distinguished(
    store: UserStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user_search.CONFIRMED == 1000
    monkeypatch.setattr(user_search, "CONFIRMED", 3)
    directory = FakeDirectory([listed_user("ann")], facts(1))
    names = [f"gone{number}" for number in range(5)]
    SearchRun(search_store(store, "ann", *names), directory, rate=None).run()
    assert sorted(directory.names) == names[:3]
    assert [found.kind for found in store.findings()] == ["", ABSENT, ABSENT, ABSENT, UNLISTED, UNLISTED]


def test_name_that_fits_no_filter_is_absent_if_the_list_lacks_it(store: UserStore) -> None:
    directory = FakeDirectory([listed_user("ann")], facts(1))
    directory.refuses = {'username = "a\\"b"'}
    assert SearchRun(search_store(store, "ann", 'a"b'), directory).run() == {}
    assert [found.kind for found in store.findings()] == ["", UNLISTED]


def test_large_pool_is_searched_in_shards(store: UserStore) -> None:
    people = [listed_user(f"user{number:05d}", sub=f"{number:05x}"[::-1] + "000-0000") for number in range(4800)]
    directory = FakeDirectory(people, facts(4800))
    names = [f"user{number:05d}" for number in range(0, 4800, 40)]
    SearchRun(search_store(store, *names, "nobody"), directory, rate=None).run()
    expressions = {expression for _, expression in directory.asked}
    assert expressions == {"", 'username = "nobody"', *(f'sub ^= "{digit:x}"' for digit in range(16))}
    assert len(known_users(store)) == 121
    assert [found.kind for found in store.findings()] == [""] * 120 + [ABSENT]


def test_pools_are_searched_side_by_side(store: UserStore) -> None:
    one, other = FakeDirectory(crowd(120), facts(0)), FakeDirectory(crowd(3), facts(10**6, EU2))
    rows: Sequence[tuple[int, str, str]] = [(1, EU, "user00119"), (2, EU2, "user00002"), (3, EU2, "user00119")]
    store.fill(rows, lambda _pool, name: name)
    SearchRun(store, one, other).run()
    assert [found.kind for found in store.findings()] == ["", "", ABSENT]
    assert (one.pages, len(other.names)) == ([None, "60"], 2)


def test_page_that_does_not_come_is_not_waited_for_when_the_run_is_stopped(store: UserStore) -> None:
    class Silent(FakeDirectory):
        """Does not answer until it is abandoned."""

        asking, abandoned = threading.Event(), threading.Event()

        def page(self, token: str | None = None, expression: str = "") -> UserPage:
            del token, expression
            self.asking.set()
            assert self.abandoned.wait(PATIENCE)
            raise LOST

        def abandon(self) -> None:
            self.abandoned.set()

    silent = Silent(crowd(1))
    searched = SearchRun(search_store(store, "user00000"), silent)

    def seen(_made: int, _calls: int) -> None:
        if silent.asking.is_set():
            raise Interrupted("Stopped by SIGTERM.")

    with pytest.raises(Interrupted):
        searched.search.run(seen)
    assert silent.abandoned.is_set()
