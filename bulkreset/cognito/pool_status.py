"""Asks for the facts about a pool that DescribeUserPool does not return: MFA, replicas, recoveries, sessions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from botocore import xform_name

from bulkreset.backoff import retrying
from bulkreset.cognito.forgot_password import kinds_of_mfa, with_mfa
from bulkreset.cognito.point_in_time_recovery import ACTIVE
from bulkreset.cognito.pool import PoolFacts, Replica, arn_of
from bulkreset.cognito.read_calls import ReadCallError, UnknownFact, call_read, is_transient
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError

ATTEMPTS = 3
SECONDS = 6.0  # longest wait for all of these calls; the run can do without them

# The pool or the Region does not have the feature, so the fact is known: there is none.
_NONE_THERE = frozenset({"UnknownOperationException", "InvalidAction", "FeatureUnavailableInTierException"})
_MFA = ("which MFA the pool offers, so whether MFA keeps users from recovering", "GetUserPoolMfaConfig")
_REPLICAS = ("whether the pool has replicas in other Regions", "ListUserPoolReplicas")
_RECOVERIES = ("whether a point-in-time recovery pauses all writes", "ListPointInTimeRecoveries")
_SESSIONS = ("whether the pool tracks sessions, which a sign-out does not end", "GetUserPoolSessionConfiguration")


def unanswered(facts: PoolFacts, code: str, *, with_sessions: bool = False) -> PoolFacts:
    """Return the facts if no call was answered, because of `code`."""
    return replace(facts, gaps=tuple(_gap(what, call, code) for what, call in _questions(facts, with_sessions)))


def add_status(session: TargetSession, facts: PoolFacts, *, with_sessions: bool = False) -> PoolFacts:
    """Return the facts with those of the other calls. Each failed call is one of `gaps`; never raises.

    With `with_sessions` it also asks whether the pool tracks sessions.
    """
    gaps: list[UnknownFact] = []
    try:
        client = session.side_client("cognito-idp")
    except TargetError as error:
        return unanswered(facts, error.message, with_sessions=with_sessions)
    retry = retrying(is_transient, attempts=ATTEMPTS, longest_wait=1)
    for what, call in _questions(facts, with_sessions):
        try:
            answer = retry(call_read, getattr(client, xform_name(call)), UserPoolId=facts.user_pool_id)
            facts = replace(facts, **_facts_in(answer, call, facts))
        except ReadCallError as error:
            if error.code not in _NONE_THERE or call == _MFA[1]:  # only a pool with MFA is asked which kinds it offers
                # A failure of these calls does not make an existing pool unusable.
                gap = error.unknown_fact(what, f"cognito-idp:{call}", arn_of(session))
                gaps.append(replace(gap, fatal=False))
            elif call == _SESSIONS[1]:
                facts = replace(facts, has_sessions=False)
        except (AttributeError, KeyError, TypeError, ValueError):  # not in the API's format
            gaps.append(_gap(what, call, "UnreadableResponse"))
    return replace(facts, gaps=tuple(gaps))


def _gap(what: str, call: str, code: str) -> UnknownFact:
    return UnknownFact(what, f"cognito-idp:{call}", code)


def _questions(facts: PoolFacts, with_sessions: bool) -> list[tuple[str, str]]:  # noqa: FBT001  (private)
    """Return the calls to make: (the fact in words, the operation)."""
    asked = [_REPLICAS, _RECOVERIES, *([_SESSIONS] if with_sessions else [])]
    return asked if facts.mfa == "OFF" else [_MFA, *asked]


def _facts_in(answer: Mapping[str, Any], call: str, facts: PoolFacts) -> dict[str, Any]:
    """Return the fields of PoolFacts that an answer gives."""
    if call == _MFA[1]:
        kinds = kinds_of_mfa(answer)
        return {"recovery": with_mfa(facts.recovery, facts.mfa, kinds, facts.tier), "mfa_kinds": kinds}
    if call == _REPLICAS[1]:
        found = answer.get("UserPoolReplicas") or ()
        return {
            "replicas": tuple(
                Replica(*(str(one.get(key, "")) for key in ("RegionName", "Role", "Status"))) for one in found
            )
        }
    if call == _RECOVERIES[1]:
        statuses = (str(one.get("RestoreStatus", "")) for one in answer.get("Restorations") or ())  # the newest first
        return {"restoring": next((status for status in statuses if status in ACTIVE), "")}
    return {"has_sessions": answer.get("UserSessionTracking") == "ENABLED"}
