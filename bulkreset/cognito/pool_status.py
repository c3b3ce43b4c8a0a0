"""Asks for the facts about a pool that DescribeUserPool does not return: MFA, replicas, recoveries, sessions."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from botocore import xform_name

from bulkreset.backoff import retrying
from bulkreset.cognito.forgot_password import kinds_of_mfa, with_mfa
from bulkreset.cognito.point_in_time import ACTIVE
from bulkreset.cognito.pool import PoolFacts, Replica, arn_of
from bulkreset.cognito.read_calls import NO_ANSWER, ReadCallError, UnknownFact, call_read, is_transient
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


def unanswered(facts: PoolFacts, *, with_sessions: bool = False) -> PoolFacts:
    """Return the facts if no call was answered in time."""
    gaps = [UnknownFact(what, f"cognito-idp:{call}", NO_ANSWER) for what, call in _questions(facts, with_sessions)]
    return replace(facts, gaps=tuple(gaps))


def add_status(session: TargetSession, facts: PoolFacts, *, with_sessions: bool = False) -> PoolFacts:
    """Return the facts with those of the other calls. Each failed call is one of `gaps`; never raises.

    With `with_sessions` it also asks whether the pool tracks sessions.
    """
    asked = _questions(facts, with_sessions)
    gaps: list[UnknownFact] = []
    try:
        client = session.side_client("cognito-idp")
    except TargetError as error:
        return replace(
            facts, gaps=tuple(UnknownFact(what, f"cognito-idp:{call}", error.message) for what, call in asked)
        )
    for what, call in asked:
        try:
            facts = _READERS[call](facts, _ask(client, call, facts.user_pool_id))
        except ReadCallError as error:
            if error.code in _NONE_THERE and call != _MFA[1]:  # only a pool with MFA is asked which kinds it offers
                facts = replace(
                    facts, tracks_sessions=facts.tracks_sessions or (False if call == _SESSIONS[1] else None)
                )
            else:
                gaps.append(error.unknown_fact(what, f"cognito-idp:{call}", arn_of(session)))
        except (AttributeError, KeyError, TypeError, ValueError):  # not in the API's format
            gaps.append(UnknownFact(what, f"cognito-idp:{call}", "UnreadableResponse"))
    # A failure of these calls does not make an existing pool unusable.
    return replace(facts, gaps=tuple(replace(gap, fatal=False) for gap in gaps))


def _questions(facts: PoolFacts, with_sessions: bool) -> list[tuple[str, str]]:  # noqa: FBT001  (private)
    """Return the calls to make: (the fact in words, the operation)."""
    asked = [_REPLICAS, _RECOVERIES, *([_SESSIONS] if with_sessions else [])]
    return asked if facts.mfa == "OFF" else [_MFA, *asked]


def _ask(client: Any, call: str, pool: str) -> dict[str, Any]:  # noqa: ANN401  (a boto3 client)
    retry = retrying(is_transient, attempts=ATTEMPTS, longest_wait=1)
    answer: dict[str, Any] = retry(call_read, getattr(client, xform_name(call)), UserPoolId=pool)
    return answer


def _read_mfa(facts: PoolFacts, answer: Mapping[str, Any]) -> PoolFacts:
    kinds = kinds_of_mfa(answer)
    return replace(facts, recovery=with_mfa(facts.recovery, facts.mfa, kinds, facts.tier), mfa_kinds=kinds)


def _read_replicas(facts: PoolFacts, answer: Mapping[str, Any]) -> PoolFacts:
    found = tuple(
        Replica(str(one.get("RegionName", "")), str(one.get("Role", "")), str(one.get("Status", "")))
        for one in answer.get("UserPoolReplicas") or ()
    )
    return replace(facts, replicas=found)


def _read_recoveries(facts: PoolFacts, answer: Mapping[str, Any]) -> PoolFacts:
    statuses = [str(one.get("RestoreStatus", "")) for one in answer.get("Restorations") or ()]  # the newest comes first
    return replace(facts, restoring=next((status for status in statuses if status in ACTIVE), ""))


def _read_sessions(facts: PoolFacts, answer: Mapping[str, Any]) -> PoolFacts:
    return replace(facts, tracks_sessions=answer.get("UserSessionTracking") == "ENABLED")


_READERS: Mapping[str, Callable[[PoolFacts, Mapping[str, Any]], PoolFacts]] = {
    "GetUserPoolMfaConfig": _read_mfa,
    "ListUserPoolReplicas": _read_replicas,
    "ListPointInTimeRecoveries": _read_recoveries,
    "GetUserPoolSessionConfiguration": _read_sessions,
}
