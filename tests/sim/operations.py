"""The operations: from a request's JSON to the pool, and to the answer's JSON."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.sim.errors import ApiError, Code, invalid
from tests.sim.pool import Directory, User, UserPool

Json = dict[str, Any]

_MAX_PAGE: Final = 60
_FILTER: Final = re.compile(r'\s*"?([\w:]+)"?\s*(\^?=)\s*"((?:[^"\\]|\\.)*)"\s*')
# Requests per second by quota code: UserAccountRecovery, UserUpdate, UserList.
_DEFAULT_QUOTAS: Final = {"L-7D6E8ED3": 30.0, "L-6621E65D": 25.0, "L-259E3368": 30.0}
_SEARCHABLE: Final = frozenset(
    {
        "cognito:user_status",
        "email",
        "family_name",
        "given_name",
        "name",
        "phone_number",
        "preferred_username",
        "status",
        "sub",
        "username",
    }
)


@dataclass(frozen=True, slots=True)
class Context:
    """What an operation is carried out with: the caller, and wall-clock seconds."""

    directory: Directory
    account: str
    region: str
    now: float
    service_quotas: Mapping[str, float]

    def pool(self, params: Json) -> UserPool:
        """Find the pool that the parameters name, for this caller."""
        pool_id = text(params, "UserPoolId")
        return self.directory.require(pool_id, self.account, self.region)


def text(params: Json, name: str) -> str:
    """Read a required string parameter, or raise as the service does."""
    value = params.get(name)
    if value is None:
        raise invalid(member=name[0].lower() + name[1:], constraint="Member must not be null")
    if not isinstance(value, str):
        message = f"{name} can not be converted to a String"
        raise ApiError(Code.SERIALIZATION, message)
    return value


def _set_password(context: Context, params: Json) -> Json:
    pool = context.pool(params)
    permanent = params.get("Permanent", False)
    if not isinstance(permanent, bool):
        message = "Permanent can not be converted to a Boolean"
        raise ApiError(Code.SERIALIZATION, message)
    username, password = text(params, "Username"), text(params, "Password")
    pool.set_password(username, password, permanent=permanent, now=context.now)
    return {}


def _sign_out(context: Context, params: Json) -> Json:
    context.pool(params).sign_out(text(params, "Username"), context.now)
    return {}


def _describe(context: Context, params: Json) -> Json:
    pool = context.pool(params)
    settings = pool.settings
    arn = f"arn:aws:cognito-idp:{context.region}:{context.account}:userpool/{pool.id}"
    described = {
        "Id": pool.id,
        "Name": settings.name or pool.id,
        "Arn": arn,
        "Policies": {"PasswordPolicy": settings.policy.to_api()},
        "EstimatedNumberOfUsers": len(pool.users),
        "UsernameConfiguration": {"CaseSensitive": settings.case_sensitive},
        "AliasAttributes": list(settings.alias_attributes),
        "MfaConfiguration": "OFF",
    }
    return {"UserPool": {**described, **settings.extra}}


def _user(user: User, attributes_key: str) -> Json:
    attributes = {"sub": user.sub, **user.attributes}
    return {
        "Username": user.username,
        attributes_key: [{"Name": k, "Value": v} for k, v in attributes.items()],
        "UserCreateDate": user.created,
        "UserLastModifiedDate": user.modified,
        "Enabled": user.enabled,
        "UserStatus": user.status,
    }


def _get_user(context: Context, params: Json) -> Json:
    user = context.pool(params).require(text(params, "Username"), context.now)
    return _user(user, "UserAttributes")


def _value(user: User, attribute: str) -> str:
    own = {
        "username": user.username,
        "sub": user.sub,
        "cognito:user_status": user.status,
        "status": "Enabled" if user.enabled else "Disabled",
    }
    return own.get(attribute) or user.attributes.get(attribute, "")


def _matching(pool: UserPool, expression: str, now: float) -> list[str]:
    found = _FILTER.fullmatch(expression)
    if found is None or found[1] not in _SEARCHABLE:
        raise ApiError(Code.INVALID_PARAMETER, "Error while parsing filter.")
    attribute, operator = found[1], found[2]
    wanted = re.sub(r"\\(.)", r"\1", found[3])
    if attribute == "username" and operator == "=":
        # By key: a lookup of many usernames must not scan the pool for each.
        user = pool.find(wanted, now)
        name = wanted if pool.settings.case_sensitive else wanted.lower()
        return [name] if user and user is pool.users.get(name) else []
    values = ((name, _value(pool.users[name], attribute)) for name in pool.names)
    if operator == "=":
        return [name for name, value in values if value == wanted]
    return [name for name, value in values if value.startswith(wanted)]


def _start(params: Json, pool: UserPool) -> int:
    token = params.get("PaginationToken")
    if token is None:
        return 0
    try:
        start, pool_id, expression = json.loads(base64.b64decode(token))
    except (ValueError, TypeError, binascii.Error):
        pool_id = expression = start = None
    # The service ties a token to its query: every page must repeat the same filter.
    if pool_id != pool.id or expression != params.get("Filter", ""):
        message = "Invalid pagination token for given filter."
        raise ApiError(Code.INVALID_PARAMETER, message)
    return int(start or 0)


def _list_users(context: Context, params: Json) -> Json:
    pool = context.pool(params)
    limit = params.get("Limit", _MAX_PAGE)
    if not 0 <= limit <= _MAX_PAGE:
        constraint = f"Member must have value less than or equal to {_MAX_PAGE}"
        raise invalid(member="limit", constraint=constraint)
    limit = limit or _MAX_PAGE
    expression = params.get("Filter", "")
    start = _start(params, pool)
    names = _matching(pool, expression, context.now) if expression else pool.names
    users = [pool.users[name] for name in names[start : start + limit]]
    answer: Json = {"Users": [_user(user, "Attributes") for user in users]}
    if start + limit < len(names):
        token = json.dumps([start + limit, pool.id, expression])
        answer["PaginationToken"] = base64.b64encode(token.encode()).decode()
    return answer


def _users_in_group(context: Context, params: Json) -> Json:
    pool = context.pool(params)
    group = text(params, "GroupName")
    groups: Mapping[str, Iterable[str]] = pool.settings.groups
    if group not in groups:
        raise ApiError(Code.RESOURCE_NOT_FOUND, "Group not found.")
    users = [pool.require(name, context.now) for name in groups[group]]
    return {"Users": [_user(user, "Attributes") for user in users]}


def _applied_quota(context: Context, params: Json) -> Json:
    return _quota(context.service_quotas, params)


def _default_quota(context: Context, params: Json) -> Json:
    del context
    return _quota(_DEFAULT_QUOTAS, params)


def _quota(values: Mapping[str, float], params: Json) -> Json:
    code = text(params, "QuotaCode")
    if code not in values:
        raise ApiError(Code.NO_SUCH_RESOURCE, "The request failed: no such quota.")
    quota = {"ServiceCode": text(params, "ServiceCode"), "QuotaCode": code}
    return {"Quota": quota | {"Value": values[code], "Unit": "None"}}


OPERATIONS: Final[Mapping[str, Callable[[Context, Json], Json]]] = {
    "AdminSetUserPassword": _set_password,
    "AdminUserGlobalSignOut": _sign_out,
    "DescribeUserPool": _describe,
    "ListUsers": _list_users,
    "ListUsersInGroup": _users_in_group,
    "AdminGetUser": _get_user,
    "ServiceQuotasV20190624.GetServiceQuota": _applied_quota,
    "ServiceQuotasV20190624.GetAWSDefaultServiceQuota": _default_quota,
}
# Those that change a user: only they can be said to be applied.
WRITES: Final = frozenset({"AdminSetUserPassword", "AdminUserGlobalSignOut"})
