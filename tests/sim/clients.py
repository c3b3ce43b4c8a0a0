"""boto3 clients for the simulator's own tests: fake credentials, no retries."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.sim.handle import ACCESS_KEY, SIGNING_KEY

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_sts import STSClient

    from tests.sim.wire import JsonValue

POOL: Final = "us-east-1_Simulated"
GOOD: Final = "Correct-Horse-1"

_SESSION: Final = boto3.Session()


# Clients are reused: making one takes longer than a test does with it.


def _config(read_timeout: float) -> Config:
    retries: Final = {"mode": "standard", "total_max_attempts": 1}
    return Config(retries=retries, read_timeout=read_timeout)  # type: ignore[arg-type]


@cache
def cognito(
    url: str,
    access_key: str = ACCESS_KEY,
    secret: str = SIGNING_KEY,
    *,
    region: str = "us-east-1",
    read_timeout: float = 90,
) -> CognitoIdentityProviderClient:
    """Make a Cognito client for one endpoint."""
    return _SESSION.client(
        "cognito-idp",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        config=_config(read_timeout),
    )


@cache
def sts(url: str, access_key: str = ACCESS_KEY) -> STSClient:
    """Make an STS client for one endpoint."""
    return _SESSION.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=SIGNING_KEY,
        config=_config(90),
    )


@cache
def service_quotas(url: str) -> JsonValue:
    """Make a Service Quotas client for one endpoint; its type stubs are not installed."""
    return _SESSION.client(
        "service-quotas",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SIGNING_KEY,
        config=_config(90),
    )


def set_password(
    client: CognitoIdentityProviderClient,
    username: str = "ann",
    password: str = GOOD,
    *,
    pool: str = POOL,
) -> str:
    """Set a permanent password; return "ok" or the error code, and the HTTP status."""
    try:
        client.admin_set_user_password(UserPoolId=pool, Username=username, Password=password, Permanent=True)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return f"{error.response['Error']['Code']} {status}"
    return "ok"


def refusal(client: CognitoIdentityProviderClient, username: str = "ann", password: str = GOOD) -> str:
    """Set a password that must be refused; return the error's message."""
    with pytest.raises(ClientError) as caught:
        client.admin_set_user_password(UserPoolId=POOL, Username=username, Password=password)
    return caught.value.response["Error"]["Message"]
