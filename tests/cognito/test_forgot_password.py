"""Recovery: the plan's result for a user, compared with the simulated service after a forgotten password."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from itertools import combinations, product
from typing import Any

import pytest

from bulkreset.cognito.forgot_password import RecoverySettings
from bulkreset.cognito.list_users import UserLister
from bulkreset.cognito.pool import PoolFacts, describe_pool
from bulkreset.cognito.pool_status import add_status
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.job import Target
from bulkreset.models import Recovery
from tests.sim import Simulator
from tests.sim.clients import POOL, cognito
from tests.sim.recovery import client_id

pytestmark = pytest.mark.usefixtures("credentials")

SMS = {"SnsCallerArn": "arn:aws:iam::123456789012:role/sms"}


def setting(*names: str) -> dict[str, Any]:
    """Return an AccountRecoverySetting with these mechanisms, by priority."""
    options = [{"Priority": place, "Name": name} for place, name in enumerate(names, 1)]
    return {"AccountRecoverySetting": {"RecoveryMechanisms": options}}


SETTINGS: Mapping[str, dict[str, Any]] = {
    "legacy": {},
    "admin_only": setting("admin_only"),
    "email": setting("verified_email"),
    "phone": setting("verified_phone_number"),
    "email, phone": setting("verified_email", "verified_phone_number"),
    "phone, email": setting("verified_phone_number", "verified_email"),
}
# MfaConfiguration, and the fields of GetUserPoolMfaConfig.
OFFERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "off": ("OFF", {}),
    "totp": ("OPTIONAL", {"SoftwareTokenMfaConfiguration": {"Enabled": True}}),
    "sms": ("OPTIONAL", {"SmsMfaConfiguration": {"SmsConfiguration": SMS}}),
    "email": ("OPTIONAL", {"EmailMfaConfiguration": {"Message": "{####}"}}),
    "all": (
        "ON",
        {
            "SmsMfaConfiguration": {"SmsConfiguration": SMS},
            "SoftwareTokenMfaConfiguration": {"Enabled": True},
            "EmailMfaConfiguration": {"Message": "{####}"},
        },
    ),
    "sms required": ("ON", {"SmsMfaConfiguration": {"SmsConfiguration": SMS}}),
}
OFFERED = {
    "off": (),
    "totp": ("SOFTWARE_TOKEN_MFA",),
    "sms": ("SMS_MFA",),
    "email": ("EMAIL_OTP",),
    "all": ("SMS_MFA", "EMAIL_OTP", "SOFTWARE_TOKEN_MFA"),
    "sms required": ("SMS_MFA",),
}
MAIL = {"email": "a@x.example", "email_verified": "true"}
CALL = {"phone_number": "+15550100", "phone_number_verified": "true"}
REACHED: Mapping[str, dict[str, str]] = {
    "mail": MAIL,
    "call": CALL,
    "both": MAIL | CALL,
    "none": {},
    "unverified": {"email": "a@x.example", "email_verified": "false", "phone_number": "+15550100"},
}


def users_of(offer: str) -> list[dict[str, Any]]:
    """Return every possible user: by attributes, and by every set of MFA that the pool offers."""
    kinds = OFFERED[offer]
    sets = [chosen for size in range(len(kinds) + 1) for chosen in combinations(kinds, size)]
    if offer == "sms required":  # no user can sign in without it
        sets = [kinds]
    return [
        {"username": f"{name}.{'.'.join(mfa)}.{old}", "attributes": REACHED[name], "mfa": list(mfa), "legacy_mfa": old}
        for name, mfa in product(REACHED, sets)
        for old in ((False, True) if "SMS_MFA" in mfa else (False,))
    ]


def session(sim: Simulator) -> TargetSession:
    return _session(sim.url)


@cache
def _session(url: str) -> TargetSession:
    return open_session(Target(user_pool_id=POOL, region="us-east-1", endpoint_url=url, read_timeout=90))


def facts_of(sim: Simulator) -> PoolFacts:
    at = session(sim)
    return add_status(at, describe_pool(at))


def sent(sim: Simulator, username: str) -> str:
    """Return the medium of the code that the service sends; "" if it refuses."""
    with suppress(cognito(sim.url).exceptions.InvalidParameterException):
        answer = cognito(sim.url).forgot_password(ClientId=client_id(POOL), Username=username)
        return answer["CodeDeliveryDetails"]["DeliveryMedium"]
    return ""


# A pool without an SMS configuration offers no SMS MFA.
CASES = [(offer, sends) for offer in OFFERS for sends in (True, False) if sends or "SMS_MFA" not in OFFERED[offer]]


@pytest.mark.parametrize(("offer", "sends_sms"), CASES)
@pytest.mark.parametrize("name", SETTINGS)
def test_verdict_agrees_with_the_service(sim: Simulator, name: str, offer: str, *, sends_sms: bool) -> None:
    mfa, config = OFFERS[offer]
    extra = SETTINGS[name] | {"MfaConfiguration": mfa} | ({"SmsConfiguration": SMS} if sends_sms else {})
    sim.add_pool(POOL, users_of(offer), extra=extra, mfa_config=config)
    facts = facts_of(sim)
    assert facts.gaps == ()
    verdicts = {user.username: user.recovery for user in UserLister(session(sim), facts).page().users}
    assert len(verdicts) == len(users_of(offer))
    media = {username: sent(sim, username) for username in verdicts}
    for username, verdict in verdicts.items():
        medium = media[username]
        expected = {Recovery.EMAIL: {"EMAIL", "SMS"}, Recovery.PHONE: {"EMAIL", "SMS"}, Recovery.NONE: {""}}
        if verdict is not Recovery.UNKNOWN:
            assert medium in expected[verdict], (username, verdict, medium)
        else:  # only if ListUsers cannot show it: the user may have hidden MFA, or SMS is preferred
            assert sends_sms is False or "SMS_MFA" in OFFERED[offer] or "EMAIL_OTP" in OFFERED[offer]
    if any(media.values()):
        assert facts.recovery.locks_out == ""


# The results in a pool where nothing is in doubt, written out: by setting, of mail, call, both, none.
PLAIN = {
    "legacy": ["email", "phone", "phone", "none"],
    "admin_only": ["none"] * 4,
    "email": ["email", "none", "email", "none"],
    "phone": ["none", "phone", "phone", "none"],
    "email, phone": ["email", "phone", "email", "none"],
    "phone, email": ["email", "phone", "phone", "none"],
}
# The same if some users may have SMS MFA, if all have it, and if the pool cannot send SMS.
SOME = PLAIN | {
    "phone": ["none", "unknown", "unknown", "none"],
    "email, phone": ["email", "unknown", "email", "none"],
    "phone, email": ["email", "unknown", "email", "none"],
}
EVERY = PLAIN | {
    "phone": ["none"] * 4,
    "email, phone": ["email", "none", "email", "none"],
    "phone, email": ["email", "none", "email", "none"],
}
UNSENT = PLAIN | {
    "legacy": ["email", "none", "unknown", "none"],
    "phone": ["none"] * 4,
    "email, phone": ["email", "none", "email", "none"],
    "phone, email": ["email", "none", "unknown", "none"],
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    ("offer", "table", "sends_sms"),
    [
        ("off", PLAIN, True),
        ("totp", PLAIN, True),
        ("sms", SOME, True),
        ("sms required", EVERY, True),
        ("off", UNSENT, False),
    ],
    ids=["plain", "totp", "some", "every", "unsent"],
)
def test_verdicts_of_a_pool(
    sim: Simulator, name: str, offer: str, table: Mapping[str, list[str]], *, sends_sms: bool
) -> None:
    mfa, config = OFFERS[offer]
    extra = SETTINGS[name] | {"MfaConfiguration": mfa} | ({"SmsConfiguration": SMS} if sends_sms else {})
    users = [{"username": who, "attributes": REACHED[who]} for who in ("mail", "call", "both", "none")]
    sim.add_pool(POOL, users, extra=extra, mfa_config=config)
    facts = facts_of(sim)
    assert [user.recovery for user in UserLister(session(sim), facts).page().users] == table[name]
    # A scramble is refused exactly if no user of the pool could recover.
    assert bool(facts.recovery.locks_out) == (set(table[name]) == {"none"})


def test_mfa_that_listusers_shows_disqualifies_the_phone_of_that_user(sim: Simulator) -> None:
    mfa, config = OFFERS["sms"]
    extra = SETTINGS["phone"] | {"MfaConfiguration": mfa, "SmsConfiguration": SMS}
    users: list[dict[str, Any]] = [
        {"username": "old", "attributes": CALL, "legacy_mfa": True},
        {"username": "new", "attributes": CALL},
    ]
    sim.add_pool(POOL, users, extra=extra, mfa_config=config)
    found = UserLister(session(sim), facts_of(sim)).page().users
    assert [user.recovery for user in found] == [Recovery.NONE, Recovery.UNKNOWN]


def test_unknown_mfa_leaves_doubt_and_a_gap(sim: Simulator) -> None:
    extra = SETTINGS["email"] | {"MfaConfiguration": "OPTIONAL", "SmsConfiguration": SMS}
    sim.add_pool(POOL, [{"username": "ann", "attributes": MAIL}], extra=extra)
    sim.configure(faults={"every": {"operation": "GetUserPoolMfaConfig", "error": "AccessDeniedException"}})
    facts = facts_of(sim)
    assert [(gap.action, gap.denied, gap.fatal) for gap in facts.gaps] == [
        ("cognito-idp:GetUserPoolMfaConfig", True, False)
    ]
    assert [user.recovery for user in UserLister(session(sim), facts).page().users] == [Recovery.UNKNOWN]


@pytest.mark.parametrize(("tier", "way"), [("LITE", "email"), ("ESSENTIALS", "unknown")])
def test_plan_lite_has_no_mail_mfa(tier: str, way: str, sim: Simulator) -> None:
    extra = SETTINGS["email"] | {"MfaConfiguration": "OPTIONAL", "UserPoolTier": tier}
    sim.add_pool(POOL, [{"username": "ann", "attributes": MAIL}], extra=extra)
    facts = describe_pool(session(sim))
    assert facts.tier == tier
    assert [user.recovery for user in UserLister(session(sim), facts).page().users] == [way]


def test_mechanism_of_a_newer_api_leaves_doubt() -> None:
    settings = RecoverySettings(("verified_pigeon",), legacy=False)
    assert settings.way_back({"email"}) is Recovery.UNKNOWN
    assert settings.locks_out == ""


@pytest.mark.parametrize(
    ("status", "under_way"),
    [
        ("PREVIEW_GENERATING", True),
        ("PREVIEW_GENERATED", True),
        ("RESTORING", True),
        ("TEMPORARY_INTERNAL_ERROR_SEE_SUPPORT_CASE", True),
        ("RESTORE_COMPLETED", False),
        ("PREVIEW_CANCELLED", False),
        ("PREVIEW_EXPIRED", False),
        ("PREVIEW_GENERATION_FAILED", False),
        ("AWS_ABORTED", False),
    ],
)
def test_recovery_is_under_way_until_it_ends(sim: Simulator, status: str, *, under_way: bool) -> None:
    done = {"RestoreId": "0" * 8 + "-0000-4000-8000-" + "0" * 12, "RestoreStatus": "RESTORE_COMPLETED"}
    sim.add_pool(POOL, recoveries=[done | {"RestoreStatus": status, "RestoreTimestamp": 1.0}, done])
    assert facts_of(sim).restoring == (status if under_way else "")


def test_missing_recoveries_of_plan_lite_are_not_a_gap(sim: Simulator) -> None:
    sim.add_pool(POOL, extra={"UserPoolTier": "LITE"})
    facts = facts_of(sim)
    assert (facts.restoring, facts.gaps) == ("", ())


def test_replicas_have_region_role_and_status(sim: Simulator) -> None:
    replicas = [
        {"RegionName": "us-east-1", "Role": "PRIMARY", "Status": "ACTIVE"},
        {"RegionName": "us-west-2", "Role": "SECONDARY", "Status": "CREATING"},
    ]
    sim.add_pool(POOL, replicas=replicas)
    found = facts_of(sim).replicas
    assert [(one.region, one.role, one.status) for one in found] == [
        ("us-east-1", "PRIMARY", "ACTIVE"),
        ("us-west-2", "SECONDARY", "CREATING"),
    ]


def test_calls_that_fail_are_gaps_and_keep_nothing_from_running(sim: Simulator) -> None:
    sim.add_pool(POOL)
    for error in ("ResourceNotFoundException", "OperationNotEnabledException"):
        sim.configure(faults={"every": {"operation": "ListUserPoolReplicas", "error": error}})
        facts = facts_of(sim)
        assert [(gap.action, gap.code, gap.fatal) for gap in facts.gaps] == [
            ("cognito-idp:ListUserPoolReplicas", error, False)
        ]
    sim.configure(faults={"every": {"operation": "ListUserPoolReplicas", "error": "UnknownOperationException"}})
    assert facts_of(sim).gaps == ()


def test_unknown_kinds_of_mfa_are_a_gap_even_if_the_endpoint_does_not_know_the_call(sim: Simulator) -> None:
    mfa, config = OFFERS["totp"]
    sim.add_pool(POOL, extra={"MfaConfiguration": mfa}, mfa_config=config)
    assert facts_of(sim).has_totp is True
    sim.configure(faults={"every": {"operation": "GetUserPoolMfaConfig", "error": "UnknownOperationException"}})
    facts = facts_of(sim)
    assert facts.has_totp is None
    assert [gap.action for gap in facts.gaps] == ["cognito-idp:GetUserPoolMfaConfig"]


@pytest.mark.parametrize("tracked", [True, False])
def test_items_that_a_password_does_not_remove_are_read_from_the_pool(sim: Simulator, *, tracked: bool) -> None:
    mfa, config = OFFERS["totp"]
    extra = {"MfaConfiguration": mfa, "DeviceConfiguration": {"ChallengeRequiredOnNewDevice": False}}
    factors = ["PASSWORD", "WEB_AUTHN"]
    sim.add_pool(POOL, extra=extra, mfa_config=config, session_tracking=tracked, first_auth_factors=factors)
    at = session(sim)
    found = add_status(at, describe_pool(at), with_sessions=True)
    assert (found.remembers_devices, found.passkeys, found.has_sessions) == (True, True, tracked)
    assert found.mfa_kinds == {"TOTP"}
    sim.add_pool(POOL)
    bare = facts_of(sim)
    assert (bare.remembers_devices, bare.passkeys, bare.has_sessions, bare.mfa_kinds) == (
        False,
        False,
        None,
        frozenset(),
    )
