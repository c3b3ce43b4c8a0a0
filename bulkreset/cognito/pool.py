"""The pool: what DescribeUserPool tells of a user pool, as far as it decides what a set password means there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from bulkreset.cognito.boto3_transport import must_be_readable
from bulkreset.cognito.read_calls import ReadCallError, UnknownFact, call_read
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError
from bulkreset.job import PasswordPolicy

ATTEMPTS = 6
TEMPORARY_DAYS = 7  # what 0, or nothing, means
_VERIFIABLE = ("email", "phone_number")


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """One user pool.

    `policy` is None where it is not known, `users` the service's estimate. `folds`: names that differ only in case name
    one user. A verified attribute in `aliases` names its user, one in `sign_in_by` does so unverified, too.
    `passwordless`: the pool lets nobody in by password. `optional`: some of its users may have none.
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

    def fold(self, name: str) -> str:
        """The name as the pool compares it."""
        return name.lower() if self.case_insensitive else name


def describe_pool(session: TargetSession) -> PoolFacts:
    """Ask DescribeUserPool; what is not told has its `gap`. Never raises for an answer or a lost one."""
    pool = session.target.user_pool_id
    retrying = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, ReadCallError) and error.is_transient),
        wait=wait_random_exponential(multiplier=0.25, max=2),
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    )
    try:
        client = session.side_client("cognito-idp")
        client.meta.events.register("before-parse.cognito-identity-provider", must_be_readable)
        answer = retrying(call_read, client.describe_user_pool, UserPoolId=pool)
        return _parse_pool(pool, answer.get("UserPool"))
    except (AttributeError, TypeError, ValueError):  # not told as the API says
        return PoolFacts(pool, unknown=UnknownFact(UNKNOWN, "cognito-idp:DescribeUserPool", "UnreadableResponse"))
    except ReadCallError as error:
        return PoolFacts(pool, unknown=error.unknown_fact(UNKNOWN, "cognito-idp:DescribeUserPool", arn_of(session)))
    except TargetError as error:
        return PoolFacts(pool, unknown=UnknownFact(UNKNOWN, "cognito-idp:DescribeUserPool", error.message))


UNKNOWN = "its name, its password policy and how it compares names"


def arn_of(session: TargetSession, account: str = "") -> str:
    """The pool's ARN; `*` for an account that is not known."""
    partition = "aws-cn" if session.region.startswith("cn-") else "aws-us-gov" if "-gov-" in session.region else "aws"
    return f"arn:{partition}:cognito-idp:{session.region}:{account or '*'}:userpool/{session.target.user_pool_id}"


def _parse_pool(pool: str, told: object) -> PoolFacts:
    """The facts in an answer; what is not as the API says counts as not told."""
    if not isinstance(told, Mapping):
        return PoolFacts(pool, unknown=UnknownFact(UNKNOWN, "cognito-idp:DescribeUserPool", "UnreadableResponse"))
    policies: Any = told.get("Policies") or {}
    rules: Any = policies.get("PasswordPolicy")
    factors = frozenset((policies.get("SignInPolicy") or {}).get("AllowedFirstAuthFactors") or ())
    folds: Any = told.get("UsernameConfiguration") or {}
    return PoolFacts(
        user_pool_id=pool,
        name="".join(letter if letter.isprintable() else "?" for letter in str(told.get("Name") or "")),
        policy=_policy(rules) if rules else None,
        history=_number((rules or {}).get("PasswordHistorySize")) or 0,
        temporary_days=_number((rules or {}).get("TemporaryPasswordValidityDays")) or TEMPORARY_DAYS,
        case_insensitive=folds.get("CaseSensitive") is False,
        aliases=frozenset(told.get("AliasAttributes") or ()),
        sign_in_by=frozenset(told.get("UsernameAttributes") or ()).intersection(_VERIFIABLE),
        users=_number(told.get("EstimatedNumberOfUsers")),
        passwordless=bool(factors) and "PASSWORD" not in factors,
        optional=bool(factors - {"PASSWORD"}),
    )


def _policy(rules: Mapping[str, Any]) -> PasswordPolicy:
    # Not through validation: a pool's own minimum is a fact, whatever the job's bounds for one are.
    return PasswordPolicy.model_construct(
        minimum_length=_number(rules.get("MinimumLength")) or None,
        require_uppercase=bool(rules.get("RequireUppercase")),
        require_lowercase=bool(rules.get("RequireLowercase")),
        require_numbers=bool(rules.get("RequireNumbers")),
        require_symbols=bool(rules.get("RequireSymbols")),
    )


def _number(told: object) -> int | None:
    return told if isinstance(told, int) and told >= 0 else None
