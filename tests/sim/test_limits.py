"""Facts about a pool and an account; and every operation can fail and be throttled."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sim import Simulator
from tests.sim.clients import POOL, cognito, service_quotas

CATEGORY = {"LimitClass": "API_CATEGORY", "Attributes": {"Category": "UserAccountRecovery"}}
QUOTA = {"ServiceCode": "cognito-idp", "QuotaCode": "L-7D6E8ED3"}

# Each operation except AdminSetUserPassword, which has its own tests.
OPERATIONS: dict[str, Callable[[str], Any]] = {
    "AdminGetUser": lambda url: cognito(url).admin_get_user(UserPoolId=POOL, Username="ann"),
    "AdminUserGlobalSignOut": lambda url: cognito(url).admin_user_global_sign_out(UserPoolId=POOL, Username="ann"),
    "DescribeUserPool": lambda url: cognito(url).describe_user_pool(UserPoolId=POOL),
    "GetAWSDefaultServiceQuota": lambda url: service_quotas(url).get_aws_default_service_quota(**QUOTA),
    "GetProvisionedLimit": lambda url: provisioned(url, CATEGORY),
    "GetServiceQuota": lambda url: service_quotas(url).get_service_quota(**QUOTA),
    "ListUsers": lambda url: cognito(url).list_users(UserPoolId=POOL),
    "ListUsersInGroup": lambda url: cognito(url).list_users_in_group(UserPoolId=POOL, GroupName="all"),
}


def provisioned(url: str, definition: dict[str, Any]) -> Any:  # noqa: ANN401
    """Ask for a provisioned limit, which the installed type stubs may not know."""
    client: Any = cognito(url)
    return client.get_provisioned_limit(LimitDefinition=definition)["Limit"]


def refused(call: Callable[[], Any]) -> tuple[str, int]:
    """Make a call that must be refused; return its code and HTTP status."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def ready(sim: Simulator) -> Simulator:
    """A simulator that can answer every operation."""
    sim.add_pool(POOL, ["ann"], groups={"all": ["ann"]})
    sim.configure(provisioned_limits={"UserAccountRecovery": 80}, service_quotas={"L-7D6E8ED3": 50.0})
    return sim


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_can_fail_by_name(ready: Simulator, operation: str) -> None:
    call = OPERATIONS[operation]
    rule = {"operation": operation, "error": "AccessDeniedException", "until_call": 1}
    ready.configure(faults={"every": rule, "scripts": {operation: {"*": [{"error": "InternalErrorException"}]}}})
    assert refused(lambda: call(ready.url)) == ("AccessDeniedException", 400)
    # Then the script: the user's, if it has one, otherwise that of all.
    assert refused(lambda: call(ready.url)) == ("InternalErrorException", 500)
    call(ready.url)
    assert [call.answer for call in ready.calls(operation)] == ["AccessDeniedException", "InternalErrorException", "ok"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_quota_of_its_own(ready: Simulator, operation: str) -> None:
    ready.configure(quota={"operation": operation, "rate": 0, "bucket": 2})
    for call in OPERATIONS.values():
        for _ in range(2):
            call(ready.url)
    assert refused(lambda: OPERATIONS[operation](ready.url)) == ("TooManyRequestsException", 400)
    stats = ready.stats()
    assert stats.max_per_second.keys() == OPERATIONS.keys()
    assert 1 <= stats.max_per_second[operation] <= 3
    assert stats.operations[operation] == {"ok": 2, "TooManyRequestsException": 1}


def test_list_users_is_throttled_by_account_and_region(sim: Simulator) -> None:
    pool = "eu-west-1_Simulated"
    sim.configure(accounts={"AKIDOTHER": "210987654321"}, quota={"operation": "ListUsers", "rate": 0, "bucket": 1})
    sim.add_pool(pool, ["ann"])
    here, account = cognito(sim.url), cognito(sim.url, "AKIDOTHER")
    region = cognito(sim.url, region="eu-west-1")
    for client, id_ in ((here, POOL), (account, POOL), (region, pool)):
        client.list_users(UserPoolId=id_)
        assert refused(partial(client.list_users, UserPoolId=id_)) == ("TooManyRequestsException", 400)


def test_pool_has_its_creation_settings(sim: Simulator) -> None:
    sim.add_pool(POOL, ["ann"], name="people", username_attributes=["email"], case_sensitive=False, history=4)
    pool = cognito(sim.url).describe_user_pool(UserPoolId=POOL)["UserPool"]
    assert (pool["Id"], pool["Name"], pool["EstimatedNumberOfUsers"]) == (POOL, "people", 1)
    assert pool["Policies"]["PasswordPolicy"]["PasswordHistorySize"] == 4
    assert pool["Policies"]["SignInPolicy"] == {"AllowedFirstAuthFactors": ["PASSWORD"]}
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}
    assert (pool["UsernameAttributes"], pool["UserPoolTags"]) == (["email"], {})
    assert not {"AliasAttributes", "AccountRecoverySetting"} & pool.keys()


def test_pool_of_other_kinds(sim: Simulator) -> None:
    client = cognito(sim.url)
    sim.add_pool(
        POOL,
        username_configuration=False,
        first_auth_factors=["EMAIL_OTP"],
        alias_attributes=["email", "preferred_username"],
        estimated_users=12_345,
        extra={"UserPoolTier": "PLUS"},
    )
    pool = client.describe_user_pool(UserPoolId=POOL)["UserPool"]
    assert not {"UsernameConfiguration", "UsernameAttributes"} & pool.keys()
    assert pool["Policies"]["SignInPolicy"] == {"AllowedFirstAuthFactors": ["EMAIL_OTP"]}
    assert (pool["AliasAttributes"], pool["UserPoolTier"]) == (["email", "preferred_username"], "PLUS")
    assert pool["EstimatedNumberOfUsers"] == 12_345
    sim.add_pool(POOL, first_auth_factors=None)
    assert "SignInPolicy" not in client.describe_user_pool(UserPoolId=POOL)["UserPool"]["Policies"]


def test_provisioned_limit_is_the_configured_value(sim: Simulator) -> None:
    unknown = ("ResourceNotFoundException", 400)
    assert refused(lambda: provisioned(sim.url, CATEGORY)) == unknown
    sim.configure(provisioned_limits={"UserAccountRecovery": 80})
    limit = {"LimitDefinition": CATEGORY, "ProvisionedLimitValue": 80, "FreeLimitValue": 30}
    assert provisioned(sim.url, CATEGORY) == limit
    assert refused(lambda: provisioned(sim.url, CATEGORY | {"Attributes": {"Category": "UserToken"}})) == unknown
    sim.configure(provisioned_limits={"UserAccountRecovery": None})
    assert refused(lambda: provisioned(sim.url, CATEGORY)) == unknown


@pytest.mark.parametrize("wrong", [{"LimitClass": "RESOURCE"}, {"Attributes": {"category": "UserAccountRecovery"}}])
def test_missing_provisioned_limit(ready: Simulator, wrong: dict[str, Any]) -> None:
    assert refused(lambda: provisioned(ready.url, CATEGORY | wrong)) == ("InvalidParameterException", 400)


def test_service_quotas_answer_applied_values_and_defaults(sim: Simulator) -> None:
    client = service_quotas(sim.url)
    assert refused(lambda: client.get_service_quota(**QUOTA)) == ("NoSuchResourceException", 400)
    sim.configure(service_quotas={"L-7D6E8ED3": 50.0})
    assert client.get_service_quota(**QUOTA)["Quota"]["Value"] == 50
    assert client.get_aws_default_service_quota(**QUOTA)["Quota"]["Value"] == 30
