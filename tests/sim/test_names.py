"""A user is found by its username, its sub, and the pool's sign-in attributes."""

from typing import Any

import pytest

from tests.sim import Simulator
from tests.sim.clients import GOOD, POOL, cognito, set_password
from tests.sim.handle import SimulatorError

MISSING = "UserNotFoundException 400"
SUB = "5d1c5e0e-0c5e-4a0e-9d3e-1f2a3b4c5d6e"


def person(username: str | None = None, **attributes: str) -> dict[str, Any]:
    """Return a user with these attributes."""
    return {"attributes": attributes} | ({"username": username} if username else {})


def named(sim: Simulator, *names: str) -> list[str]:
    """Set a password by each name; return the answers."""
    client = cognito(sim.url)
    return [set_password(client, name) for name in names]


def sub_of(sim: Simulator, number: int) -> str:
    """Return the sub of one user, by its position in the listing."""
    shown = cognito(sim.url).list_users(UserPoolId=POOL)["Users"][number]["Attributes"]
    return next(found["Value"] for found in shown if found["Name"] == "sub")


def test_address_names_its_user_only_once_it_is_verified(sim: Simulator) -> None:
    ann = person("ann", email="ann@x.example", email_verified="true", phone_number="+4511")
    bob = person(
        "bob", email="bob@x.example", email_verified="false", phone_number="+4522", phone_number_verified="true"
    )
    sim.add_pool(POOL, [ann, bob], alias_attributes=["email", "phone_number"])
    assert named(sim, "ann@x.example", "+4522") == ["ok", "ok"]
    assert named(sim, "bob@x.example", "+4511") == [MISSING, MISSING]
    assert [user["applied"] for user in sim.users(POOL).values()] == [1, 1]


def test_preferred_username_needs_no_verification(sim: Simulator) -> None:
    sim.add_pool(POOL, [person("ann", preferred_username="annie")], alias_attributes=["preferred_username"])
    assert named(sim, "annie") == ["ok"]


def test_address_that_is_not_an_alias_names_no_user(sim: Simulator) -> None:
    sim.add_pool(POOL, [person("ann", email="ann@x.example", email_verified="true", preferred_username="annie")])
    assert named(sim, "ann@x.example", "annie") == [MISSING, MISSING]


def test_sub_names_its_user_in_every_pool(sim: Simulator) -> None:
    sim.add_pool(POOL, ["ann", person("bob", sub=SUB)])
    assert sub_of(sim, 1) == SUB
    assert named(sim, sub_of(sim, 0), SUB) == ["ok", "ok"]
    assert {name: user["applied"] for name, user in sim.users(POOL).items()} == {"ann": 1, "bob": 1}
    # The sub that would have been derived for bob names nobody.
    assert named(sim, "20000000-0000-4000-8000-000000000002") == [MISSING]


def test_names_are_folded_if_the_pool_says_so(sim: Simulator) -> None:
    ann = person("Ann", email="Ann@X.example", email_verified="true", sub=SUB)
    sim.add_pool(POOL, [ann], alias_attributes=["email"], case_sensitive=False)
    assert named(sim, "ann", "ANN", "ann@x.EXAMPLE", SUB.upper()) == ["ok"] * 4
    assert sim.users(POOL)["Ann"]["applied"] == 4
    assert sim.stats().users_applied_more_than_once == 1
    assert cognito(sim.url).list_users(UserPoolId=POOL)["Users"][0]["Username"] == "Ann"


def test_names_are_exact_if_they_are_not_folded(sim: Simulator) -> None:
    ann = person("Ann", email="Ann@X.example", email_verified="true")
    sim.add_pool(POOL, [ann], alias_attributes=["email"])
    assert named(sim, "ann", "ann@x.example", "Ann@X.example") == [MISSING, MISSING, "ok"]


@pytest.mark.parametrize("given", ["ann@x.example", person(email="ann@x.example", email_verified="false")])
def test_user_who_signs_in_by_address_has_its_sub_as_username(sim: Simulator, given: Any) -> None:  # noqa: ANN401
    sim.add_pool(POOL, [given], username_attributes=["email"])
    sub = sub_of(sim, 0)
    assert named(sim, "ann@x.example", sub) == ["ok", "ok"]
    assert {name: user["applied"] for name, user in sim.users(POOL).items()} == {sub: 2}


def test_username_that_is_given_is_kept(sim: Simulator) -> None:
    sim.add_pool(
        POOL,
        [person("ann", phone_number="+4511"), person(sub=SUB, email="b@x.example")],
        username_attributes=["phone_number"],
    )
    assert named(sim, "ann", "+4511", SUB, "b@x.example") == ["ok", "ok", "ok", MISSING]
    assert set(sim.users(POOL)) == {"ann", SUB}


def test_any_address_exists_with_auto_users(sim: Simulator) -> None:
    sim.add_pool(POOL, auto_users=True, username_attributes=["email"])
    assert named(sim, "ann@x.example", "ann@x.example", "bob@x.example") == ["ok"] * 3
    assert [user["applied"] for user in sim.users(POOL).values()] == [2, 1]


def test_replaced_user_goes_by_its_new_names_only(sim: Simulator) -> None:
    old, new = (person("ann", email=f"{which}@x.example", email_verified="true") for which in ("old", "new"))
    sim.add_pool(POOL, [old], alias_attributes=["email"])
    client = cognito(sim.url)
    assert len(client.list_users(UserPoolId=POOL, Filter='email = "old@x.example"')["Users"]) == 1
    sim.configure(users={POOL: [new]})
    assert named(sim, "old@x.example", "new@x.example") == [MISSING, "ok"]
    assert client.list_users(UserPoolId=POOL, Filter='email = "old@x.example"')["Users"] == []
    assert client.describe_user_pool(UserPoolId=POOL)["UserPool"]["EstimatedNumberOfUsers"] == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"alias_attributes": ["email"], "username_attributes": ["email"]}, "either"),
        ({"username_attributes": ["preferred_username"]}, "names users"),
        ({"usernames": [person(email="ann@x.example")]}, "needs a username"),
        ({"usernames": [{"username": "ann", "attributes": {"email_verified": True}}]}, "strings"),
    ],
)
def test_pool_that_the_service_would_not_have_is_refused(sim: Simulator, options: dict[str, Any], why: str) -> None:
    with pytest.raises(SimulatorError, match=why):
        sim.add_pool(POOL, **options)


@pytest.mark.parametrize(("permanent", "status"), [(True, "CONFIRMED"), (False, "FORCE_CHANGE_PASSWORD")])
def test_federated_and_disabled_users_take_a_password(sim: Simulator, *, permanent: bool, status: str) -> None:
    ann = person("saml_ann", identities='[{"providerName":"saml"}]') | {"status": "EXTERNAL_PROVIDER"}
    sim.add_pool(POOL, [ann, {"username": "bob", "enabled": False}])
    client = cognito(sim.url)
    shown = client.list_users(UserPoolId=POOL)["Users"][0]
    assert (shown["UserStatus"], shown["Attributes"][1]["Name"]) == ("EXTERNAL_PROVIDER", "identities")
    for name in ("saml_ann", "bob"):
        client.admin_set_user_password(UserPoolId=POOL, Username=name, Password=GOOD, Permanent=permanent)
    users = sim.users(POOL).values()
    assert [(user["status"], user["enabled"]) for user in users] == [(status, True), (status, False)]
