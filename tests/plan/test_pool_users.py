"""The pools' users as the input: selection, no user twice or lost, and errors that stop the list."""

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.cognito.list_users import PoolUser
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.errors import InputError, Interrupted, ServiceError, TargetError
from bulkreset.input import batch as chunk_module
from bulkreset.job import SelectConfig
from bulkreset.plan import pool_users
from bulkreset.plan.pool_users import PoolUserSource
from bulkreset.plan.user_store import LIST_LIFE, LookupProgress, RowFinding, UserMatch, UserStore
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

OLD, NEW = datetime(2024, 5, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
PEOPLE = [
    listed_user("zoe", created=OLD),
    listed_user("ann", created=NEW),
    listed_user("bob", "RESET_REQUIRED", created=OLD),
    listed_user("cat", "FORCE_CHANGE_PASSWORD", created=NEW),
    listed_user("dan", "UNCONFIRMED"),
]


@pytest.fixture
def listing(tmp_path: Path) -> Iterator[UserStore]:
    with UserStore(tmp_path / "users.sqlite") as opened:
        yield opened


class ListedPools:
    """The users of some pools, listed on its own clock. `reported` are the row counts reported on the way."""

    def __init__(
        self,
        listing: UserStore,
        *directories: FakeDirectory,
        rate: float | None = None,
        **select: Any,  # noqa: ANN401  (keys of the selection)
    ) -> None:
        self.clock = FakeClock()
        self.reported: list[int] = []
        pools = {directory.facts.user_pool_id: directory for directory in directories}
        pacers = dict.fromkeys(pools, Pacer(rate, self.clock))
        self.listed_users = PoolUserSource(
            SelectConfig.model_validate(select), pools, pacers, listing, self.clock, kind_of
        )

    def call(self) -> "ListedPools":
        self.listed_users.list_all(self.reported.append)
        return self

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Return pool and username of each row, after checking that row numbers have no gap."""
        found: list[tuple[str, str]] = []
        for chunk in self.listed_users.batches():
            assert chunk.first == len(found) + 1
            assert set(chunk.frame["password"]) | set(chunk.frame["permanent"]) == {""}
            found += zip(chunk.frame["user_pool_id"], chunk.frame["username"], strict=True)
            assert chunk.last == len(found)
        return found

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.rows]


def kind_of(user: PoolUser, _facts: PoolFacts) -> str:
    return "" if user.enabled else "disabled"


def write(path: Path, names: Sequence[Sequence[str]], header: Sequence[str] = ("username",)) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *names])
    return path


def test_everybody_is_listed_in_the_order_of_pools_and_names(listing: UserStore) -> None:
    other = FakeDirectory([listed_user("bea"), listed_user("abe")], PoolFacts(EU2, users=2))
    called = ListedPools(listing, other, FakeDirectory(PEOPLE)).call()
    here = [(EU, name) for name in ("ann", "bob", "cat", "dan", "zoe")]
    assert called.rows == [(EU2, "abe"), (EU2, "bea"), *here]
    assert called.reported[-1] == 7
    assert called.reported == sorted(called.reported)


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ({}, ["ann", "bob", "cat", "dan", "zoe"]),
        ({"statuses": ["CONFIRMED"]}, ["ann", "zoe"]),
        ({"statuses": ["RESET_REQUIRED", "UNCONFIRMED"]}, ["bob", "dan"]),
        ({"created_before": date(2026, 1, 1)}, ["bob", "zoe"]),  # dan has no creation date
        ({"created_before": NEW}, ["bob", "zoe"]),
        ({"created_before": datetime(2026, 5, 1, 0, 1)}, ["ann", "bob", "cat", "zoe"]),  # noqa: DTZ001  (as TOML may have it)
        ({"statuses": ["CONFIRMED"], "created_before": date(2026, 1, 1)}, ["zoe"]),
        ({"groups": ["staff"]}, ["ann", "bob"]),
        ({"groups": ["staff", "board"]}, ["ann", "bob", "zoe"]),
        ({"groups": ["staff"], "statuses": ["CONFIRMED"]}, ["ann"]),
        ({"groups": ["nobody"]}, []),
    ],
    ids=str,
)
def test_selection(listing: UserStore, select: Mapping[str, Any], names: list[str]) -> None:
    directory = FakeDirectory(PEOPLE, groups={"staff": ["ann", "bob"], "board": ["bob", "zoe"], "nobody": []})
    assert ListedPools(listing, directory, **select).call().names == names
    expressions = {expression for _, expression in directory.asked}
    if "groups" in select:
        assert expressions == {f'group "{group}"' for group in select["groups"]}
    else:
        one = len(select.get("statuses", ())) == 1
        assert expressions == {'cognito:user_status = "CONFIRMED"' if one else ""}


def test_all_pages_are_read_and_paced(listing: UserStore) -> None:
    directory = FakeDirectory(crowd(200))
    called = ListedPools(listing, directory, rate=2.0)
    began = called.clock.now()
    assert len(called.call().names) == 200
    assert directory.pages == [None, "60", "120", "180"]
    assert called.clock.now() - began >= 1.4


def test_rows_come_in_chunks(listing: UserStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chunk_module.BATCH_ROWS == 20_000
    monkeypatch.setattr("bulkreset.plan.pool_users.BATCH_ROWS", 70)
    other = FakeDirectory([listed_user("ann")], PoolFacts(EU2, users=1))
    rows = ListedPools(listing, FakeDirectory(crowd(150)), other).call().rows
    assert rows == [*((EU, f"user{number:05d}") for number in range(150)), (EU2, "ann")]


def test_restarted_list_lists_no_user_twice(listing: UserStore) -> None:
    directory = FakeDirectory(crowd(240), faults=[None, None, STALE])
    called = ListedPools(listing, directory).call()
    assert directory.pages == [None, "60", "120", None, "60", "120", "180"]
    assert len(called.names) == len(set(called.names)) == 240
    assert called.reported[-1] == 240


@pytest.mark.parametrize("fault", [THROTTLED, LOST, refused("InternalErrorException", 500)], ids=lambda e: e.code)
def test_failed_call_is_repeated(listing: UserStore, fault: Any) -> None:  # noqa: ANN401  (pytest's)
    directory = FakeDirectory(crowd(150), faults=[fault, None, fault, fault])
    assert len(ListedPools(listing, directory).call().names) == 150


def test_expired_credentials_are_renewed(listing: UserStore) -> None:
    directory = FakeDirectory(crowd(130), faults=[None, EXPIRED], renewals=1)
    assert len(ListedPools(listing, directory).call().names) == 130


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ([None, *[LOST] * ATTEMPTS], "ReadTimeoutError"),
        ([None, STALE] * (RESTARTS + 1), "InvalidParameterException"),
        ([STALE], "InvalidParameterException"),
        ([EXPIRED], "ExpiredTokenException"),
    ],
    ids=["away", "stale", "refused", "expired"],
)
def test_interrupted_listing_can_be_resumed(listing: UserStore, faults: list[Any], code: str) -> None:
    with pytest.raises(ServiceError, match=f"The users of {EU} could not be listed: {code}") as caught:
        ListedPools(listing, FakeDirectory(crowd(200), faults=faults)).call()
    advice = "Sign in again or renew the credentials" if code.startswith("Expired") else "Resume to continue the list."
    assert caught.value.advice.startswith(advice)


@pytest.mark.parametrize(
    ("select", "error", "said"),
    [
        ({}, DENIED, f"The users of {EU} could not be listed: AccessDeniedException. Allow cognito-idp:ListUsers on"),
        ({}, GONE, f"The users of {EU} could not be listed: ResourceNotFoundException. Check the pool's id"),
        ({"groups": ["staff"]}, DENIED, "Allow cognito-idp:ListUsersInGroup on arn:aws:cognito-idp:eu-west-1"),
        ({"groups": ["staff"]}, None, "The group 'staff' of eu-west-1_Here00001 could not be listed"),
    ],
)
def test_pool_that_may_not_be_listed_is_a_refusal(
    listing: UserStore,
    select: dict[str, Any],
    error: Any,  # noqa: ANN401  (pytest's)
    said: str,
) -> None:
    with pytest.raises(TargetError) as caught:
        ListedPools(listing, FakeDirectory(PEOPLE, faults=[error] if error else ()), **select).call()
    assert said in str(caught.value)


def test_listing_is_stopped_at_once(listing: UserStore) -> None:
    directory = FakeDirectory(crowd(6000))

    def stop(_rows: int) -> None:
        raise Interrupted("Stopped by SIGINT.")

    with pytest.raises(Interrupted):
        ListedPools(listing, directory).listed_users.list_all(stop)
    assert len(directory.asked) <= 2


def test_users_of_a_file_are_excluded_as_the_pool_compares_names(listing: UserStore, tmp_path: Path) -> None:
    people = [
        listed_user("Ann"),
        listed_user("bob", email="Bob@x.example"),
        listed_user("cat"),
        listed_user("sub-x"),
        listed_user("+45123"),
    ]
    facts = PoolFacts(EU, users=5, case_insensitive=True, sign_in_by=frozenset({"email"}))
    exact = FakeDirectory([listed_user("Ann"), listed_user("ann"), listed_user("cat")], PoolFacts(EU2, users=3))
    rows = [("ANN", ""), ("bob@X.example", ""), ("'+45123", EU), ("cat", EU2), ("nobody", "eu-west-1_Elsewhere1")]
    path = write(tmp_path / "report.csv", rows, ("username", "user_pool_id"))
    called = ListedPools(listing, FakeDirectory(people, facts), exact, not_in=str(path)).call()
    assert called.rows == [(EU, "cat"), (EU, "sub-x"), (EU2, "Ann"), (EU2, "ann")]


def test_apostrophe_before_other_text_than_a_formula_is_part_of_the_name(listing: UserStore, tmp_path: Path) -> None:
    path = write(tmp_path / "names.csv", [("'bob",), ("'=x",)])
    directory = FakeDirectory([listed_user("bob"), listed_user("'bob"), listed_user("=x"), listed_user("ann")])
    assert ListedPools(listing, directory, not_in=str(path)).call().names == ["ann", "bob"]


def test_only_names_of_a_file_with_passwords_are_read(listing: UserStore, tmp_path: Path) -> None:
    path = write(tmp_path / "old.csv", [("ann", "Secret-Word.1")], ("username", "password"))
    assert ListedPools(listing, FakeDirectory(PEOPLE), not_in=str(path)).call().names == ["bob", "cat", "dan", "zoe"]


def test_parquet_file_of_names(listing: UserStore, tmp_path: Path) -> None:
    pq.write_table(pa.table({"username": ["zoe", "ann"]}), tmp_path / "done.parquet")
    assert ListedPools(listing, FakeDirectory(PEOPLE), not_in=str(tmp_path / "done.parquet")).call().names == [
        "bob",
        "cat",
        "dan",
    ]


def test_file_of_names_that_cannot_be_read_is_a_refusal(listing: UserStore, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("username,code\nann,x\nbob\n", encoding="utf-8")
    for path, said in (
        (tmp_path / "none.csv", "There is no input file"),
        (write(tmp_path / "names.csv", [("ann",)], ("name",)), "no column 'username'"),
        (bad, "line 3: 1 fields where the header has 2"),
    ):
        directory = FakeDirectory(PEOPLE)
        with pytest.raises(InputError) as caught:
            ListedPools(listing, directory, not_in=str(path)).call()
        assert caught.value.message.startswith("input.select.not_in: ")
        assert said in caught.value.message
        assert directory.asked == []


def test_names_are_not_compared_if_the_rule_is_unknown(listing: UserStore, tmp_path: Path) -> None:
    gap = UnknownFact("x", "cognito-idp:DescribeUserPool", "AccessDeniedException", denied=True)
    directory = FakeDirectory(PEOPLE, PoolFacts(EU, unknown=gap))
    with pytest.raises(TargetError, match="which not_in needs: AccessDeniedException"):
        ListedPools(listing, directory, not_in=str(write(tmp_path / "names.csv", [("ann",)]))).call()
    assert len(ListedPools(listing, directory).call().names) == 5


def test_listed_users_are_findings_without_another_call(listing: UserStore) -> None:
    people = [listed_user("Out", enabled=False), listed_user("zoe", email="z@x.example", email_verified="true")]
    called = ListedPools(listing, FakeDirectory(people, PoolFacts(EU, users=2, case_insensitive=True))).call()
    listing.fill(((row, pool, name) for row, (pool, name) in enumerate(called.rows, 1)), lambda _, name: name.lower())
    listing.match_listed()
    assert list(listing.findings()) == [
        RowFinding(1, "Out", "CONFIRMED", "disabled", recovery="none"),
        RowFinding(2, "zoe", "CONFIRMED", "", recovery="email"),
    ]
    assert listing.progress(EU) == {"*": LookupProgress(None, 0, 2, swept=True)}


def test_list_that_a_killed_process_left_is_not_continued(tmp_path: Path) -> None:
    with UserStore(tmp_path / "users.sqlite") as left:
        left.add_page(EU, "*", [UserMatch(("gone",), "gone", "CONFIRMED", "")], 1, None)
        left.exclude([(EU, "ann")])
        with UserStore(tmp_path / "users.sqlite") as listing:
            assert ListedPools(listing, FakeDirectory(PEOPLE)).call().names == ["ann", "bob", "cat", "dan", "zoe"]


def test_interrupted_list_continues_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    directory = FakeDirectory(crowd(240), faults=[None, None, DENIED])
    excluded = write(tmp_path / "names.csv", [("user00003",)])
    with pytest.raises(TargetError), UserStore(path) as listing:
        ListedPools(listing, directory, not_in=str(excluded)).call()
    excluded.unlink()  # the exclusion was read when the list began
    with UserStore(path) as listing:
        names = ListedPools(listing, directory, not_in=str(excluded)).call().names
    assert directory.pages == [None, "60", "120", "120", "180"]
    assert names == [f"user{number:05d}" for number in range(240) if number != 3]


def test_interrupted_list_of_the_day_before_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users.sqlite"
    directory = FakeDirectory(crowd(120), faults=[None, DENIED])
    with pytest.raises(TargetError), UserStore(path) as listing:
        ListedPools(listing, directory).call()
    later = time.time() + LIST_LIFE + 1
    monkeypatch.setattr("bulkreset.plan.pool_users.time.time", lambda: later)
    with UserStore(path) as listing:
        assert len(ListedPools(listing, directory).call().names) == 120
    assert directory.pages == [None, "60", None, "60"]


def test_many_users_of_one_status_are_listed_in_shards(listing: UserStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool_users.FILTERED_PAGES == 64
    monkeypatch.setattr(pool_users, "FILTERED_PAGES", 2)
    statuses = ("CONFIRMED", "RESET_REQUIRED")
    people = [
        listed_user(f"user{number:05d}", statuses[number % 2], sub=f"{number:05x}"[::-1] + "000")
        for number in range(4800)
    ]
    directory = FakeDirectory(people)
    assert ListedPools(listing, directory, statuses=["RESET_REQUIRED"]).call().names == [
        f"user{number:05d}" for number in range(1, 4800, 2)
    ]
    filtered = [expression for _, expression in directory.asked if "status" in expression]
    assert len(filtered) == 2
    assert len(directory.asked) <= 2 + 80 + 16


def test_store_that_is_to_be_looked_up_stays(tmp_path: Path) -> None:
    with UserStore(tmp_path / "users.sqlite") as listing:
        called = ListedPools(listing, FakeDirectory(PEOPLE)).call()
        listing.fill([(1, *called.rows[0])], lambda _, name: name)
    with UserStore(tmp_path / "users.sqlite") as again:
        assert again.is_filled
        assert again.names(EU) == 1


def test_listing_leaves_nothing_behind_and_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    path.write_text("what a killed process left", encoding="utf-8")
    with UserStore(path) as listing:
        assert path.stat().st_mode & 0o777 == 0o600
        ListedPools(listing, FakeDirectory(PEOPLE)).call()
    assert list(tmp_path.iterdir()) == []
