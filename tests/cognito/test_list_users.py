"""The directory: every name of a group's members, or a refusal; never a part of the members."""

from collections.abc import Sequence
from typing import Any

import pytest
from tenacity import wait_none

from bulkreset import backoff
from bulkreset.cognito.list_users import group_members
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.errors import TargetError
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import Said, answering, of_the_service
from tests.sim.handle import Simulator
from tests.sim.pool import User

ANN = {
    "email": "ann@example.com",
    "phone_number": "+4512345678",
    "preferred_username": "annie",
    "given_name": "Ann-Kristin",
    "custom:team": "red",
}
LISTS = "ListUsersInGroup"
THROTTLED = of_the_service({"__type": "TooManyRequestsException", "message": "slow down"}, 400)

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without waiting."""
    monkeypatch.setattr(backoff, "wait_random_exponential", lambda **_how: wait_none())


@pytest.fixture
def grouped(sim: Simulator) -> Simulator:
    """A simulator with a pool of three users, two of them in a group."""
    users: list[str | dict[str, Any]] = [
        {"username": "ann", "attributes": ANN},
        "bob",
        {"username": "cat", "attributes": {"email": "c@x.example"}},
    ]
    sim.add_pool(POOL, users, groups={"admins": ["ann", "bob"], "nobody": []})
    return sim


def session(url: str) -> TargetSession:
    """Open a session at one endpoint."""
    return open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=url, read_timeout=90))


def page(names: Sequence[str], token: str | None = None) -> Said:
    """Return one page of a group."""
    answer: dict[str, Any] = {
        "Users": [{"Username": name, "Attributes": [{"Name": "sub", "Value": f"sub-{name}"}]} for name in names]
    }
    return of_the_service(answer | ({"NextToken": token} if token else {}))


def members_of(*names: str) -> set[str]:
    """Return the names on pages."""
    return {*names, *(f"sub-{name}" for name in names)}


def test_member_is_found_by_every_sign_in_name_and_no_other(grouped: Simulator) -> None:
    found = group_members(session(grouped.url), "admins")
    assert found == {
        *("ann", User("ann", 1).sub, "ann@example.com", "+4512345678", "annie"),
        *("bob", User("bob", 2).sub),
    }


def test_group_without_members_has_no_names(grouped: Simulator) -> None:
    assert group_members(session(grouped.url), "nobody") == set()


def test_asking_changes_nothing(grouped: Simulator) -> None:
    group_members(session(grouped.url), "admins")
    assert [(call.operation, call.answer, call.applied) for call in grouped.calls()] == [(LISTS, "ok", False)]


def test_attribute_without_a_value_is_not_a_name() -> None:
    user = {"Username": "ann", "Attributes": [{"Name": "email"}, {"Name": "sub", "Value": "sub-ann"}]}
    with answering(of_the_service({"Users": [user]})) as endpoint:
        assert group_members(session(endpoint.url), "admins") == members_of("ann")


def test_group_is_read_to_its_last_page() -> None:
    names = [f"user{number}" for number in range(150)]
    pages = [page(names[:60], "first"), page(names[60:120], "second"), page([], "third"), page(names[120:])]
    with answering(*pages) as endpoint:
        assert group_members(session(endpoint.url), "admins") == members_of(*names)
    asked = endpoint.asked()
    assert [request.get("NextToken") for request in asked] == [None, "first", "second", "third"]
    assert {(request["UserPoolId"], request["GroupName"]) for request in asked} == {(POOL, "admins")}


def test_throttled_page_loses_no_user() -> None:
    first, last = page(["ann"], "more"), page(["bob"])
    with answering(THROTTLED, first, THROTTLED, THROTTLED, last) as endpoint:
        assert group_members(session(endpoint.url), "admins") == members_of("ann", "bob")


@pytest.mark.parametrize(
    "step",
    [
        {"error": "TooManyRequestsException"},
        {"error": "ThrottlingException"},
        {"error": "InternalErrorException"},
        {"http": 503},
        {"cut": "before"},
    ],
    ids=str,
)
def test_temporary_failure_is_retried(grouped: Simulator, step: dict[str, Any]) -> None:
    grouped.configure(faults={"every": {"operation": LISTS, "until_call": 5, **step}})
    assert {"ann", "bob"} <= group_members(session(grouped.url), "admins")
    assert [call.answer == "ok" for call in grouped.calls(LISTS)] == [False] * 5 + [True]


def test_permanent_failure_is_a_target_error(grouped: Simulator) -> None:
    grouped.configure(faults={"every": {"operation": LISTS, "error": "TooManyRequestsException"}})
    with pytest.raises(TargetError, match=rf"group 'admins' of {POOL} could not be read: TooManyRequests") as caught:
        group_members(session(grouped.url), "admins")
    assert caught.value.exit_code == 2
    assert len(grouped.calls(LISTS)) == 6


@pytest.mark.parametrize("code", ["AccessDeniedException", "NotAuthorizedException", "ExpiredTokenException"])
def test_refusal_is_a_target_error_at_once(grouped: Simulator, code: str) -> None:
    grouped.configure(faults={"every": {"operation": LISTS, "error": code}})
    with pytest.raises(TargetError, match=f"could not be read: {code}.*Allow cognito-idp:ListUsersInGroup"):
        group_members(session(grouped.url), "admins")
    assert len(grouped.calls()) == 1


@pytest.mark.parametrize("group", ["none", "Admins", "admins "])
def test_group_that_is_not_there_is_a_target_error_at_once(grouped: Simulator, group: str) -> None:
    with pytest.raises(TargetError, match=f"group {group!r} .*: ResourceNotFoundException.*check the group's name"):
        group_members(session(grouped.url), group)
    assert len(grouped.calls()) == 1


def test_refusal_in_the_middle_gives_no_half_of_a_group() -> None:
    denied = of_the_service({"__type": "AccessDeniedException", "message": "no"}, 400)
    with answering(page(["ann"], "more"), denied) as endpoint, pytest.raises(TargetError, match="AccessDenied"):
        group_members(session(endpoint.url), "admins")


def test_page_that_leads_to_itself_is_a_target_error() -> None:
    with answering(page(["ann"], "again")) as endpoint, pytest.raises(TargetError, match="UnreadableResponse"):
        group_members(session(endpoint.url), "admins")


def test_endpoint_that_cannot_be_reached_is_a_target_error() -> None:
    with pytest.raises(TargetError, match="EndpointConnectionError"):
        group_members(session("http://cognito.invalid"), "admins")
