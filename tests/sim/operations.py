"""The operations: from a request's JSON to the pool, and to the answer's JSON."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.sim import point_in_time
from tests.sim.context import Context, Json, text
from tests.sim.errors import ApiError, Code
from tests.sim.limits import applied_quota, default_quota, provisioned_limit
from tests.sim.listing import list_users, users_in_group
from tests.sim.past import require_writable
from tests.sim.recovery import confirm_forgot_password, forgot_password, list_recoveries, list_replicas, mfa_config
from tests.sim.traces import (
    auth_factors,
    delete_software_token,
    forget_device,
    list_devices,
    list_sessions,
    revoke_session,
    session_configuration,
)


def _set_password(context: Context, params: Json) -> Json:
    pool = context.pool(params)
    require_writable(pool.past)
    permanent = params.get("Permanent", False)
    if not isinstance(permanent, bool):
        message = "Permanent can not be converted to a Boolean"
        raise ApiError(Code.SERIALIZATION, message)
    username, password = text(params, "Username"), text(params, "Password")
    pool.set_password(username, password, permanent=permanent, now=context.now)
    return {}


def _sign_out(context: Context, params: Json) -> Json:
    pool = context.pool(params)
    require_writable(pool.past)
    pool.sign_out(text(params, "Username"), context.now)
    return {}


def _describe(context: Context, params: Json) -> Json:
    pool = context.pool(params)
    settings = pool.settings
    arn = f"arn:aws:cognito-idp:{context.region}:{context.account}:userpool/{pool.id}"
    policies: Json = {"PasswordPolicy": settings.policy.to_api()}
    if settings.first_auth_factors:
        policies["SignInPolicy"] = {"AllowedFirstAuthFactors": list(settings.first_auth_factors)}
    users = pool.size if settings.estimated_users is None else settings.estimated_users
    described: Json = {
        "Id": pool.id,
        "Name": settings.name or pool.id,
        "Arn": arn,
        "Policies": policies,
        "EstimatedNumberOfUsers": users,
        "MfaConfiguration": "OFF",
        "UserPoolTags": {},
    }
    # The answer leaves out what the pool was created without.
    if settings.username_configuration:
        described["UsernameConfiguration"] = {"CaseSensitive": settings.case_sensitive}
    if settings.alias_attributes:
        described["AliasAttributes"] = list(settings.alias_attributes)
    if settings.username_attributes:
        described["UsernameAttributes"] = list(settings.username_attributes)
    return {"UserPool": {**described, **settings.extra}}


def _get_user(context: Context, params: Json) -> Json:
    user = context.pool(params).require(text(params, "Username"), context.now)
    return user.shown("UserAttributes")


OPERATIONS: Final[Mapping[str, Callable[[Context, Json], Json]]] = {
    "AdminSetUserPassword": _set_password,
    "AdminUserGlobalSignOut": _sign_out,
    "DescribeUserPool": _describe,
    "ListUsers": list_users,
    "ListUsersInGroup": users_in_group,
    "AdminGetUser": _get_user,
    "InitiatePointInTimeRecovery": point_in_time.initiate,
    "DescribePointInTimeRecovery": point_in_time.describe,
    "StartPointInTimeRecovery": point_in_time.start,
    "CancelPointInTimeRecovery": point_in_time.cancel,
    "AdminGetUserAuthFactors": auth_factors,
    "AdminListDevices": list_devices,
    "AdminForgetDevice": forget_device,
    "AdminDeleteSoftwareToken": delete_software_token,
    "AdminListUserSessions": list_sessions,
    "AdminRevokeUserSession": revoke_session,
    "ForgotPassword": forgot_password,
    "ConfirmForgotPassword": confirm_forgot_password,
    "GetUserPoolMfaConfig": mfa_config,
    "GetUserPoolSessionConfiguration": session_configuration,
    "ListUserPoolReplicas": list_replicas,
    "ListPointInTimeRecoveries": list_recoveries,
    "GetProvisionedLimit": provisioned_limit,
    "GetServiceQuota": applied_quota,
    "GetAWSDefaultServiceQuota": default_quota,
}
# Operations that change a user: only they can be applied.
WRITES: Final = frozenset(
    {
        "AdminSetUserPassword",
        "AdminUserGlobalSignOut",
        "AdminForgetDevice",
        "AdminDeleteSoftwareToken",
        "AdminRevokeUserSession",
        "ConfirmForgotPassword",
    }
)
