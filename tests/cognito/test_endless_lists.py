"""Lists whose service gives one page after another, all of them empty: every list is bounded."""

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from bulkreset import backoff, s3
from bulkreset.cognito import list_users
from bulkreset.cognito.list_users import UserLister, group_members
from bulkreset.cognito.point_in_time_recovery import MOST_PAGES, PoolRecoveries
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.errors import ServiceError, TargetError
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import answering, of_the_service
from tests.cognito.test_list_users import page

pytestmark = pytest.mark.usefixtures("credentials")


def session(url: str) -> TargetSession:
    """A session at one endpoint."""
    return open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=url, read_timeout=90))


def test_list_of_users_is_unreadable_after_so_many_empty_pages_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_users, "MOST_EMPTY_PAGES", 3)
    pages = [
        {"Users": [{"Username": "ann"}] if number == 1 else [], "PaginationToken": str(number)} for number in range(8)
    ]
    with answering(*map(of_the_service, pages)) as endpoint:
        lister = UserLister(session(endpoint.url), PoolFacts(POOL))
        token = None
        for _ in range(5):
            token = lister.page(token).token
        for _ in range(2):  # it is tried again
            with pytest.raises(ReadCallError, match="UnreadableResponse"):
                lister.page(token)


def test_list_of_members_is_refused_after_so_many_empty_pages_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_users, "MOST_EMPTY_PAGES", 2)
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.001)
    pages = [page([], "1"), page(["ann"], "2"), page([], "3"), page([], "4"), page([], "5")]
    with answering(*pages) as endpoint, pytest.raises(TargetError, match="could not be read: UnreadableResponse"):
        group_members(session(endpoint.url), "admins")


def test_list_of_recoveries_is_unreadable_after_so_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = count()
    client = SimpleNamespace(
        list_point_in_time_recoveries=lambda **_request: {"Restorations": [], "NextToken": str(next(tokens))}
    )
    recoveries = PoolRecoveries(session("http://127.0.0.1:1"))
    monkeypatch.setattr(recoveries, "_client", client)
    with pytest.raises(ServiceError, match="does not end"):
        recoveries.active()
    assert next(tokens) == MOST_PAGES


def test_list_of_objects_fails_after_so_many_empty_pages_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "MOST_EMPTY_PAGES", 2)
    one = {"Contents": [{"Key": "a", "Size": 1, "ETag": '"e"'}]}
    pages: list[dict[str, Any]] = [{}, {}, one, {}, {"CommonPrefixes": [{"Prefix": "b/"}]}, {}, {}, {}, one]
    bucket = s3.Bucket()
    vars(bucket)["client"] = SimpleNamespace(
        get_paginator=lambda _name: SimpleNamespace(paginate=lambda **_request: iter(pages))
    )
    with pytest.raises(s3.BucketError, match="without an end"):
        list(bucket.objects("s3://bucket/"))
    assert next(iter(bucket.objects("s3://bucket/"))).uri == "s3://bucket/a"
