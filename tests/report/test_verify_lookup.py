"""The lookup after a run: each set row with its own user, also during a run; denied calls are named."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.errors import Interrupted, RecordError, ServiceError, TargetError
from bulkreset.journal.journal import Journal
from bulkreset.models import Status
from bulkreset.plan.user_store import UserStore
from bulkreset.report.user_state import VerifiedUser
from bulkreset.report.verify_lookup import look_up_set_users, require_described_pools, verified_users
from bulkreset.send.pacer import Pacer
from bulkreset.send.paged_reader import ATTEMPTS
from tests.journal.journals import OTHER, POOL, commit, done, planned
from tests.send.fakes import FakeClock
from tests.user_directory import DENIED, EXPIRED, GONE, LOST, STALE, THROTTLED, FakeDirectory, crowd, listed_user

SET = 1_700_000_000_000
DAY = 86_400_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UserStore]:
    with UserStore(tmp_path / "users.sqlite") as opened:
        yield opened


def ended(folder: Path, *names: str) -> Journal:
    """A run that has set these users, with permanent passwords."""
    journal = planned(folder, *names)
    commit(journal, [], [done(row, started_at=SET, finished_at=SET) for row in range(1, len(names) + 1)])
    return journal


def listed(*users: dict[str, Any], size: int | None = None, **facts: Any) -> FakeDirectory:  # noqa: ANN401  (a pool's facts)
    return FakeDirectory(users, PoolFacts(POOL, users=len(users) if size is None else size, **facts))


def look(journal: Journal, store: UserStore, *directories: FakeDirectory, rate: float | None = 24.0) -> FakeClock:
    """Look up all users on its own clock."""
    clock = FakeClock()
    pools = {directory.facts.user_pool_id: directory for directory in directories}
    look_up_set_users(
        journal, pools, dict.fromkeys(pools, Pacer(rate, clock)), store, clock, lambda _made, _calls: None
    )
    return clock


def states_of(journal: Journal, store: UserStore, *directories: FakeDirectory) -> list[tuple[int, str, str]]:
    pools = {directory.facts.user_pool_id: directory.facts for directory in directories}
    return [(fate.row, fate.username, fate.state.value) for fate in found(journal, store, pools)]


def found(journal: Journal, store: UserStore, pools: dict[str, PoolFacts]) -> list[VerifiedUser]:
    return list(verified_users(journal, store, pools, SET + DAY, 1.0))


@pytest.mark.parametrize("size", [0, 10**6], ids=["sweep", "look-ups"])
def test_each_row_has_its_own_user(tmp_path: Path, store: UserStore, size: int) -> None:
    journal = ended(tmp_path, "dan", "bob", "cat", "ann")
    late = {"UserLastModifiedDate": datetime.fromtimestamp((SET + DAY) / 1000, UTC)}
    pool = listed(listed_user("ann"), listed_user("bob") | late, listed_user("cat", "RESET_REQUIRED"), size=size)
    look(journal, store, pool)
    assert states_of(journal, store, pool) == [
        (1, "dan", "gone"),
        (2, "bob", "changed"),
        (3, "cat", "differs"),
        (4, "ann", "agrees"),
    ]


def test_rows_that_were_not_set_are_not_looked_up(tmp_path: Path, store: UserStore) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    commit(journal, [], [done(2, started_at=SET, finished_at=SET)])
    pool = listed(*crowd(3), size=10**6)
    look(journal, store, pool)
    assert set(pool.names) == {"bob"}
    assert states_of(journal, store, pool) == [(2, "bob", "gone")]


def test_run_that_continues_may_set_more_while_users_are_looked_up(tmp_path: Path, store: UserStore) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan")
    commit(journal, [], [done(row, started_at=SET, finished_at=SET) for row in (2, 4)])
    pool = listed(listed_user("ann"), listed_user("bob"), listed_user("cat"), listed_user("dan"))
    look(journal, store, pool)
    commit(journal, [], [done(row, started_at=SET, finished_at=SET) for row in (1, 3)])
    assert states_of(journal, store, pool) == [(2, "bob", "agrees"), (4, "dan", "agrees")]


def test_pool_without_set_rows_at_the_beginning_is_ignored(tmp_path: Path, store: UserStore) -> None:
    journal = ended(tmp_path, "ann")
    journal.write.add_rows([(2, OTHER, "bob", True, "ready", "", "")])
    commit(journal, [], [done(2, started_at=SET, finished_at=SET)])
    pool = listed(listed_user("ann"))
    look(journal, store, pool)
    assert states_of(journal, store, pool) == [(1, "ann", "agrees")]


def test_user_is_known_by_its_own_name_after_its_alias_has_changed(tmp_path: Path, store: UserStore) -> None:
    journal = planned(tmp_path, "ann@old.example")
    journal.write.store_findings([(1, Status.READY.value, "", "", "CONFIRMED", "", "u-1")])
    commit(journal, [], [done(1, started_at=SET, finished_at=SET)])
    pool = listed(listed_user("u-1", email="ann@new.example", email_verified="true"), aliases=frozenset({"email"}))
    look(journal, store, pool)
    assert states_of(journal, store, pool) == [(1, "ann@old.example", "agrees")]


def test_names_are_compared_as_the_pool_does(tmp_path: Path, store: UserStore) -> None:
    journal = ended(tmp_path, "ANN")
    pool = listed(listed_user("ann"), case_insensitive=True)
    look(journal, store, pool)
    assert states_of(journal, store, pool) == [(1, "ANN", "agrees")]


def test_calls_are_paced(tmp_path: Path, store: UserStore) -> None:
    pool = FakeDirectory(crowd(1200), PoolFacts(POOL, users=1200))
    clock = look(ended(tmp_path, *(f"user{number:05d}" for number in range(1200))), store, pool, rate=2.0)
    assert len(pool.pages) == 20
    assert clock.now() >= 1000 + 19 / 2


def test_denied_list_names_the_action(tmp_path: Path, store: UserStore) -> None:
    pool = listed(listed_user("ann"))
    pool.always = DENIED
    with pytest.raises(TargetError, match=r"ListUsers|listed: AccessDenied") as caught:
        look(ended(tmp_path, "ann"), store, pool)
    assert "Allow cognito-idp:ListUsers on arn:aws:cognito-idp:eu-west-1:*:userpool/" in caught.value.advice
    assert "resume" not in caught.value.advice


@pytest.mark.parametrize("fault", [GONE, LOST, STALE, THROTTLED, EXPIRED], ids=lambda fault: fault.code)
def test_interrupted_listing_is_not_a_gap(tmp_path: Path, store: UserStore, fault: Any) -> None:  # noqa: ANN401
    pool = listed(listed_user("ann"))
    pool.always = fault
    with pytest.raises(ServiceError, match=fault.code) as caught:
        look(ended(tmp_path, "ann"), store, pool)
    assert caught.value.code == fault.code
    assert "resume" not in str(caught.value)
    assert "--no-check-users" not in str(caught.value)


def test_page_is_requested_again(tmp_path: Path, store: UserStore) -> None:
    pool = listed(listed_user("ann"))
    pool.faults.extend([LOST, THROTTLED] * (ATTEMPTS // 2 - 1))
    look(ended(tmp_path, "ann"), store, pool)
    assert states_of(ended_again(tmp_path), store, pool) == [(1, "ann", "agrees")]


def ended_again(folder: Path) -> Journal:
    return Journal.open(folder / "journal.sqlite", read_only=True)


def test_stop_is_let_through(tmp_path: Path, store: UserStore) -> None:
    def stop(_made: int, _calls: int) -> None:
        raise Interrupted("Stopped by SIGINT.")

    pool = listed(listed_user("ann"))
    pacers = {POOL: Pacer(None, FakeClock())}
    with pytest.raises(Interrupted):
        look_up_set_users(ended(tmp_path, "ann"), {POOL: pool}, pacers, store, FakeClock(), stop)


def test_unwritable_lookup_gives_the_next_step(tmp_path: Path, store: UserStore) -> None:
    store._db.close()
    with pytest.raises(RecordError, match="verify again"):
        look(ended(tmp_path, "ann"), store, listed(listed_user("ann")))


def gap(code: str, *, denied: bool = False) -> dict[str, PoolFacts]:
    return {
        POOL: PoolFacts(POOL, unknown=UnknownFact("all", "cognito-idp:DescribeUserPool", code, "arn:x", denied=denied))
    }


def test_pool_must_be_described() -> None:
    require_described_pools({POOL: PoolFacts(POOL)})
    with pytest.raises(TargetError, match=r"Allow cognito-idp:DescribeUserPool on arn:x"):
        require_described_pools(gap("AccessDeniedException", denied=True))
    with pytest.raises(ServiceError, match=rf"The user pool {POOL} could not be described: no answer\."):
        require_described_pools(gap("no answer"))
