"""The call rates of an account: Cognito's provisioned limits, and Service Quotas."""

from collections.abc import Mapping
from typing import Final

from tests.sim.context import Context, Json, missing, text
from tests.sim.errors import ApiError, Code, invalid

_CLASS: Final = "API_CATEGORY"
_CATEGORY: Final = "Category"
# Requests per second by quota code: UserAccountRecovery, UserUpdate, UserList.
_DEFAULT_QUOTAS: Final = {"L-7D6E8ED3": 30.0, "L-6621E65D": 25.0, "L-259E3368": 30.0}
# The same by category.
_FREE: Final = {"UserAccountRecovery": 30, "UserUpdate": 25, "UserList": 30}


def applied_quota(context: Context, params: Json) -> Json:
    """Answer GetServiceQuota: only values that a test has set are applied ones."""
    return _quota(context.settings.service_quotas, params)


def default_quota(context: Context, params: Json) -> Json:
    """Answer GetAWSDefaultServiceQuota."""
    del context
    return _quota(_DEFAULT_QUOTAS, params)


def _quota(values: Mapping[str, float], params: Json) -> Json:
    code = text(params, "QuotaCode")
    if code not in values:
        raise ApiError(Code.NO_SUCH_RESOURCE, "The request failed: no such quota.")
    quota = {"ServiceCode": text(params, "ServiceCode"), "QuotaCode": code}
    return {"Quota": quota | {"Value": values[code], "Unit": "None"}}


def provisioned_limit(context: Context, params: Json) -> Json:
    """Answer GetProvisionedLimit for a category whose limit a test has set."""
    definition = params.get("LimitDefinition")
    if definition is None:
        raise missing("LimitDefinition")
    if text(definition, "LimitClass") != _CLASS:
        constraint = f"Member must satisfy enum value set: [{_CLASS}]"
        raise invalid(member="limitDefinition.limitClass", constraint=constraint)
    if definition.get("Attributes") is None:
        raise missing("Attributes")
    category = definition["Attributes"].get(_CATEGORY)
    if category is None:
        raise ApiError(Code.INVALID_PARAMETER, f"{_CATEGORY} is required for {_CLASS}.")
    value = context.settings.provisioned_limits.get(category)
    if value is None:
        raise ApiError(Code.RESOURCE_NOT_FOUND, "Limit not found.")
    limit = {"LimitDefinition": {"LimitClass": _CLASS, "Attributes": {_CATEGORY: category}}}
    return {"Limit": limit | {"ProvisionedLimitValue": value, "FreeLimitValue": _FREE.get(category, value)}}
