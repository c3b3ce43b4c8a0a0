"""The users of a pool: read page by page with all their names, or looked up by a name."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from bulkreset.cognito.list_users import UserLister, filters_for, parse_user
from bulkreset.cognito.pool import PoolFacts, describe_pool
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.job import Target
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import Said, answering, of_the_service
from tests.sim.handle import Simulator

SUB = "7d1f3a52-0000-4000-8000-00000000000a"
LISTS = "ListUsers"
PLAIN = PoolFacts(POOL)
ALIASED = PoolFacts(POOL, aliases=frozenset({"email", "phone_number", "preferred_username"}))
BY_MAIL = PoolFacts(POOL, sign_in_by=frozenset({"email"}))
FOLDING = PoolFacts(POOL, case_insensitive=True, aliases=frozenset({"email"}))

pytestmark = pytest.mark.usefixtures("credentials")


def listed_user(named: Mapping[str, str], status: str | None = "CONFIRMED", *, enabled: bool = True) -> dict[str, Any]:
    """Return ann as ListUsers lists her, with these attributes."""
    attributes = [{"Name": name, "Value": value} for name, value in ({"sub": SUB} | dict(named)).items()]
    user = {"Username": "Ann", "Attributes": attributes, "Enabled": enabled}
    return user | ({"UserStatus": status} if status else {})


def directory_at(url: str, facts: PoolFacts = PLAIN) -> UserLister:
    """Return a pool's lister at one endpoint."""
    return UserLister(session(url), facts)


def session(url: str) -> TargetSession:
    """Open a session at one endpoint."""
    return open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=url, read_timeout=90))


ADDRESSES = {"email": "Ann@X.example", "phone_number": "+4512345678", "preferred_username": "annie"}


@pytest.mark.parametrize(
    ("facts", "attributes", "names"),
    [
        (PLAIN, ADDRESSES | {"email_verified": "true"}, ["Ann", SUB]),
        (ALIASED, ADDRESSES, ["Ann", SUB, "annie"]),
        (ALIASED, ADDRESSES | {"email_verified": "true"}, ["Ann", SUB, "Ann@X.example", "annie"]),
        (ALIASED, ADDRESSES | {"email_verified": "false"}, ["Ann", SUB, "annie"]),
        (ALIASED, ADDRESSES | {"phone_number_verified": "True"}, ["Ann", SUB, "+4512345678", "annie"]),
        (ALIASED, {"email_verified": "true"}, ["Ann", SUB]),
        (BY_MAIL, ADDRESSES, ["Ann", SUB, "Ann@X.example"]),
        (FOLDING, ADDRESSES | {"email_verified": "true"}, ["ann", SUB, "ann@x.example"]),
        (PoolFacts(POOL, case_insensitive=True), {"sub": "ANN"}, ["ann"]),
    ],
)
def test_user_has_the_surest_name_that_the_pool_accepts(
    facts: PoolFacts, attributes: dict[str, str], names: list[str]
) -> None:
    user = parse_user(listed_user(attributes), facts)
    assert list(user.names) == names
    assert user.username == "Ann", "the canonical name is never folded"


@pytest.mark.parametrize(
    ("status", "attributes", "federated"),
    [
        ("CONFIRMED", {}, False),
        ("EXTERNAL_PROVIDER", {}, True),
        ("CONFIRMED", {"identities": '[{"providerName":"Google"}]'}, True),
        ("CONFIRMED", {"identities": "[]"}, False),
        ("CONFIRMED", {"identities": ""}, False),
        (None, {}, False),
    ],
)
def test_user_is_federated_by_status_or_by_its_identities(
    status: str | None, attributes: dict[str, str], *, federated: bool
) -> None:
    user = parse_user(listed_user(attributes, status), PLAIN)
    assert (user.federated, user.status) == (federated, status or "UNKNOWN")


def test_user_is_enabled_by_default() -> None:
    assert [parse_user(listed_user({}, enabled=value), PLAIN).enabled for value in (True, False)] == [True, False]
    assert parse_user({"Username": "ann"}, PLAIN).enabled


def test_attribute_without_a_value_names_no_user() -> None:
    user = {"Username": "ann", "Attributes": [{"Name": "sub"}, {"Name": "preferred_username"}]}
    assert parse_user(user, ALIASED).names == ("ann",)


@pytest.mark.parametrize(
    ("name", "facts", "asked"),
    [
        ("ann", PLAIN, ['username = "ann"']),
        ("ann@x.example", PLAIN, ['username = "ann@x.example"']),
        (SUB, PLAIN, [f'username = "{SUB}"', f'sub = "{SUB}"']),
        ("ann", ALIASED, ['username = "ann"', 'preferred_username = "ann"']),
        (
            "ann@x.example",
            ALIASED,
            [f'{attribute} = "ann@x.example"' for attribute in ("username", "email", "preferred_username")],
        ),
        ("+45", ALIASED, [f'{attribute} = "+45"' for attribute in ("username", "phone_number", "preferred_username")]),
        ("ann@x.example", BY_MAIL, ['email = "ann@x.example"', 'username = "ann@x.example"']),
        ("ann", BY_MAIL, ['username = "ann"']),
        ("Ann", FOLDING, ['username = "Ann"', 'username = "ann"']),
        ("ann", FOLDING, ['username = "ann"']),
    ],
)
def test_name_is_looked_up_as_every_possible_attribute(name: str, facts: PoolFacts, asked: list[str]) -> None:
    assert list(filters_for(name, facts)) == asked


@pytest.mark.parametrize("name", ['a"b', "a\\b", '\\"', "a\\", '"', "=", "ü🚀", 'x" or username = "y'])
def test_every_name_is_quoted(name: str, sim: Simulator) -> None:
    sim.add_pool(POOL, [name, "ann"])
    (expression,) = filters_for(name, PLAIN)
    page = directory_at(sim.url).page(None, expression)
    assert [user.username for user in page.users] == [name]


def test_pages_lead_from_one_to_the_next(sim: Simulator) -> None:
    sim.add_pool(POOL, generate={"count": 130, "prefix": "u", "digits": 3})
    directory = directory_at(sim.url)
    seen, token, pages = [], None, 0
    while pages == 0 or token:
        page = directory.page(token)
        seen += [user.username for user in page.users]
        token, pages = page.token, pages + 1
    assert (seen, pages) == ([f"u{number:03d}" for number in range(130)], 3)
    assert {call.operation for call in sim.calls()} == {LISTS}


def test_page_asks_for_sixty_and_for_no_attribute_in_particular() -> None:
    with answering(of_the_service({"Users": []})) as endpoint:
        directory = directory_at(endpoint.url)
        directory.page()
        directory.page("next", 'username = "ann"')
    assert endpoint.asked() == [
        {"UserPoolId": POOL, "Limit": 60},
        {"UserPoolId": POOL, "Limit": 60, "Filter": 'username = "ann"', "PaginationToken": "next"},
    ]


def test_page_finds_its_users_as_the_pool_compares_names(sim: Simulator) -> None:
    user = {"username": "Ann", "attributes": {"email": "Ann@X.example", "email_verified": "true"}}
    sim.add_pool(POOL, [user], case_sensitive=False, alias_attributes=["email"])
    at = session(sim.url)
    (found,) = UserLister(at, describe_pool(at)).page().users
    assert found.names == ("ann", f"10000000-0000-4000-8000-{1:012x}", "ann@x.example")


@pytest.mark.parametrize(
    "said",
    [
        of_the_service({}),
        of_the_service({"Users": [{"Attributes": []}]}),
        of_the_service({"Users": [{"Username": "ann", "Attributes": [{}]}]}),
        of_the_service({"Users": "ann"}),
        Said(b"<html>busy</html>"),
        of_the_service({"Users": [], "PaginationToken": "same"}),
    ],
    ids=lambda said: said.body.decode(),
)
def test_invalid_page_may_be_temporary(said: Said) -> None:
    with answering(said) as endpoint, pytest.raises(ReadCallError) as caught:
        directory_at(endpoint.url).page("same")
    assert caught.value.verdict is Disposition.AMBIGUOUS


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("TooManyRequestsException", Disposition.THROTTLED),
        ("AccessDeniedException", Disposition.FATAL),
        ("InvalidParameterException", Disposition.REFUSED),
        ("ExpiredTokenException", Disposition.EXPIRED),
    ],
)
def test_refusal_is_reported_and_not_retried(sim: Simulator, code: str, verdict: Disposition) -> None:
    sim.configure(faults={"every": {"operation": LISTS, "error": code}})
    with pytest.raises(ReadCallError, match=code) as caught:
        directory_at(sim.url).page()
    assert caught.value.verdict is verdict
    assert len(sim.calls()) == 1


def test_newer_credentials_are_used_if_there_are_some(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = directory_at(sim.url)
    assert not directory.refresh_credentials()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEWER")
    assert directory.refresh_credentials()
    directory.page()
    assert [call.access_key for call in sim.calls()] == ["AKIDNEWER"]


def test_each_expression_is_a_filter_that_the_service_reads(sim: Simulator) -> None:
    directory = directory_at(sim.url)
    for expression in (*filters_for("+45@x", ALIASED), *filters_for(SUB, PLAIN)):
        assert re.fullmatch(r'[a-z_]+ = ".*"', expression)
        assert directory.page(None, expression).users == ()


def test_members_of_a_group_are_returned_as_users_page_by_page(sim: Simulator) -> None:
    names = [f"user{number:03d}" for number in range(130)]
    zoe = {"username": "Zoe", "status": "RESET_REQUIRED", "created": 1_600_000_000}
    sim.add_pool(POOL, [*names, zoe], groups={"staff": [*names[:120], "Zoe"]})
    directory = UserLister(session(sim.url), FOLDING)
    first = directory.members("staff")
    second = directory.members("staff", first.token)
    third = directory.members("staff", second.token)
    assert [len(page.users) for page in (first, second, third)] == [60, 60, 1]
    assert third.token is None
    (found,) = third.users
    assert (found.username, found.names[0], found.status, found.created) == (
        "Zoe",
        "zoe",
        "RESET_REQUIRED",
        1_600_000_000_000,
    )


def test_group_that_is_not_there_is_fatal(sim: Simulator) -> None:
    sim.add_pool(POOL, ["ann"])
    with pytest.raises(ReadCallError) as caught:
        UserLister(session(sim.url), FOLDING).members("staff")
    assert (caught.value.code, caught.value.verdict) == ("ResourceNotFoundException", Disposition.FATAL)


def test_users_of_one_status_are_filtered_by_the_service(sim: Simulator) -> None:
    sim.add_pool(POOL, ["ann", {"username": "bob", "status": "FORCE_CHANGE_PASSWORD"}])
    found = UserLister(session(sim.url), FOLDING).page(None, 'cognito:user_status = "FORCE_CHANGE_PASSWORD"')
    assert [user.username for user in found.users] == ["bob"]
