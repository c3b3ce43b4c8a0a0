"""Items that a new password does not remove: devices, sessions, TOTP tokens and passkeys, and their calls."""

from typing import Final

from tests.sim.context import Context, Json, text
from tests.sim.errors import ApiError, Code
from tests.sim.pool import User, UserPool

_MAX_DEVICES: Final = 60


def _asked(context: Context, params: Json) -> tuple[UserPool, User]:
    pool = context.pool(params)
    return pool, pool.require(text(params, "Username"), context.now)


def list_devices(context: Context, params: Json) -> Json:
    """Answer AdminListDevices, in pages. Its model lists no UserNotFoundException."""
    pool = context.pool(params)
    user = pool.find(text(params, "Username"), context.now)
    if user is None:
        raise ApiError(Code.RESOURCE_NOT_FOUND, "User does not exist.")
    _require_devices(pool)
    limit = int(params.get("Limit") or _MAX_DEVICES)
    start = int(params.get("PaginationToken") or 0)
    page = user.devices[start : start + limit]
    more = {"PaginationToken": str(start + limit)} if len(user.devices) > start + limit else {}
    return {"Devices": [{"DeviceKey": key, "DeviceCreateDate": user.created} for key in page], **more}


def forget_device(context: Context, params: Json) -> Json:
    """Answer AdminForgetDevice; a removed device is not found."""
    pool, user = _asked(context, params)
    _require_devices(pool)
    key = text(params, "DeviceKey")
    if key not in user.devices:
        raise ApiError(Code.RESOURCE_NOT_FOUND, "Device does not exist.")
    pool.keep(user)
    user.devices = tuple(device for device in user.devices if device != key)
    return {}


def _require_devices(pool: UserPool) -> None:
    if pool.settings.extra.get("DeviceConfiguration") is None:
        raise ApiError("InvalidUserPoolConfigurationException", "Device tracking is not enabled for this pool.")


def delete_software_token(context: Context, params: Json) -> Json:
    """Answer AdminDeleteSoftwareToken; a user without one is not found."""
    pool, user = _asked(context, params)
    if "SOFTWARE_TOKEN_MFA" not in user.mfa:
        raise ApiError(Code.RESOURCE_NOT_FOUND, "Software token MFA is not registered.")
    pool.keep(user)
    user.mfa = tuple(factor for factor in user.mfa if factor != "SOFTWARE_TOKEN_MFA")
    return {}


def list_sessions(context: Context, params: Json) -> Json:
    """Answer AdminListUserSessions: one page."""
    pool, user = _asked(context, params)
    _require_sessions(pool)
    return {
        "Sessions": [
            {"SessionId": one, "SessionType": "SSO" if one.startswith("sso") else "TOKEN", "CreateDate": user.created}
            for one in user.sessions
        ]
    }


def revoke_session(context: Context, params: Json) -> Json:
    """Answer AdminRevokeUserSession; with LINKED, also the sessions whose ids have the same ending."""
    pool, user = _asked(context, params)
    _require_sessions(pool)
    one, linked = text(params, "SessionId"), params.get("RevokeAssociatedSessions", "NONE") == "LINKED"
    if one not in user.sessions:
        raise ApiError(Code.RESOURCE_NOT_FOUND, "Session does not exist.")
    pool.keep(user)
    user.sessions = tuple(other for other in user.sessions if other != one and not (linked and other[3:] == one[3:]))
    return {}


def _require_sessions(pool: UserPool) -> None:
    if not pool.settings.session_tracking:
        raise ApiError(Code.INVALID_PARAMETER, "Session tracking is not enabled for this user pool.")


def session_configuration(context: Context, params: Json) -> Json:
    """Answer GetUserPoolSessionConfiguration."""
    pool = context.pool(params)
    tracking = "ENABLED" if pool.settings.session_tracking else "DISABLED"
    return {"UserPoolId": pool.id, "UserSessionTracking": tracking, "TokenSession": {"MaxPerUser": 20}}


def auth_factors(context: Context, params: Json) -> Json:
    """Answer AdminGetUserAuthFactors."""
    _, user = _asked(context, params)
    factors = ["PASSWORD"] * (user.password is not None) + ["WEB_AUTHN"] * (user.passkeys > 0)
    return {
        "Username": user.username,
        "UserMFASettingList": list(user.mfa),
        "ConfiguredUserAuthFactors": factors,
    }
