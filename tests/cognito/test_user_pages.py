"""Pages of ListUsers: when a user was last changed, and the minimum difference of the clocks."""

import time
from dataclasses import replace
from typing import Any

import pytest

from bulkreset.cognito.list_users import UserLister, UserPage, filter_by
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import answering, of_the_service
from tests.sim.handle import Simulator

pytestmark = pytest.mark.usefixtures("credentials")

HARD = 'a "quoted" \\name\\'


def session(url: str) -> TargetSession:
    """Open a session at one endpoint."""
    return open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=url, read_timeout=90))


def read(answer: object, date: str = "", unix: float = 1_000_000_000.0) -> UserPage:
    """Return what is read from one answer with this Date, at this time."""
    said = replace(of_the_service(answer), headers={"x-amzn-requestid": "r-1"} | ({"Date": date} if date else {}))
    with answering(said) as endpoint:
        return UserLister(session(endpoint.url), PoolFacts(POOL), lambda: unix).page()


def test_user_is_found_by_the_exact_name_with_the_date_of_the_last_change(sim: Simulator) -> None:
    users: list[str | dict[str, Any]] = [{"username": "ann", "modified": 1234.567}, {"username": HARD, "modified": 5.0}]
    sim.add_pool(POOL, users)
    lister = UserLister(session(sim.url), PoolFacts(POOL))

    def found(name: str) -> list[tuple[str, int | None]]:
        page = lister.page(expression=filter_by("username", name))
        return [(user.username, user.modified) for user in page.users]

    assert [*map(found, ("ann", HARD))] == [[("ann", 1_234_567)], [(HARD, 5_000)]]
    assert [*map(found, ("an", "Ann", 'ann" ', "\\"))] == [[]] * 4


def test_clock_of_the_service_is_never_taken_to_be_too_far_ahead(sim: Simulator) -> None:
    """Both clocks are this machine's: the difference is 0, and the header has no fraction of the second."""
    before = time.time()
    ahead = UserLister(session(sim.url), PoolFacts(POOL)).page().ahead
    took = time.time() - before
    assert ahead is not None
    assert -1000 - 1000 * took <= ahead <= 0


@pytest.mark.parametrize(
    ("unix", "ahead"),
    [
        (1_000_000_000.25, -250),
        (999_999_990.0, 10_000),
        (1_000_000_010.0, -10_000),
        (1_000_003_600, -3_600_000),
    ],
)
def test_difference_of_the_clocks_is_the_headers(unix: float, ahead: int | None) -> None:
    assert read({"Users": []}, "Sun, 09 Sep 2001 01:46:40 GMT", unix).ahead == ahead


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Sep 2001 01:46:40 GMT"])
def test_header_that_is_not_a_date_says_nothing(date: str) -> None:
    assert read({"Users": []}, date).ahead is None


@pytest.mark.parametrize("answer", [{}, {"Users": ["ann"]}, {"Users": [{}]}, {"Users": 1}])
def test_invalid_answer_is_unreadable(answer: object) -> None:
    with pytest.raises(ReadCallError) as caught:
        read(answer)
    assert caught.value.is_transient


@pytest.mark.parametrize(
    ("user", "modified"), [({"Username": "ann"}, None), ({"Username": "ann", "UserLastModifiedDate": 5}, 5000)]
)
def test_user_without_a_date_and_with_one(user: object, modified: int | None) -> None:
    page = read({"Users": [user], "PaginationToken": "next"})
    assert ([user.modified for user in page.users], page.token) == ([modified], "next")
