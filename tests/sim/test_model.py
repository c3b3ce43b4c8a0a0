"""The simulator and the program's requests, compared with the API's own model: no unknown field."""

import json
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from tests.sim.clients import GOOD, POOL, cognito
from tests.sim.handle import Simulator
from tests.sim.model import answer_faults, error_faults, operation_model, request_faults
from tests.sim.operations import OPERATIONS
from tests.sim.recovery import CODE, client_id

SMS = {"SnsCallerArn": "arn:aws:iam::123456789012:role/sms"}
SESSIONS = [kind + "0123456789abcdefghijklmn" + end for kind in ("tkn", "sso") for end in "ab"]
DEVICES = [f"us-east-1_{number:08x}-0000-4000-8000-000000000000" for number in range(3)]
RICH: dict[str, Any] = {
    "extra": {
        "AccountRecoverySetting": {
            "RecoveryMechanisms": [
                {"Priority": 1, "Name": "verified_email"},
                {"Priority": 2, "Name": "verified_phone_number"},
            ]
        },
        "EmailConfiguration": {"EmailSendingAccount": "COGNITO_DEFAULT"},
        "SmsConfiguration": SMS,
        "SmsConfigurationFailure": "SNSSandbox",
        "UserPoolTier": "PLUS",
        "MfaConfiguration": "OPTIONAL",
        "DeviceConfiguration": {"ChallengeRequiredOnNewDevice": True},
    },
    "mfa_config": {
        "SmsMfaConfiguration": {"SmsConfiguration": SMS},
        "SoftwareTokenMfaConfiguration": {"Enabled": True},
        "EmailMfaConfiguration": {"Message": "{####}", "Subject": "Code"},
        "WebAuthnConfiguration": {"FactorConfiguration": "MULTI_FACTOR_WITH_USER_VERIFICATION"},
    },
    "replicas": [
        {"RegionName": "us-east-1", "Role": "PRIMARY", "Status": "ACTIVE"},
        {"RegionName": "us-west-2", "Role": "SECONDARY", "Status": "CREATING"},
    ],
    "recoveries": [
        {"RestoreId": "00000000-0000-4000-8000-000000000000", "RestoreStatus": "RESTORING", "RestoreTimestamp": 1.0}
    ],
    "point_in_time": {"polls": 0},
    "session_tracking": True,
    "groups": {"staff": ["ann"]},
}
ANN: dict[str, Any] = {
    "username": "ann",
    "password": GOOD,
    "attributes": {"email": "a@x.example", "email_verified": "true"},
    "mfa": ["SOFTWARE_TOKEN_MFA"],
    "legacy_mfa": True,
    "devices": DEVICES,
    "sessions": SESSIONS,
    "passkeys": 1,
}


@pytest.fixture
def rich(sim: Simulator) -> Simulator:
    """A pool and a user with everything, in a simulator that checks itself against the model."""
    sim.add_pool(POOL, [ANN], **RICH)
    sim.configure(check_model=True, provisioned_limits={"UserAccountRecovery": 30}, service_quotas={"L-7D6E8ED3": 30})
    return sim


def quotas(url: str) -> Any:  # noqa: ANN401  (a boto3 client)
    return boto3.Session(aws_access_key_id="AKID", aws_secret_access_key="x").client(
        "service-quotas", region_name="us-east-1", endpoint_url=url
    )


USER = {"UserPoolId": POOL, "Username": "ann"}
APP = {"ClientId": client_id(POOL), "Username": "ann"}
LIMIT = {"LimitClass": "API_CATEGORY", "Attributes": {"Category": "UserAccountRecovery"}}
POINT = {"UserPoolId": POOL, "RestoreTimestamp": time.time() - 3600}
RECOVERY = {"UserPoolId": POOL, "RestoreId": "00000000-0000-0000-0000-000000000001"}  # the first recovery
BEFORE = {  # calls that finish a recovery, so that another one can be made
    "DescribePointInTimeRecovery": ("InitiatePointInTimeRecovery",),
    "StartPointInTimeRecovery": ("InitiatePointInTimeRecovery", "DescribePointInTimeRecovery"),
    "CancelPointInTimeRecovery": ("InitiatePointInTimeRecovery",),
}
QUOTA = {"ServiceCode": "cognito-idp", "QuotaCode": "L-7D6E8ED3"}
CALLS: dict[str, dict[str, Any]] = {
    "AdminSetUserPassword": USER | {"Password": GOOD + "x", "Permanent": True},
    "AdminUserGlobalSignOut": USER,
    "DescribeUserPool": {"UserPoolId": POOL},
    "ListUsers": {"UserPoolId": POOL, "Limit": 60, "Filter": 'username = "ann"'},
    "ListUsersInGroup": {"UserPoolId": POOL, "GroupName": "staff"},
    "AdminGetUser": USER,
    "AdminGetUserAuthFactors": USER,
    "AdminListDevices": USER | {"Limit": 2},
    "AdminForgetDevice": USER | {"DeviceKey": DEVICES[0]},
    "AdminDeleteSoftwareToken": USER,
    "AdminListUserSessions": USER,
    "AdminRevokeUserSession": USER | {"SessionId": SESSIONS[0], "RevokeAssociatedSessions": "LINKED"},
    "ForgotPassword": APP,
    "ConfirmForgotPassword": APP | {"ConfirmationCode": CODE, "Password": GOOD + "y"},
    "GetUserPoolMfaConfig": {"UserPoolId": POOL},
    "GetUserPoolSessionConfiguration": {"UserPoolId": POOL},
    "ListUserPoolReplicas": {"UserPoolId": POOL},
    "ListPointInTimeRecoveries": {"UserPoolId": POOL, "MaxResults": 60},
    "InitiatePointInTimeRecovery": POINT,
    "DescribePointInTimeRecovery": RECOVERY,
    "StartPointInTimeRecovery": RECOVERY,
    "CancelPointInTimeRecovery": RECOVERY,
    "GetProvisionedLimit": {"LimitDefinition": LIMIT},
    "GetServiceQuota": QUOTA,
    "GetAWSDefaultServiceQuota": QUOTA,
}


def caller(sim: Simulator, operation: str) -> Callable[..., dict[str, Any]]:
    """Return the call of a client that validates its requests."""
    client: Any = quotas(sim.url) if "Quota" in operation else cognito(sim.url)
    method = next(name for name, known in client.meta.method_to_api_mapping.items() if known == operation)
    call: Callable[..., dict[str, Any]] = getattr(client, method)
    return call


def test_every_operation_is_called_here() -> None:
    assert CALLS.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("operation", CALLS)
def test_answer_is_of_the_models_shape(rich: Simulator, operation: str) -> None:
    for first in BEFORE.get(operation, ()):
        caller(rich, first)(**CALLS[first])
    answer = caller(rich, operation)(**CALLS[operation])
    assert rich.model_faults() == []
    # botocore drops what its model does not know: check that everything that was sent arrives.
    shape = operation_model(operation)
    assert shape is not None
    members = shape.output_shape.members.keys() if shape.output_shape else ()
    assert set(answer) - {"ResponseMetadata"} <= set(members)
    assert [call.operation for call in rich.calls()][-1] == operation


@pytest.mark.parametrize("operation", [name for name, params in CALLS.items() if "Username" in params])
def test_refusal_of_a_user_who_is_not_there_is_one_of_the_models(rich: Simulator, operation: str) -> None:
    with pytest.raises(ClientError):
        caller(rich, operation)(**CALLS[operation] | {"Username": "nobody"})
    assert rich.model_faults() == []


@pytest.mark.parametrize("operation", [name for name, params in CALLS.items() if "UserPoolId" in params])
def test_refusal_of_a_pool_that_is_not_there_is_one_of_the_models(rich: Simulator, operation: str) -> None:
    with pytest.raises(ClientError):
        caller(rich, operation)(**CALLS[operation] | {"UserPoolId": "us-east-1_Missing01"})
    assert rich.model_faults() == []


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("AdminForgetDevice", USER | {"DeviceKey": "us-east-1_dead"}),
        ("AdminRevokeUserSession", USER | {"SessionId": "sso" + "z" * 25}),
        ("AdminDeleteSoftwareToken", USER | {"Username": "bare"}),
        ("ForgotPassword", APP | {"Username": "bare"}),
        ("ConfirmForgotPassword", APP | {"ConfirmationCode": "0", "Password": GOOD}),
    ],
)
def test_refusal_for_missing_items_is_in_the_model(rich: Simulator, operation: str, params: dict[str, str]) -> None:
    rich.configure(users={POOL: ["bare"]})
    with pytest.raises(ClientError):
        caller(rich, operation)(**params)
    assert rich.model_faults() == []


@pytest.mark.parametrize(
    "operation", ["AdminListDevices", "AdminForgetDevice", "AdminListUserSessions", "AdminRevokeUserSession"]
)
def test_refusal_of_a_feature_that_is_off_is_one_of_the_models(sim: Simulator, operation: str) -> None:
    sim.add_pool(POOL, [ANN])
    sim.configure(check_model=True)
    with pytest.raises(ClientError):
        caller(sim, operation)(**CALLS[operation])
    assert sim.model_faults() == []


def test_recoveries_of_plan_lite_are_refused_as_the_model_has_it(sim: Simulator) -> None:
    sim.add_pool(POOL, extra={"UserPoolTier": "LITE"})
    sim.configure(check_model=True)
    with pytest.raises(ClientError, match="FeatureUnavailableInTier"):
        caller(sim, "ListPointInTimeRecoveries")(UserPoolId=POOL)
    assert sim.model_faults() == []


@pytest.mark.parametrize("operation", ["AdminSetUserPassword", "AdminUserGlobalSignOut", "InitiatePointInTimeRecovery"])
def test_refusal_during_a_recovery_is_one_of_the_models(rich: Simulator, operation: str) -> None:
    caller(rich, "InitiatePointInTimeRecovery")(**POINT)
    with pytest.raises(ClientError, match="recovery"):
        caller(rich, operation)(**CALLS[operation])
    assert rich.model_faults() == []


def test_recovery_that_is_under_way_is_listed_first(rich: Simulator) -> None:
    begun = caller(rich, "InitiatePointInTimeRecovery")(**POINT)["Restoration"]
    listed = caller(rich, "ListPointInTimeRecoveries")(**CALLS["ListPointInTimeRecoveries"])["Restorations"]
    assert [one["RestoreId"] for one in listed] == [begun["RestoreId"], RICH["recoveries"][0]["RestoreId"]]


def test_devices_are_paged_and_forgotten_and_sessions_revoked_with_their_links(rich: Simulator) -> None:
    client = cognito(rich.url)
    page = client.admin_list_devices(**USER, Limit=2)
    rest = client.admin_list_devices(**USER, Limit=2, PaginationToken=page["PaginationToken"])
    assert [one["DeviceKey"] for one in (*page["Devices"], *rest["Devices"])] == DEVICES
    assert "PaginationToken" not in rest
    client.admin_forget_device(**USER, DeviceKey=DEVICES[1])
    caller(rich, "AdminRevokeUserSession")(**USER, SessionId=SESSIONS[0], RevokeAssociatedSessions="LINKED")
    client.admin_delete_software_token(**USER)
    ann = rich.users(POOL)["ann"]
    assert ann["devices"] == [DEVICES[0], DEVICES[2]]
    assert ann["sessions"] == [SESSIONS[1], SESSIONS[3]]
    assert ann["mfa"] == []
    caller(rich, "AdminRevokeUserSession")(**USER, SessionId=SESSIONS[1])
    assert rich.users(POOL)["ann"]["sessions"] == [SESSIONS[3]]


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        (USER | {"Password": GOOD, "permanent": True}, "permanent"),
        ({"UserPoolID": POOL, "Username": "ann", "Password": GOOD}, "UserPoolId"),
        (USER | {"Password": 7}, "Password"),
        (USER | {"Password": "x" * 257}, "longer than 256"),
    ],
    ids=["name", "missing", "type", "length"],
)
def test_request_that_the_model_does_not_have_is_found(params: dict[str, Any], fault: str) -> None:
    (found,) = request_faults("AdminSetUserPassword", params)
    assert fault in found


def test_bytes_on_the_wire_are_compared(rich: Simulator) -> None:
    body = json.dumps({"UserPoolId": POOL, "username": "ann"})
    headers = {"X-Amz-Target": "AWSCognitoIdentityProviderService.AdminGetUser"}
    URLLib3Session().send(AWSRequest("POST", rich.url, headers, body).prepare())
    assert ['Unknown parameter in input: "username"' in fault for fault in rich.model_faults()] == [True]


@pytest.mark.parametrize(
    ("operation", "answer", "fault"),
    [
        ("DescribeUserPool", {"UserPool": {"AccountRecoverySettings": {}}}, "AccountRecoverySettings"),
        ("DescribeUserPool", {"UserPool": {"UserPoolTier": "Lite"}}, "UserPoolTier is none of its enum"),
        ("ListUserPoolReplicas", {"Replicas": []}, "Replicas"),
        ("ListUserPoolReplicas", {"UserPoolReplicas": [{"Role": "MAIN"}]}, "Role is none of its enum"),
        ("ListPointInTimeRecoveries", {"Restorations": {}}, "Restorations"),
        ("AdminForgetDevice", {"Done": True}, "Done"),
        ("AdminListUserSessions", {"Sessions": [{}] * 126}, "has 126 of 125"),
        ("NoSuchCall", {}, "no such operation"),
    ],
)
def test_answer_that_the_model_does_not_have_is_found(operation: str, answer: dict[str, Any], fault: str) -> None:
    (found,) = answer_faults(operation, answer)
    assert fault in found


def test_refusal_that_the_model_does_not_list_is_found() -> None:
    assert error_faults("AdminListDevices", "UserNotFoundException")
    assert error_faults("AdminListDevices", "ResourceNotFoundException") == []
    assert error_faults("AdminListDevices", "TooManyRequestsException") == []
