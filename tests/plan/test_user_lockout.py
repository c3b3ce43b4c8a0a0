"""Recovery in the preflight: who can recover, how long it takes, and which scramble is refused."""

from typing import Any

import pytest

from bulkreset.cognito.forgot_password import Mfa, RecoverySettings
from bulkreset.cognito.pool import PoolFacts, Replica
from bulkreset.cognito.quota import AccountQuota
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.errors import JobError
from bulkreset.plan.preflight import PlanFacts
from bulkreset.plan.user_lockout import PlannedRecovery, require_recoverable
from tests.plan.test_preflight_text import lines, lines_under
from tests.targets import EU, US, job, pools

SCRAMBLE: dict[str, Any] = {"permanent": True, "password": {"source": "generate"}}
ACCEPTED: dict[str, Any] = {"campaign": {"accept_lockout": True}}
MAIL = "verified_email"
CALL = "verified_phone_number"
SHUT = RecoverySettings(("admin_only",), legacy=False)
SES = RecoverySettings(mail_account="DEVELOPER")
OWN = RecoverySettings(mail_account="COGNITO_DEFAULT")


def planned(rows: int = 0, recovery: PlannedRecovery | None = None, **change: Any) -> PlanFacts:  # noqa: ANN401
    values: dict[str, Any] = {
        "counts": {"ready": rows},
        "sendable": [(EU, 1, rows)],
        "status_before": {},
        "unchecked": {},
    }
    return PlanFacts(**values | {"recovery": recovery or PlannedRecovery()} | change)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (SHUT, "admin_only"),
        (RecoverySettings((CALL,), legacy=False, sends_sms=False), "the pool has no SMS configuration"),
        (RecoverySettings((CALL,), legacy=False, sms_mfa=Mfa.EVERYBODY), "MFA of the same kind"),
        (RecoverySettings((MAIL,), legacy=False, email_mfa=Mfa.EVERYBODY), "MFA of the same kind"),
    ],
    ids=["admin_only", "no sms", "sms mfa", "mail mfa"],
)
def test_scramble_of_a_pool_without_recovery_is_refused(settings: RecoverySettings, reason: str) -> None:
    asked = job(EU, US, **SCRAMBLE)
    facts = pools(asked, {US: PoolFacts(US, name="customers", recovery=settings)})
    with pytest.raises(JobError, match="would lock out every user of customers") as refused:
        require_recoverable(asked, facts)
    assert reason in refused.value.message
    assert "campaign.accept_lockout = true" in refused.value.advice
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "settings",
    [
        RecoverySettings(),
        RecoverySettings((MAIL,), legacy=False, sends_sms=False),
        RecoverySettings((CALL, MAIL), legacy=False, sends_sms=False),
        RecoverySettings((CALL,), legacy=False, sms_mfa=Mfa.SOME),
        RecoverySettings(sms_mfa=Mfa.EVERYBODY, email_mfa=Mfa.EVERYBODY),
    ],
)
def test_scramble_of_a_pool_with_recovery_for_some_is_not_refused(settings: RecoverySettings) -> None:
    asked = job(EU, **SCRAMBLE)
    require_recoverable(asked, {EU: PoolFacts(EU, recovery=settings)})


@pytest.mark.parametrize(
    "keys",
    [SCRAMBLE | ACCEPTED, {}, {"permanent": True}, {"password": {"source": "generate", "recipients": ["age1"]}}],
    ids=["accepted", "temporary", "known", "handed out"],
)
def test_only_a_scramble_that_accepts_no_lockout_is_refused(keys: dict[str, Any]) -> None:
    require_recoverable(job(EU, **keys), {EU: PoolFacts(EU, recovery=SHUT)})


def test_pool_that_is_not_known_is_not_refused() -> None:
    unknown = UnknownFact("it", "cognito-idp:DescribeUserPool", "AccessDenied", denied=True)
    require_recoverable(job(EU, **SCRAMBLE), {EU: PoolFacts(EU, recovery=SHUT, unknown=unknown)})


def test_recovery_is_counted_with_skipped_and_unknown_users() -> None:
    found = PlannedRecovery({EU: {"email": 40, "phone": 7, "unknown": 3}}, skipped=1200)
    shown = lines(job(EU, **SCRAMBLE), PoolFacts(EU, recovery=OWN), planned=planned(50, found))
    assert lines_under(shown, "Recovery") == [
        "40 by e-mail, 7 by SMS, 3 unknown",
        "1,200 users are skipped: the pool cannot send them a code (code unrecoverable in the report)",
    ]
    assert lines_under(shown, "WARNING") == [
        "whether 3 users can recover is unknown: it depends on their MFA, which ListUsers does not show"
    ]


def test_users_who_are_locked_out_are_counted_as_a_warning() -> None:
    found = PlannedRecovery({EU: {"email": 1, "none": 2400}})
    shown = lines(job(EU, **SCRAMBLE, **ACCEPTED), planned=planned(2401, found))
    assert lines_under(shown, "Recovery") == ["1 by e-mail, 2,400 NOT at all"]
    (text,) = lines_under(shown, "WARNING")
    assert text.startswith("2,400 users cannot recover without an administrator")


@pytest.mark.parametrize(
    ("settings", "users", "warned"), [(OWN, 51, True), (OWN, 50, False), (SES, 51, False)], ids=["many", "few", "ses"]
)
def test_cognitos_own_mail_account_is_compared_with_the_users(
    settings: RecoverySettings, users: int, *, warned: bool
) -> None:
    found = PlannedRecovery({EU: {"email": users}})
    shown = lines(job(EU, **SCRAMBLE), PoolFacts(EU, recovery=settings), planned=planned(users, found))
    assert lines_under(shown, "WARNING") == (
        [
            "51 users need an e-mail, and Cognito's own mail account sends about 50 a day: 2 days. Configure Amazon SES for the pool first"
        ]
        if warned
        else []
    )


def test_slow_mail_account_is_said_beside_the_time_to_come_back() -> None:
    found = PlannedRecovery({EU: {"email": 120}})
    shown = lines(job(EU, **SCRAMBLE), PoolFacts(EU, recovery=OWN), planned=planned(120, found))
    assert lines_under(shown, "Coming back")[-1] == (
        "the mail account is slower: the last user gets an e-mail after about 3 days"
    )


def test_sms_limits_are_reported_if_a_user_needs_one() -> None:
    settings = RecoverySettings(mail_account="DEVELOPER", sms_problem="SNSSandbox")
    for users, warned in (({"phone": 1}, True), ({"email": 1}, False)):
        shown = lines(
            job(EU, **SCRAMBLE), PoolFacts(EU, recovery=settings), planned=planned(1, PlannedRecovery({EU: users}))
        )
        assert [text.endswith("SNSSandbox") for text in lines_under(shown, "WARNING")] == [True] * warned


def test_users_who_were_not_looked_up_are_not_known() -> None:
    shown = lines(job(EU, **SCRAMBLE), planned=planned(9, unchecked={EU: "the job asks for no check"}))
    assert lines_under(shown, "WARNING") == [
        f"whether the users of {EU} can recover is unknown: they were not looked up"
    ]


def test_hundred_thousand_are_back_after_two_calls_each() -> None:
    shown = lines(job(EU, pace={"share": 0.5}, **SCRAMBLE), planned=planned(100_000))
    assert lines_under(shown, "Coming back") == [
        (
            "2 calls of the same quota for each user: the last user can recover after about 1 h 51 min "
            "if users need all of the quota (30/s)"
        ),
        "while the run sends, users have 15 calls/s",
    ]


def test_temporary_passwords_cost_one_call_each_and_known_ones_none() -> None:
    shown = lines(job(EU), planned=planned(sendable=[(EU, 0, 27_000), (EU, 1, 500)]))
    assert lines_under(shown, "Coming back")[0].startswith(
        "1 call of the same quota for each user: the last user can recover after about 15 min"
    )
    assert lines_under(lines(job(EU, permanent=True), planned=planned(500)), "Coming back") == []
    assert lines_under(lines(job(EU), planned=planned(0)), "Coming back") == []


def test_slowest_lane_decides_when_the_last_user_is_back() -> None:
    plan = planned(sendable=[(EU, 1, 6000), (US, 1, 3000)])
    asked = job(EU, US, **SCRAMBLE)
    shown = lines(asked, planned=plan, quotas={EU: AccountQuota(100.0, "expected"), US: AccountQuota(10.0, "expected")})
    assert "10 min if users need all of the quota (10/s)" in lines_under(shown, "Coming back")[0]
    assert lines_under(shown, "Coming back")[1] == "while the run sends, users have 2 calls/s"


def test_unlimited_rate_or_one_above_the_quota_leaves_nothing_for_users() -> None:
    over = lines(job(EU, pace={"rate": 60.0}, **SCRAMBLE), planned=planned(9))
    assert lines_under(over, "Coming back")[1] == "while the run sends, users have 0 calls/s"
    unpaced = lines(job(EU, pace={"rate": "none"}, **SCRAMBLE), planned=planned(9))
    assert lines_under(unpaced, "Coming back")[1] == "an unpaced run leaves nothing for users"


@pytest.mark.parametrize(("absent", "expected"), [(6, True), (5, False), (0, False)])
def test_import_is_suggested_if_most_rows_name_no_user(absent: int, *, expected: bool) -> None:
    plan = planned(10 - absent, PlannedRecovery(absent=absent), counts={"ready": 10 - absent, "rejected": absent})
    shown = lines_under(lines(job(EU), planned=plan), "New users")
    assert [text.startswith(f"{absent} of 10 rows name no user of the pool.") for text in shown] == [True] * expected


def test_recovery_under_way_and_replicas_are_reported_with_their_pool() -> None:
    replicas = (Replica("eu-west-1", "PRIMARY", "ACTIVE"), Replica("us-east-1", "SECONDARY", "CREATING"))
    facts = PoolFacts(EU, name="customers", restoring="RESTORING", replicas=replicas)
    alone = lines(job(EU), facts)
    assert lines_under(alone, "WARNING") == [
        "a point-in-time recovery is in progress (RESTORING): the pool accepts no writes until it ends"
    ]
    assert lines_under(alone, "Replicas") == [
        "eu-west-1 (primary, active), us-east-1 (secondary, creating): passwords are set in the primary Region only"
    ]
    assert lines_under(lines(job(EU, US), facts), "WARNING")[0].startswith("customers: a point-in-time")


def test_calls_that_failed_are_gaps_of_the_preflight() -> None:
    gap = UnknownFact("whether", "cognito-idp:ListUserPoolReplicas", "AccessDenied", "arn:pool", denied=True)
    shown = lines(job(EU), PoolFacts(EU, gaps=(gap,)))
    assert lines_under(shown, "Not known") == ["whether: cognito-idp:ListUserPoolReplicas was denied (AccessDenied)"]
    assert "cognito-idp:ListUserPoolReplicas" in lines_under(shown, "Allow")[0]


HELD: dict[str, dict[str, Any]] = {
    "remembered devices": {"remembers_devices": True},
    "authenticators": {"mfa_kinds": frozenset({"TOTP"})},
    "tracked sessions": {"has_sessions": True},
    "passkeys": {"passkeys": True},
}


@pytest.mark.parametrize("what", HELD)
def test_scramble_names_remaining_items_that_the_pool_can_have(what: str) -> None:
    facts = HELD[what]
    (text,) = lines_under(lines(job(EU, **SCRAMBLE), PoolFacts(EU, **facts), planned=planned(9)), "Remains")
    assert text.startswith(f"this run does not remove {what}")
    assert [other for other in HELD if other in text] == [what]


def test_remaining_items_are_named_only_if_possible_and_only_for_a_scramble() -> None:
    every: dict[str, Any] = {key: value for facts in HELD.values() for key, value in facts.items()}
    shown = lines_under(
        lines(job(EU, US, **SCRAMBLE), PoolFacts(US, name="shop", **every), planned=planned(9)), "Remains"
    )
    assert [text.startswith("shop: ") for text in shown] == [True]
    assert all(what in shown[0] for what in HELD)
    assert lines_under(lines(job(EU, permanent=True), PoolFacts(EU, **every), planned=planned(9)), "Remains") == []
    assert lines_under(lines(job(EU, **SCRAMBLE), PoolFacts(EU), planned=planned(9)), "Remains") == []


@pytest.mark.parametrize("step", ["revoke_sessions", "forget_devices", "delete_totp"])
def test_items_removed_by_a_step_do_not_remain(step: str) -> None:
    every: dict[str, Any] = {key: value for facts in HELD.values() for key, value in facts.items()}
    made = job(EU, **SCRAMBLE, after={step: True})
    (text,) = lines_under(lines(made, PoolFacts(EU, **every), planned=planned(9)), "Remains")
    assert step not in text
    assert sum(what in text for what in HELD) == len(HELD) - 1
