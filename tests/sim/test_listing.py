"""Users are listed in pages, filtered as the API says, and found at once in a pool of any size."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sim import Simulator
from tests.sim.clients import POOL, cognito, set_password

VERIFIED = {"email": "user{number}@x.example", "email_verified": "true"}
MILLION = 1_000_000


def found(sim: Simulator, expression: str) -> list[str]:
    """Return the usernames on the first page of a filter."""
    users = cognito(sim.url).list_users(UserPoolId=POOL, Filter=expression)["Users"]
    return [user["Username"] for user in users]


def refused(sim: Simulator, **params: Any) -> str:  # noqa: ANN401
    """List users with an invalid request; return the error's code and message."""
    with pytest.raises(ClientError) as caught:
        cognito(sim.url).list_users(UserPoolId=POOL, **params)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


@pytest.fixture
def people(sim: Simulator) -> Simulator:
    """A pool of three users."""
    ann = {"email": "Ann@x.example", "name": "Ann Lee", "given_name": "Ann", "family_name": "Lee"}
    bob = {"email": 'b"ob@x.example', "phone_number": "+4511", "preferred_username": "bobby", "sub": "b-1"}
    users: list[str | dict[str, Any]] = [
        {"username": "Ann", "attributes": ann},
        {"username": 'b"o\\b', "status": "UNCONFIRMED", "enabled": False, "attributes": bob},
        {"username": "cat", "attributes": {"email": "ann@x.example", "family_name": "Lee-Ash"}},
    ]
    sim.add_pool(POOL, users)
    return sim


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('username = "Ann"', ["Ann"]),
        ('username = "ann"', []),
        ('username ^= "A"', ["Ann"]),
        ('username = "b\\"o\\\\b"', ['b"o\\b']),
        ('username = "nobody"', []),
        ('"email" = "ann@X.example"', ["Ann", "cat"]),
        ('email="b\\"ob@x.example"', ['b"o\\b']),
        ('email ^= "b\\"ob@"', ['b"o\\b']),
        ('phone_number = "+4511"', ['b"o\\b']),
        ('phone_number ^= "+45"', ['b"o\\b']),
        ('preferred_username = "bobby"', ['b"o\\b']),
        ('sub = "b-1"', ['b"o\\b']),
        ('sub = "10000000-0000-4000-8000-000000000001"', ["Ann"]),
        ('sub = "20000000-0000-4000-8000-000000000002"', []),
        ('sub ^= "30000000"', ["cat"]),
        ('name = "Ann Lee"', ["Ann"]),
        ('given_name ^= "a"', ["Ann"]),
        ('family_name = "Lee"', ["Ann"]),
        ('family_name ^= "Lee"', ["Ann", "cat"]),
        ('cognito:user_status = "unconfirmed"', ['b"o\\b']),
        ('status = "Enabled"', ["Ann", "cat"]),
        ('status = "disabled"', []),
    ],
)
def test_filter_finds_by_one_attribute(people: Simulator, expression: str, names: list[str]) -> None:
    assert found(people, expression) == names


def test_filter_that_compares_case_is_a_setting(sim: Simulator) -> None:
    sim.add_pool(POOL, [{"username": "ann", "attributes": {"email": "Ann@x.example"}}], filters_fold=False)
    assert found(sim, 'email = "ann@x.example"') == []
    assert found(sim, 'email = "Ann@x.example"') == ["ann"]


@pytest.mark.parametrize("expression", ["ann", 'custom:team = "red"', 'email = "a"b"', 'email == "a"'])
def test_invalid_filter_is_refused(people: Simulator, expression: str) -> None:
    assert refused(people, Filter=expression) == "InvalidParameterException: Error while parsing filter."


def test_filter_that_is_too_long_is_refused(people: Simulator) -> None:
    assert "less than or equal to 256" in refused(people, Filter=f'email = "{"x" * 250}"')


def test_look_up_finds_who_came_after_it(people: Simulator) -> None:
    assert found(people, 'email = "dan@x.example"') == []
    people.configure(users={POOL: [{"username": "dan", "attributes": {"email": "dan@x.example"}}]})
    assert found(people, 'email = "dan@x.example"') == ["dan"]


@pytest.mark.parametrize("expression", ["", 'username ^= "user"', 'email = "all@x.example"'])
def test_pages_hold_sixty_and_the_last_has_no_token(sim: Simulator, expression: str) -> None:
    attributes = {"email": "all@x.example"}
    names = [f"user{number:03}" for number in range(120)]
    sim.add_pool(POOL, [{"username": name, "attributes": attributes} for name in names])
    client = cognito(sim.url)
    pages = list(client.get_paginator("list_users").paginate(UserPoolId=POOL, Filter=expression))
    assert [len(page["Users"]) for page in pages] == [60, 60]
    assert [user["Username"] for page in pages for user in page["Users"]] == names
    assert len(client.list_users(UserPoolId=POOL, Limit=7)["Users"]) == 7


def test_token_is_good_for_its_filter_and_its_time(sim: Simulator) -> None:
    sim.add_pool(POOL, generate={"count": 100})
    client = cognito(sim.url)
    token = client.list_users(UserPoolId=POOL)["PaginationToken"]
    assert len(client.list_users(UserPoolId=POOL, PaginationToken=token)["Users"]) == 40
    void = "InvalidParameterException: Invalid pagination token"
    assert refused(sim, PaginationToken=token, Filter='username ^= "user"') == f"{void} for given filter."
    assert refused(sim, PaginationToken="nonsense") == f"{void} given."
    sim.configure(token_seconds=0)
    assert refused(sim, PaginationToken=token) == f"{void} given."


def test_group_is_listed_in_pages(sim: Simulator) -> None:
    names = [f"user{number:03}" for number in range(70)]
    sim.add_pool(POOL, names, groups={"all": names, "none": []})
    client = cognito(sim.url)
    pages = list(client.get_paginator("list_users_in_group").paginate(UserPoolId=POOL, GroupName="all"))
    assert [len(page["Users"]) for page in pages] == [60, 10]
    assert [user["Username"] for page in pages for user in page["Users"]] == names
    first = client.list_users_in_group(UserPoolId=POOL, GroupName="all", Limit=1)
    assert [user["Username"] for user in first["Users"]] == names[:1]
    assert "NextToken" not in client.list_users_in_group(UserPoolId=POOL, GroupName="none")
    with pytest.raises(ClientError, match="Invalid pagination token"):
        client.list_users_in_group(UserPoolId=POOL, GroupName="none", NextToken=first["NextToken"])


def test_crowd_is_like_other_users(sim: Simulator) -> None:
    crowd = {"count": 3, "first": 5, "digits": 2, "prefix": "U", "attributes": VERIFIED}
    other = {"username": "eve", "attributes": {"email": "eve@x.example"}}
    sim.add_pool(
        POOL, [other, {"username": "U06", "status": "UNCONFIRMED"}], generate=crowd, alias_attributes=["email"]
    )
    client = cognito(sim.url)
    users = client.list_users(UserPoolId=POOL)["Users"]
    assert [user["Username"] for user in users] == ["U05", "U06", "U07", "eve"]
    assert [user["UserStatus"] for user in users] == ["CONFIRMED", "UNCONFIRMED", "CONFIRMED", "CONFIRMED"]
    assert found(sim, 'cognito:user_status = "UNCONFIRMED"') == ["U06"]
    assert found(sim, 'email = "user05@x.example"') == ["U05"]
    # It was replaced by one without an address.
    assert found(sim, 'email = "user06@x.example"') == []
    assert [set_password(client, name) for name in ("user07@x.example", users[2]["Attributes"][0]["Value"], "U07")] == [
        "ok"
    ] * 3
    assert set_password(client, "user06@x.example") == "UserNotFoundException 400"
    assert set_password(client, "U08") == "UserNotFoundException 400"
    assert {name: user["applied"] for name, user in sim.users(POOL).items()} == {"eve": 0, "U06": 0, "U07": 3}


def test_crowd_may_sign_in_by_address(sim: Simulator) -> None:
    crowd = {"count": 9, "prefix": None, "attributes": {"email": "User{number}@x.example"}}
    sim.add_pool(POOL, generate=crowd, username_attributes=["email"], case_sensitive=False)
    client = cognito(sim.url)
    shown = client.list_users(UserPoolId=POOL, Filter='email = "user0000008@x.example"')["Users"][0]
    assert shown["Attributes"][0]["Value"] == shown["Username"]
    assert [set_password(client, name) for name in ("user0000008@X.example", shown["Username"])] == ["ok"] * 2
    assert set_password(client, "user0000009@x.example") == "UserNotFoundException 400"
    assert list(sim.users(POOL)) == [shown["Username"]]


@pytest.mark.linux("/proc, for the memory of a process")
@pytest.mark.process
def test_million_users_are_created_found_and_set_in_little_memory() -> None:
    with Simulator() as sim:
        sim.add_pool(POOL, generate={"count": MILLION, "attributes": VERIFIED}, alias_attributes=["email"])
        client = cognito(sim.url)
        assert client.describe_user_pool(UserPoolId=POOL)["UserPool"]["EstimatedNumberOfUsers"] == MILLION
        for name in (f"user{number:07}@x.example" for number in range(0, MILLION, 100_000)):
            assert len(found(sim, f'email = "{name}"')) == 1
            assert found(sim, f'username = "{name}"') == []
            assert set_password(client, name) == "ok"
        token: dict[str, Any] = {}
        for page in range(10):
            answer = client.list_users(UserPoolId=POOL, **token)
            assert answer["Users"][0]["Username"] == f"user{page * 60:07}"
            token = {"PaginationToken": answer["PaginationToken"]}
        peak = Path(f"/proc/{sim.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
        assert int(peak) < 100_000


def test_users_were_created_when_a_test_says(sim: Simulator) -> None:
    sim.add_pool(POOL, [{"username": "ann", "created": 5.0}], generate={"count": 1, "created": 4})
    users = cognito(sim.url).list_users(UserPoolId=POOL)["Users"]
    assert [user["UserCreateDate"].timestamp() for user in users] == [4, 5]
    assert users[0]["UserLastModifiedDate"].timestamp() == 4
