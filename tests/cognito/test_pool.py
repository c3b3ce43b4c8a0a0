"""The pool: facts in DescribeUserPool, missing facts, and unknown facts without an answer."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tenacity import wait_none

from bulkreset import backoff
from bulkreset.cognito import pool
from bulkreset.cognito.forgot_password import RecoverySettings
from bulkreset.cognito.pool import TEMPORARY_DAYS, PoolFacts, _parse_pool, arn_of, describe_pool
from bulkreset.cognito.read_calls import MAX_SKEW
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.errors import TargetError
from bulkreset.job import PasswordPolicy, Target
from tests.cognito.conftest import POOL
from tests.cognito.endpoint import Said, answering, of_the_service
from tests.sim.handle import Simulator

DESCRIBES = "DescribeUserPool"
THROTTLED = of_the_service({"__type": "TooManyRequestsException", "message": "slow down"}, 400)
ACTION = "cognito-idp:DescribeUserPool"
# Fields of a pool that say nothing about recovery.
UNSET = RecoverySettings(sends_sms=False, mail_account="COGNITO_DEFAULT")

pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without waiting."""
    monkeypatch.setattr(backoff, "wait_random_exponential", lambda **_how: wait_none())


def session(url: str, region: str = "us-east-1") -> TargetSession:
    """Open a session at one endpoint."""
    return open_session(
        Target(user_pool_id=POOL, region=region, replica=region != "us-east-1", endpoint_url=url, read_timeout=90)
    )


def pool_facts(**facts: Any) -> PoolFacts:  # noqa: ANN401  (the API's)
    """Return the facts in an answer."""
    with answering(of_the_service({"UserPool": {"Id": POOL, **facts}})) as endpoint:
        return describe_pool(session(endpoint.url))


def test_every_deciding_fact_is_reported(sim: Simulator) -> None:
    rules = {"MinimumLength": 12, "RequireUppercase": True, "RequireNumbers": True, "RequireLowercase": False}
    sim.add_pool(
        POOL,
        ["ann", "bob", "cat"],
        policy=rules | {"RequireSymbols": False},
        history=5,
        name="customers",
        case_sensitive=False,
        alias_attributes=["email", "preferred_username"],
        first_auth_factors=["PASSWORD", "EMAIL_OTP"],
    )
    found = describe_pool(session(sim.url))
    assert found.ahead is None or abs(found.ahead) <= MAX_SKEW
    assert replace(found, ahead=None) == PoolFacts(
        POOL,
        name="customers",
        policy=PasswordPolicy(minimum_length=12, require_uppercase=True, require_numbers=True),
        history=5,
        temporary_days=7,
        case_insensitive=True,
        aliases=frozenset({"email", "preferred_username"}),
        users=3,
        optional=True,
        recovery=UNSET,
    )
    # An earlier test's background request may still call STS.
    made = [(call.operation, call.answer) for call in sim.calls() if call.operation != "GetCallerIdentity"]
    assert made == [(DESCRIBES, "ok")]


@pytest.mark.parametrize(("seconds", "known"), [(60, True), (3600, False)])
def test_clock_that_differs_by_an_hour_is_not_trusted(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, seconds: int, *, known: bool
) -> None:
    sim.add_pool(POOL)
    monkeypatch.setattr(pool, "time", SimpleNamespace(time=lambda: time.time() + seconds))
    assert (describe_pool(session(sim.url)).ahead is not None) is known


def test_pool_without_settings_has_no_rules_and_compares_case() -> None:
    assert pool_facts() == PoolFacts(POOL, recovery=UNSET)


@pytest.mark.parametrize(("configured", "folds"), [({"CaseSensitive": False}, True), ({"CaseSensitive": True}, False)])
def test_names_are_folded_only_if_the_pool_says_so(configured: dict[str, bool], *, folds: bool) -> None:
    facts = pool_facts(UsernameConfiguration=configured)
    assert (facts.case_insensitive, facts.fold("ÄNN@X.example")) == (
        folds,
        "änn@x.example" if folds else "ÄNN@X.example",
    )
    assert pool_facts(UsernameConfiguration={}).case_insensitive is False


@pytest.mark.parametrize(("days", "found"), [(None, 7), (0, 7), (1, 1), (365, 365)])
def test_temporary_passwords_last_seven_days_by_default(days: int | None, found: int) -> None:
    rules = {"MinimumLength": 8} | ({} if days is None else {"TemporaryPasswordValidityDays": days})
    assert pool_facts(Policies={"PasswordPolicy": rules}).temporary_days == found


@pytest.mark.parametrize("shortest", [6, 8, 99, 128])
def test_pools_minimum_applies_beyond_the_jobs_limits(shortest: int) -> None:
    policy = pool_facts(Policies={"PasswordPolicy": {"MinimumLength": shortest}}).policy
    assert policy
    assert policy.minimum_length == shortest


@pytest.mark.parametrize(
    ("factors", "passwordless", "optional"),
    [
        (None, False, False),
        ([], False, False),
        (["PASSWORD"], False, False),
        (["PASSWORD", "WEB_AUTHN"], False, True),
        (["EMAIL_OTP", "SMS_OTP"], True, True),
    ],
)
def test_factors_show_whether_passwords_are_allowed(
    factors: list[str] | None, *, passwordless: bool, optional: bool
) -> None:
    signing = {} if factors is None else {"SignInPolicy": {"AllowedFirstAuthFactors": factors}}
    found = pool_facts(Policies=signing)
    assert (found.passwordless, found.optional) == (passwordless, optional)


def test_users_of_a_pool_sign_in_only_by_addresses() -> None:
    found = pool_facts(UsernameAttributes=["email", "phone_number", "nickname"])
    assert (found.sign_in_by, found.aliases) == (frozenset({"email", "phone_number"}), frozenset())


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied"])
def test_denial_is_a_gap_that_names_the_pool(sim: Simulator, code: str) -> None:
    sim.configure(faults={"every": {"operation": DESCRIBES, "error": code}})
    found = describe_pool(session(sim.url))
    assert found.unknown
    assert (found.unknown.action, found.unknown.code, found.unknown.denied, found.unknown.fatal) == (
        ACTION,
        code,
        True,
        False,
    )
    assert found.unknown.resource == f"arn:aws:cognito-idp:us-east-1:*:userpool/{POOL}"
    assert (found.policy, found.users, found.name) == (None, None, "")
    assert len(sim.calls()) == 1


def test_pool_that_is_not_there_is_a_fatal_gap(sim: Simulator) -> None:
    found = describe_pool(session(sim.url, "eu-west-1"))
    assert found.unknown
    assert (found.unknown.code, found.unknown.denied, found.unknown.fatal) == ("ResourceNotFoundException", False, True)
    assert len(sim.calls()) == 1


@pytest.mark.parametrize(
    "step",
    [{"error": "TooManyRequestsException"}, {"error": "InternalErrorException"}, {"http": 503}, {"cut": "before"}],
    ids=str,
)
def test_temporary_failure_is_retried(sim: Simulator, step: dict[str, Any]) -> None:
    sim.configure(faults={"every": {"operation": DESCRIBES, "until_call": 3, **step}})
    assert describe_pool(session(sim.url)).unknown is None
    assert [call.answer == "ok" for call in sim.calls(DESCRIBES)] == [False] * 3 + [True]


def test_permanent_failure_is_a_gap_but_not_fatal(sim: Simulator) -> None:
    sim.configure(faults={"every": {"operation": DESCRIBES, "error": "TooManyRequestsException"}})
    found = describe_pool(session(sim.url))
    assert found.unknown
    assert (found.unknown.code, found.unknown.denied, found.unknown.fatal) == ("TooManyRequestsException", False, False)
    assert len(sim.calls(DESCRIBES)) == 6


@pytest.mark.parametrize(
    "said",
    [
        Said(b"<html>busy</html>"),
        of_the_service({}),
        of_the_service({"UserPool": None}),
        of_the_service({"UserPool": []}),
        of_the_service({"UserPool": {"Policies": ["x"]}}),
    ],
    ids=lambda said: said.body.decode(),
)
def test_invalid_answer_is_a_gap(said: Said) -> None:
    with answering(said) as endpoint:
        found = describe_pool(session(endpoint.url))
    assert found.unknown
    assert not found.unknown.fatal


def test_endpoint_that_cannot_be_reached_is_a_gap() -> None:
    found = describe_pool(session("http://cognito.invalid"))
    assert found.unknown
    assert (found.unknown.code, found.unknown.fatal) == ("EndpointConnectionError", False)


def test_client_that_cannot_be_created_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = session("http://cognito.invalid")

    def refuse(_service: str) -> None:
        raise TargetError("No client.", "Fix it.")

    monkeypatch.setattr(opened, "side_client", refuse)
    found = describe_pool(opened)
    assert found.unknown
    assert (found.unknown.action, found.unknown.code, found.unknown.fatal) == (ACTION, "No client.", False)


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_arn_is_of_the_regions_partition(region: str, partition: str) -> None:
    at = session("http://cognito.invalid", region)
    assert arn_of(at) == f"arn:{partition}:cognito-idp:{region}:*:userpool/{POOL}"


@pytest.mark.parametrize("nonsense", ["many", None, -1, 1.5, [], {}])
def test_invalid_figures_count_as_missing(nonsense: Any) -> None:  # noqa: ANN401  (whatever JSON holds)
    rules = {"MinimumLength": nonsense, "PasswordHistorySize": nonsense, "TemporaryPasswordValidityDays": nonsense}
    found = _parse_pool(POOL, {"EstimatedNumberOfUsers": nonsense, "Policies": {"PasswordPolicy": rules}})
    assert (found.users, found.history, found.temporary_days) == (None, 0, TEMPORARY_DAYS)
    assert found.policy is not None
    assert found.policy.minimum_length is None
