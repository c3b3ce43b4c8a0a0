"""One contract, two implementations: simulator and moto give boto3 the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest
from botocore.exceptions import ClientError
from moto.cognitoidp.models import (
    CognitoIdpUser,
    CognitoIdpUserPool,
    cognitoidp_backends,
)
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.server import ThreadedMotoServer

from tests.sim.clients import GOOD, POOL, cognito

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

    from tests.sim import Simulator

POLICY = {
    "MinimumLength": 8,
    "RequireUppercase": True,
    "RequireLowercase": True,
    "RequireNumbers": True,
    "RequireSymbols": True,
}


class Backend(Protocol):
    """An implementation of Cognito with one pool and one unconfirmed user, ann."""

    url: str
    pool: str

    def password(self) -> str | None:
        """Return ann's password as the service stores it."""

    def status(self) -> str:
        """Return ann's status as the service stores it."""


class SimulatorBackend:
    """The simulator, filled through its control endpoints."""

    def __init__(self, sim: Simulator) -> None:
        self.url = sim.url
        self.pool = POOL
        self._sim = sim
        ann = {"username": "ann", "status": "UNCONFIRMED"}
        sim.add_pool(POOL, [ann], policy=POLICY)

    def password(self) -> str | None:
        return self._sim.passwords(self.pool)["ann"]

    def status(self) -> str:
        return str(self._sim.users(self.pool)["ann"]["status"])


class MotoBackend:
    """moto in a thread, filled through its objects, because HTTP would be slow."""

    def __init__(self, url: str, pool: CognitoIdpUserPool) -> None:
        self.url = url
        self._ann = CognitoIdpUser(pool.id, "ann", None, "UNCONFIRMED", [])
        pool.users["ann"] = self._ann
        self.pool = pool.id

    def password(self) -> str | None:
        return self._ann.password

    def status(self) -> str:
        return self._ann.status


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[str, CognitoIdpUserPool]]:
    """Run moto with one pool on the loopback interface; by default it binds all. Making a pool is slow."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    config: dict[str, Any] = {"Policies": {"PasswordPolicy": POLICY}}
    pool = CognitoIdpUserPool(DEFAULT_ACCOUNT_ID, "us-east-1", "contract", config)
    cognitoidp_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].user_pools[pool.id] = pool
    yield f"http://{host}:{port}", pool
    server.stop()


@pytest.fixture(params=[pytest.param("simulator", marks=pytest.mark.process), "moto"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Return each implementation in turn."""
    if request.param == "moto":
        return MotoBackend(*request.getfixturevalue("moto"))
    return SimulatorBackend(request.getfixturevalue("sim"))


@pytest.fixture
def client(backend: Backend) -> CognitoIdentityProviderClient:
    """Return a boto3 client of the implementation under test."""
    return cognito(backend.url)


def refused(client: CognitoIdentityProviderClient, pool: str, username: str, password: str) -> str:
    """Make a call that must be refused with a 400, and return the code."""
    with pytest.raises(ClientError) as caught:
        client.admin_set_user_password(UserPoolId=pool, Username=username, Password=password)
    meta = caught.value.response["ResponseMetadata"]
    assert meta["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"Permanent": True}, "CONFIRMED"),
        ({"Permanent": False}, "FORCE_CHANGE_PASSWORD"),
        ({}, "FORCE_CHANGE_PASSWORD"),
    ],
    ids=["permanent", "temporary", "default"],
)
def test_status_after_a_password_is_set(
    backend: Backend,
    client: CognitoIdentityProviderClient,
    asked: dict[str, bool],
    status: str,
) -> None:
    client.admin_set_user_password(
        UserPoolId=backend.pool,
        Username="ann",
        Password=GOOD,
        **asked,
    )
    assert backend.status() == status


def test_unknown_user(backend: Backend, client: CognitoIdentityProviderClient) -> None:
    code = refused(client, backend.pool, "bob", GOOD)
    assert code == "UserNotFoundException"


def test_unknown_pool(client: CognitoIdentityProviderClient) -> None:
    code = refused(client, "us-east-1_Missing00", "ann", GOOD)
    assert code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "weak",
    ["Aa1-", "correct-horse-1", "CORRECT-HORSE-1", "Correct-Horse-", "CorrectHorse1"],
)
def test_weak_password(backend: Backend, client: CognitoIdentityProviderClient, weak: str) -> None:
    code = refused(client, backend.pool, "ann", weak)
    assert code == "InvalidPasswordException"
    assert (backend.password(), backend.status()) == (None, "UNCONFIRMED")


def test_answer_is_empty_and_has_a_request_id(backend: Backend, client: CognitoIdentityProviderClient) -> None:
    answer: Any = client.admin_set_user_password(UserPoolId=backend.pool, Username="ann", Password=GOOD)
    meta = answer.pop("ResponseMetadata")
    assert answer == {}
    assert meta["HTTPStatusCode"] == 200
    assert meta["RequestId"]


@pytest.mark.parametrize(
    "password",
    [
        "Emoji-1-\N{GRINNING FACE}",
        "Quotes-1-\"'`",
        "Back\\slash-1\\",
        "Inner Space-1",
        "Non-Latin-1-密码-пароль",
        "Markup-1-<&>%41+/",
        "Combining-1-e\N{COMBINING ACUTE ACCENT}",
        "Aa1-" + "x" * 90,
    ],
)
def test_password_arrives_character_by_character(
    backend: Backend, client: CognitoIdentityProviderClient, password: str
) -> None:
    client.admin_set_user_password(UserPoolId=backend.pool, Username="ann", Password=password, Permanent=True)
    assert backend.password() == password
