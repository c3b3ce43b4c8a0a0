"""Reads the facts about a user pool that affect a password reset, with DescribeUserPool."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bulkreset.backoff import retrying
from bulkreset.cognito.forgot_password import RecoverySettings, read_settings
from bulkreset.cognito.read_calls import (
    MAX_SKEW,
    ReadCallError,
    UnknownFact,
    call_read,
    is_transient,
    milliseconds_ahead,
)
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError
from bulkreset.job import PasswordPolicy

ATTEMPTS = 6
TEMPORARY_DAYS = 7  # Cognito's default, also used if the pool has 0 or no value
_WHAT, _ACTION = "pool name, password policy and case rule", "cognito-idp:DescribeUserPool"
_VERIFIABLE = ("email", "phone_number")


@dataclass(frozen=True, slots=True)
class Replica:
    """One Region of a pool. `role` is PRIMARY or SECONDARY; `status` is CREATING, ACTIVE, INACTIVE or DELETING."""

    region: str
    role: str
    status: str


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """The facts about one user pool.

    `policy` is None if unknown; `users` is the service's estimate. `case_insensitive`: names that differ only in case
    identify the same user. An attribute in `aliases` identifies its user if it is verified, one in `sign_in_by` even if
    it is not. `passwordless`: no user can sign in with a password. `optional`: some users may have no password.
    `unknown` says why the pool could not be described, None if it could.
    `ahead` is a lower bound, in milliseconds, of how far the service's clock is ahead of this machine's; None if
    unknown.

    `tier` is the feature plan, "" if unknown. `mfa` is OFF, OPTIONAL or ON. `replicas` is empty if the pool has none.
    `remembers_devices`: devices may be remembered, which then skip MFA. `mfa_kinds` has the kinds of MFA that the pool
    offers, empty if unknown. `passkeys`: users may sign in with passkeys. `has_sessions`: the pool tracks sessions; None if unknown.
    `restoring` is the status of a point-in-time recovery in progress, "" if there is none. `gaps` lists the failed
    calls other than DescribeUserPool.
    """

    user_pool_id: str
    name: str = ""
    policy: PasswordPolicy | None = None
    history: int = 0
    temporary_days: int = TEMPORARY_DAYS
    case_insensitive: bool = False
    aliases: frozenset[str] = frozenset()
    sign_in_by: frozenset[str] = frozenset()
    users: int | None = None
    passwordless: bool = False
    optional: bool = False
    unknown: UnknownFact | None = None
    tier: str = ""
    ahead: int | None = None
    mfa: str = "OFF"
    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    remembers_devices: bool = False
    mfa_kinds: frozenset[str] = frozenset()
    passkeys: bool = False
    has_sessions: bool | None = None
    replicas: tuple[Replica, ...] = ()
    restoring: str = ""
    gaps: tuple[UnknownFact, ...] = ()

    @property
    def has_devices(self) -> bool | None:
        """Return whether the pool remembers devices; None if unknown."""
        return None if self.unknown else self.remembers_devices

    @property
    def has_totp(self) -> bool | None:
        """Return whether users may have an authenticator; None if unknown."""
        if self.unknown or any(gap.action == "cognito-idp:GetUserPoolMfaConfig" for gap in self.gaps):
            return None
        return "TOTP" in self.mfa_kinds

    def fold(self, name: str) -> str:
        """Return the name in the form in which the pool compares names."""
        return name.lower() if self.case_insensitive else name


def describe_pool(session: TargetSession) -> PoolFacts:
    """Return the facts from DescribeUserPool; if it fails, `unknown` says why.

    Never raises because of a response or a lost response.
    """
    pool = session.target.user_pool_id
    retry = retrying(is_transient, attempts=ATTEMPTS, longest_wait=2)
    try:
        answer = retry(call_read, session.side_client("cognito-idp").describe_user_pool, UserPoolId=pool)
        ahead = milliseconds_ahead(answer, time.time())
        ahead = ahead if ahead is not None and abs(ahead) <= MAX_SKEW else None
        return replace(_parse_pool(pool, answer.get("UserPool")), ahead=ahead)
    except (AttributeError, KeyError, TypeError, ValueError):  # not in the API's format
        return undescribed(pool, "UnreadableResponse")
    except ReadCallError as error:
        return PoolFacts(pool, unknown=error.unknown_fact(_WHAT, _ACTION, arn_of(session)))
    except TargetError as error:
        return undescribed(pool, error.message)


def undescribed(pool: str, code: str) -> PoolFacts:
    """Return the facts about a pool that could not be described."""
    return PoolFacts(pool, unknown=UnknownFact(_WHAT, _ACTION, code))


def arn_of(session: TargetSession) -> str:
    """Return the pool's ARN, with `*` for the account."""
    partition = "aws-cn" if session.region.startswith("cn-") else "aws-us-gov" if "-gov-" in session.region else "aws"
    return f"arn:{partition}:cognito-idp:{session.region}:*:userpool/{session.target.user_pool_id}"


def _parse_pool(pool: str, description: object) -> PoolFacts:
    """Return the facts in a response. Fields that it lacks get their defaults.

    Raises AttributeError, KeyError, TypeError or ValueError if a field does not have the API's format.
    """
    if not isinstance(description, Mapping):
        return undescribed(pool, "UnreadableResponse")
    policies: Any = description.get("Policies") or {}
    rules: Any = policies.get("PasswordPolicy")
    factors = frozenset((policies.get("SignInPolicy") or {}).get("AllowedFirstAuthFactors") or ())
    folds: Any = description.get("UsernameConfiguration") or {}
    return PoolFacts(
        user_pool_id=pool,
        name="".join(letter if letter.isprintable() else "?" for letter in str(description.get("Name") or "")),
        policy=PasswordPolicy.from_cognito(rules) if rules else None,
        history=_number((rules or {}).get("PasswordHistorySize")) or 0,
        temporary_days=_number((rules or {}).get("TemporaryPasswordValidityDays")) or TEMPORARY_DAYS,
        case_insensitive=folds.get("CaseSensitive") is False,
        aliases=frozenset(description.get("AliasAttributes") or ()),
        sign_in_by=frozenset(description.get("UsernameAttributes") or ()).intersection(_VERIFIABLE),
        users=_number(description.get("EstimatedNumberOfUsers")),
        passwordless=bool(factors) and "PASSWORD" not in factors,
        optional=bool(factors - {"PASSWORD"}),
        tier=str(description.get("UserPoolTier") or ""),
        mfa=str(description.get("MfaConfiguration") or "OFF"),
        recovery=read_settings(description),
        remembers_devices=description.get("DeviceConfiguration") is not None,
        passkeys="WEB_AUTHN" in factors,
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
