"""Forgot-password as a user calls it, and the settings that decide whether a user can recover."""

import re
from collections.abc import Mapping
from typing import Any, Final

from tests.sim.context import Context, Json, text
from tests.sim.errors import ApiError, Code
from tests.sim.pool import User, UserPool

CODE: Final = "123456"  # the code in every message
_UNSENT: Final = "Cannot reset password for the user as there is no registered/verified email or phone_number"


def client_id(pool_id: str) -> str:
    """Return the one app client of a pool: ForgotPassword does not name a pool."""
    return re.sub(r"\W", "", pool_id)


def delivery(pool: UserPool, user: User) -> str | None:
    """Return the medium of a user's recovery code, EMAIL or SMS; None if the pool sends none.

    This is the rule of AccountRecoverySetting in the API's model: a mechanism counts if its attribute is verified,
    unless
    the user has MFA by the same medium. Without the setting, SMS is preferred and MFA does not count.
    """
    settings = pool.settings.extra
    options = (settings.get("AccountRecoverySetting") or {}).get("RecoveryMechanisms")
    verified = {
        medium
        for medium, attribute in (("EMAIL", "email"), ("SMS", "phone_number"))
        if user.attributes.get(attribute) and user.attributes.get(f"{attribute}_verified") == "true"
    }
    if options is None:
        media = ["SMS", "EMAIL"]
        chosen = [medium for medium in media if medium in verified]
    else:
        names = [option["Name"] for option in sorted(options, key=lambda option: int(option["Priority"]))]
        if "admin_only" in names:
            return None
        taken = {"SMS" if factor == "SMS_MFA" else "EMAIL" for factor in user.mfa if factor != "SOFTWARE_TOKEN_MFA"}
        media = [{"verified_email": "EMAIL", "verified_phone_number": "SMS"}[name] for name in names]
        chosen = [medium for medium in media if medium in verified - taken]
    # If SMS is preferred and cannot be sent, the service's behaviour is not documented: assume the stricter one.
    return None if not chosen or (chosen[0] == "SMS" and not settings.get("SmsConfiguration")) else chosen[0]


def forgot_password(context: Context, params: Json) -> Json:
    """Answer ForgotPassword."""
    pool, user = _asked(context, params)
    if user.status == "FORCE_CHANGE_PASSWORD":
        raise ApiError("NotAuthorizedException", "User password cannot be reset in the current state.")
    if not user.enabled:
        raise ApiError("NotAuthorizedException", "User is disabled.")
    medium = delivery(pool, user)
    if medium is None:
        raise ApiError(Code.INVALID_PARAMETER, _UNSENT)
    attribute = "email" if medium == "EMAIL" else "phone_number"
    return {"CodeDeliveryDetails": {"Destination": "***", "DeliveryMedium": medium, "AttributeName": attribute}}


def confirm_forgot_password(context: Context, params: Json) -> Json:
    """Answer ConfirmForgotPassword; every code is CODE."""
    pool, user = _asked(context, params)
    if delivery(pool, user) is None or text(params, "ConfirmationCode") != CODE:
        raise ApiError("CodeMismatchException", "Invalid verification code provided, please try again.")
    pool.set_password(user.username, text(params, "Password"), permanent=True, now=context.now)
    return {}


def _asked(context: Context, params: Json) -> tuple[UserPool, User]:
    client = text(params, "ClientId")
    for pool in context.directory.pools.values():
        if client_id(pool.id) == client:
            return pool, pool.require(text(params, "Username"), context.now)
    raise ApiError(Code.RESOURCE_NOT_FOUND, f"User pool client {client} does not exist.")


def mfa_config(context: Context, params: Json) -> Json:
    """Answer GetUserPoolMfaConfig."""
    settings = context.pool(params).settings
    return {"MfaConfiguration": settings.extra.get("MfaConfiguration", "OFF"), **settings.mfa_config}


def list_replicas(context: Context, params: Json) -> Json:
    """Answer ListUserPoolReplicas."""
    return {"UserPoolReplicas": [dict(one) for one in context.pool(params).settings.replicas]}


def list_recoveries(context: Context, params: Json) -> Json:
    """Answer ListPointInTimeRecoveries, the newest first; with the feature plan Lite there are none."""
    pool = context.pool(params)
    if pool.settings.extra.get("UserPoolTier") == "LITE":
        raise ApiError("FeatureUnavailableInTierException", "This feature is not available in the pool's tier.")
    begun = [one.shown(whole=False) for one in pool.past.restorations] if pool.past else []
    found: list[Mapping[str, Any]] = list(pool.settings.recoveries)
    return {"Restorations": [*begun, *(dict(one) for one in found)]}
