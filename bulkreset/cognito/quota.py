"""Finds how many calls per second an account may make in a Region, and the source of this figure."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bulkreset.cognito.read_calls import ReadCallError, UnknownFact, call_read
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError
from bulkreset.job import FASTEST

# Calls per second of an account in a Region, as AWS publishes them; AWS does not raise them.
RECOVERY = 30.0  # UserAccountRecovery: AdminSetUserPassword and users' own resets
LISTING = 30.0  # UserList: ListUsers

_CATEGORY = "UserAccountRecovery"
_CODE = "L-7D6E8ED3"
_WHAT = "the quota"
_LEAST = 0.1  # calls per second; a smaller value does not count as a quota
_NEITHER = frozenset({"NoSuchResourceException", "ResourceNotFoundException", "UnknownOperationException"})


@dataclass(frozen=True, slots=True)
class AccountQuota:
    """A quota: calls per second, the `source` in words, and the failed lookups before it in `unknown`."""

    value: float
    source: str
    unknown: tuple[UnknownFact, ...] = ()


PUBLISHED = AccountQuota(RECOVERY, "published by AWS")


def find_quota(session: TargetSession) -> AccountQuota:
    """Return the target's quota from the first source that has one.

    The sources are the provisioned limit, the applied value of Service Quotas, its default, and the published value.
    Never raises because of a response or a lost response.
    """
    gaps: list[UnknownFact] = []
    for ask, action, source in (
        (_provisioned, "cognito-idp:GetProvisionedLimit", "provisioned limit"),
        (partial(_listed, "get_service_quota"), "servicequotas:GetServiceQuota", "Service Quotas, applied value"),
        (
            partial(_listed, "get_aws_default_service_quota"),
            "servicequotas:GetAWSDefaultServiceQuota",
            "Service Quotas, default value",
        ),
    ):
        try:
            value: Any = ask(session)
        except ReadCallError as error:
            if error.code not in _NEITHER:  # otherwise the source just lacks this quota or operation
                gaps.append(error.unknown_fact(_WHAT, action))
        except TargetError as error:
            gaps.append(UnknownFact(_WHAT, action, error.message))
        else:
            if isinstance(value, int | float) and _LEAST <= value <= FASTEST:
                return AccountQuota(float(value), source, tuple(gaps))
    return replace(PUBLISHED, unknown=tuple(gaps))


def _provisioned(session: TargetSession) -> object:
    client = session.side_client("cognito-idp")
    if not hasattr(client, "get_provisioned_limit"):  # an older botocore does not have this call
        return None
    limit = {"LimitClass": "API_CATEGORY", "Attributes": {"Category": _CATEGORY}}
    return (call_read(client.get_provisioned_limit, LimitDefinition=limit).get("Limit") or {}).get(
        "ProvisionedLimitValue"
    )


def _listed(call: str, session: TargetSession) -> object:
    """Return what a call of Service Quotas says."""
    ask = getattr(session.side_client("service-quotas"), call)
    return (call_read(ask, ServiceCode="cognito-idp", QuotaCode=_CODE).get("Quota") or {}).get("Value")
