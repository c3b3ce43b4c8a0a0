"""The quota: how many calls per second an account may make in a Region, and who says so."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bulkreset.cognito.read_calls import ReadCallError, UnknownFact, call_read
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError
from bulkreset.job import FASTEST

# Calls per second of an account in a Region, as AWS publishes them; none of them can be raised.
RECOVERY = 30.0  # UserAccountRecovery: AdminSetUserPassword, and the users' own resets
LISTING = 30.0  # UserList: ListUsers

_CATEGORY = "UserAccountRecovery"
_CODE = "L-7D6E8ED3"
_WHAT = "the quota"
_LEAST = 0.1  # calls per second: less is not a quota
_NEITHER = frozenset({"NoSuchResourceException", "ResourceNotFoundException", "UnknownOperationException"})


@dataclass(frozen=True, slots=True)
class AccountQuota:
    """Calls per second, the `source` in words, and what was asked in vain on the way."""

    value: float
    source: str
    unknown: tuple[UnknownFact, ...] = ()


PUBLISHED = AccountQuota(RECOVERY, "as AWS publishes it")


def find_quota(session: TargetSession) -> AccountQuota:
    """The lane's quota: its provisioned limit, else Service Quotas' applied value, its default, the published one.

    Never raises for an answer or a lost one.
    """
    gaps: list[UnknownFact] = []
    for ask, action, source in (
        (_provisioned, "cognito-idp:GetProvisionedLimit", "the provisioned limit"),
        (_applied, "servicequotas:GetServiceQuota", "applied, by Service Quotas"),
        (_default, "servicequotas:GetAWSDefaultServiceQuota", "the default, by Service Quotas"),
    ):
        value = _ask_source(ask, session, action, gaps)
        if value:
            return AccountQuota(value, source, tuple(gaps))
    return AccountQuota(PUBLISHED.value, PUBLISHED.source, tuple(gaps))


def _ask_source(
    ask: Callable[[TargetSession], Any], session: TargetSession, action: str, gaps: list[UnknownFact]
) -> float | None:
    """One source's figure, None where it has none; why not is added to `gaps`, unless there is just nothing to know."""
    try:
        value = ask(session)
    except ReadCallError as error:
        if error.code not in _NEITHER:
            gaps.append(error.unknown_fact(_WHAT, action))
        return None
    except TargetError as error:
        gaps.append(UnknownFact(_WHAT, action, error.message))
        return None
    return float(value) if isinstance(value, int | float) and _LEAST <= value <= FASTEST else None


def _provisioned(session: TargetSession) -> object:
    client = session.side_client("cognito-idp")
    if not hasattr(client, "get_provisioned_limit"):  # an older botocore
        return None
    limit = {"LimitClass": "API_CATEGORY", "Attributes": {"Category": _CATEGORY}}
    return (call_read(client.get_provisioned_limit, LimitDefinition=limit).get("Limit") or {}).get(
        "ProvisionedLimitValue"
    )


def _applied(session: TargetSession) -> object:
    call = session.side_client("service-quotas").get_service_quota
    return (call_read(call, ServiceCode="cognito-idp", QuotaCode=_CODE).get("Quota") or {}).get("Value")


def _default(session: TargetSession) -> object:
    call = session.side_client("service-quotas").get_aws_default_service_quota
    return (call_read(call, ServiceCode="cognito-idp", QuotaCode=_CODE).get("Quota") or {}).get("Value")
