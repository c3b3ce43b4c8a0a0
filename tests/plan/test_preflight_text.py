"""The text of the preflight: every line before a confirmation."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.quota import AccountQuota
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import Caller
from bulkreset.job import Job
from bulkreset.journal.records import PlanMessage
from bulkreset.journal.run_state import ApprovalFacts
from bulkreset.plan.preflight import AwsFacts, PlanFacts, build_preflight
from bulkreset.plan.preflight_text import SHOWN, preflight_lines
from bulkreset.plan.user_lockout import PlannedRecovery
from bulkreset.text import format_duration
from tests.targets import ACCOUNT, EU, EU2, US, callers, job, pools, quotas, sessions

READY = [(EU, 1, 240), (EU, 0, 24)]
UNREAD = UnknownFact("its policy", "cognito-idp:DescribeUserPool", "AccessDeniedException", "arn:pool", denied=True)
UNLISTED = UnknownFact("who is in the pool", "cognito-idp:ListUsers", "AccessDenied", "arn:pool", denied=True)
UNTOLD = UnknownFact("the quota", "servicequotas:GetServiceQuota", "AccessDeniedException", denied=True)
UNREACHED = UnknownFact("the quota", "servicequotas:GetServiceQuota", "EndpointConnectionError")


def lines(
    asked: Job,
    *facts: PoolFacts,
    planned: PlanFacts | None = None,
    approved: ApprovalFacts | None = None,
    **brought: Any,  # noqa: ANN401  (the fields of AwsFacts)
) -> list[tuple[str, str]]:
    """Return the lines of the preflight: (label, text)."""
    known: dict[str, Any] = {
        "callers": callers(asked),
        "pools": pools(asked, {one.user_pool_id: one for one in facts}),
        "quotas": quotas(asked),
    }
    emulated = bool(brought.pop("emulated", False))
    plan = planned or PlanFacts({"ready": 264, "rejected": 1}, READY, {}, {})
    found = build_preflight(asked, sessions(asked, emulated=emulated), AwsFacts(**(known | brought)), plan, approved)
    return [(line[:12].strip(), line[12:]) for line in preflight_lines(found).splitlines()]


def lines_under(shown: list[tuple[str, str]], label: str) -> list[str]:
    """Return the text of a label, including continuation lines."""
    found: list[str] = []
    under = ""
    for name, text in shown:
        under = name or under
        if under == label:
            found.append(text)
    return found


def planned(**change: Any) -> PlanFacts:  # noqa: ANN401  (the fields of PlanFacts)
    values: dict[str, Any] = {"counts": {"ready": 264}, "sendable": READY, "status_before": {}, "unchecked": {}}
    return PlanFacts(**values | change)


def test_remarks_on_the_input() -> None:
    told = [f"users{number}.csv: the last line has no line break: is the file whole?" for number in range(7)]
    assert lines_under(lines(job(EU), planned=planned(remarks=told)), "Input") == told[:5]


def test_all_output_of_a_plain_run() -> None:
    shown = lines(job(EU), PoolFacts(EU, name="customers"))
    assert [label for label, _ in shown] == [
        *("Job", "User pool", "Caller", "Rows", "Temporary", "Permanent", "Coming back", ""),
        *("Billing", "Sign-out", "Undo", "Pace", "Duration", "Guards"),
    ]
    assert lines_under(shown, "Job") == ["test"]
    assert lines_under(shown, "User pool") == [f"customers ({EU}), eu-west-1, account {ACCOUNT}"]
    assert lines_under(shown, "Caller") == [f"arn:aws:iam::{ACCOUNT}:user/ann"]
    assert lines_under(shown, "Rows") == ["264 ready, 1 rejected"]
    assert lines_under(shown, "Permanent") == ["240"]
    assert lines_under(shown, "Billing") == ["Up to 264 users will count as monthly active users (billed)"]
    assert lines_under(shown, "Sign-out") == ["Users stay signed in (existing sessions are not ended)"]
    assert lines_under(shown, "Pace") == ["eu-west-1: 24 calls/s (80 % of the quota of 30/s; source: test quota)"]
    assert lines_under(shown, "Guards") == ["Stops if 100 rows in a row fail"]


def test_suspect_passwords_are_named_by_row_and_the_key_that_rejects_them() -> None:
    found = (
        PlanMessage("check the password: looks like a hash", 12, tuple(range(1, 11))),
        PlanMessage("check the password: wrapped in quotes", 1, (3,)),
    )
    assert lines_under(lines(job(EU), PoolFacts(EU), planned=planned(suspects=found)), "WARNING") == [
        "12 passwords to check: looks like a hash (rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more)",
        "1 password to check: wrapped in quotes (row 3)",
        'They are sent as they are; input.on_suspect_password = "reject" rejects these rows',
    ]


def test_every_line_begins_with_its_label_in_a_column() -> None:
    found = preflight_lines(
        build_preflight(
            job(EU), sessions(job(EU)), AwsFacts(callers(job(EU)), pools(job(EU)), quotas(job(EU))), planned()
        )
    )
    assert all(line[11] == " " or line.startswith("Passwordless") for line in found.splitlines())


def test_pool_without_a_name_is_shown_by_its_id() -> None:
    for name in ("", EU):
        (text,) = lines_under(lines(job(EU), PoolFacts(EU, name=name)), "User pool")
        assert text.startswith(f"{EU}, eu-west-1")


def test_unknown_account_has_a_reason() -> None:
    shown = lines(job(EU), callers={EU: Caller(problem="STS could not be reached")})
    assert lines_under(shown, "User pool") == [f"{EU}, eu-west-1, account unknown: STS could not be reached"]
    assert lines_under(shown, "Caller") == []


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({"endpoint_url": "http://127.0.0.1:4566"}, "http://127.0.0.1:4566: not AWS's own, NOT ENCRYPTED"),
        ({"endpoint_url": "https://cognito.example"}, "https://cognito.example: not AWS's own"),
        (
            {"endpoint_url": "https://x.amazonaws.com.evil.example/a.amazonaws.com"},
            "https://x.amazonaws.com.evil.example/a.amazonaws.com: not AWS's own",
        ),
        (
            {"verify_ssl": False},
            "https://cognito-idp.eu-west-1.amazonaws.com: its certificate is NOT VERIFIED",
        ),
        ({"endpoint_url": "https://vpce-1.cognito-idp.eu-west-1.vpce.amazonaws.com:8443/x"}, None),
        ({"endpoint_url": "https://evil.example#.amazonaws.com"}, "https://evil.example#.amazonaws.com: not AWS's own"),
        ({"endpoint_url": "https://cognito-idp.eu-west-1.api.aws"}, None),
        ({"endpoint_url": "http://cognito-idp.cn-north-1.amazonaws.com.cn"}, "NOT ENCRYPTED"),
        ({}, None),
    ],
)
def test_endpoint_is_shown_if_it_is_unusual(target: dict[str, Any], text: str | None) -> None:
    asked = job(EU, targets=[{"user_pool_id": EU, **target}])
    shown = lines_under(lines(asked), "Endpoint")
    assert [one[-len(text or "") :] for one in shown] == ([text] if text else [])


def test_emulated_run_says_so_and_has_no_endpoint_to_warn_of() -> None:
    asked = job(EU, targets=[{"user_pool_id": EU, "endpoint_url": "http://127.0.0.1:1"}])
    shown = lines(asked, emulated=True)
    assert lines_under(shown, "Job") == ["test (EMULATED: nothing real is touched)"]
    assert lines_under(shown, "Endpoint") == []


def test_approval_is_named() -> None:
    approved = ApprovalFacts(run_dir="/runs/dry", run_id="r", finished_at="2024-01-31T00:01:00.000Z")
    assert lines_under(lines(job(EU), approved=approved), "Approved") == ["/runs/dry, planned 2024-01-31T00:01:00.000Z"]


def test_history_is_reported() -> None:
    assert lines_under(lines(job(EU), PoolFacts(EU, history=5)), "History") == [
        "The pool refuses the last 5 passwords of a user. That is known only when they are sent"
    ]
    assert lines_under(lines(job(EU)), "History") == []


def test_users_to_set_are_reported_by_status_with_the_largest_first() -> None:
    before = {"FORCE_CHANGE_PASSWORD": 10, "CONFIRMED": 1250, "UNCONFIRMED": 4}
    assert lines_under(lines(job(EU), planned=planned(status_before=before)), "Users") == [
        "1,264 found in the pool: 1,250 CONFIRMED, 10 FORCE_CHANGE_PASSWORD, 4 UNCONFIRMED",
        "A permanent password confirms UNCONFIRMED users",
    ]
    temporary = planned(status_before=before, sendable=[(EU, 0, 24)])
    assert len(lines_under(lines(job(EU), planned=temporary), "Users")) == 1


def test_users_that_were_not_looked_up_are_reported_with_the_reason() -> None:
    assert lines_under(lines(job(EU), planned=planned(unchecked={EU: "the job asks for no check"})), "Users") == [
        "NOT checked: the job asks for no check"
    ]
    apart = planned(unchecked={EU: "because", US: "because", EU2: "otherwise"})
    assert lines_under(lines(job(EU, US, EU2), planned=apart), "Users") == [
        f"NOT checked in {EU}, {US}: because",
        f"NOT checked in {EU2}: otherwise",
    ]


def test_temporary_passwords_show_their_effect_and_expiry() -> None:
    shown = lines(job(EU, US), PoolFacts(EU, temporary_days=7), PoolFacts(US, temporary_days=3))
    must = "each user must choose a new password at the next sign-in, and cannot use forgot-password"
    assert lines_under(shown, "Temporary") == [f"24: {must} until then; they expire after 3 days"]
    unknown = lines(job(EU), PoolFacts(EU, unknown=UNREAD))
    (text,) = lines_under(unknown, "Temporary")
    assert text.endswith("cannot use forgot-password until then")


def test_pool_that_lets_users_in_without_a_password_is_named() -> None:
    shown = lines(job(EU, US), PoolFacts(EU, optional=True), PoolFacts(US, optional=True, passwordless=True))
    assert lines_under(shown, "Passwordless") == [
        f"{EU}: users may sign in without a password. A user without one gets one, and cannot lose it again"
    ]


def test_run_that_sends_nothing_says_nothing_of_sending() -> None:
    shown = lines(job(EU), PoolFacts(EU, optional=True), planned=planned(counts={"rejected": 1}, sendable=[]))
    assert [label for label, _ in shown] == ["Job", "User pool", "Caller", "Rows"]


@pytest.mark.parametrize(
    ("pace", "text"),
    [
        ({}, "48 calls/s (80 % of the quota of 60/s; source: Service Quotas, applied value)"),
        ({"rate": 7}, "7 calls/s (quota: 60/s; source: Service Quotas, applied value)"),
        ({"rate": "none"}, "no limit"),
    ],
)
def test_pace_names_the_quota_and_its_source(pace: dict[str, Any], text: str) -> None:
    shown = lines(job(EU, pace=pace), quotas={EU: AccountQuota(60.0, "Service Quotas, applied value")})
    assert lines_under(shown, "Pace") == [f"eu-west-1: {text}"]
    assert bool(lines_under(shown, "Duration")) is (text != "no limit")


def test_end_is_shown_with_its_day_if_that_is_another() -> None:
    (soon,) = lines_under(lines(job(EU, pace={"rate": 30})), "Duration")
    assert re.fullmatch(r"about 9 s \(done at (?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d \S+ at the earliest\)", soon)
    before = datetime.now().astimezone()
    (late,) = lines_under(lines(job(EU), planned=planned(sendable=[(EU, 1, 24 * 3600 * 30)])), "Duration")
    assert re.fullmatch(r"about 30 h 0 min \(done at \d{4}-\d\d-\d\d \d\d:\d\d [A-Z0-9+-]+ at the earliest\)", late), (
        "with its zone"
    )
    days = {f"{now + timedelta(hours=30):%Y-%m-%d}" for now in (before, datetime.now().astimezone())}
    assert any(day in late for day in days)  # two days, if midnight was between


@pytest.mark.parametrize(
    ("tier", "text"),
    [
        (
            "ESSENTIALS",
            r"can be undone from 15 minutes after the run's start until \d{4}-.* \(feature plan Essentials\)",
        ),
        ("PLUS", r"can be undone from 15 minutes after the run's start until \d{4}-.* \(feature plan Plus\)"),
        ("LITE", r"CANNOT be undone: the feature plan Lite has no point-in-time recovery"),
        ("", r"not known whether it can be undone: the feature plan of the pool is not known"),
    ],
)
def test_preflight_says_until_when_the_run_can_be_undone(tier: str, text: str) -> None:
    told, *effect = lines_under(lines(job(EU), PoolFacts(EU, tier=tier)), "Undo")
    assert re.fullmatch(text, told)
    assert [line.partition(":")[0] for line in effect] == (
        ["bulkreset undo RUN_DIR restores the whole pool"] if told.startswith("can be") else []
    )


@pytest.mark.parametrize(
    ("tier", "valid", "begin", "more"),
    [("PLUS", 14, "can be undone from 15 minutes", 1), ("ESSENTIALS", 1, "CANNOT be undone any more", 0)],
)
def test_time_for_an_undo_counts_from_the_first_call_of_a_resumed_run(
    tier: str, valid: int, begin: str, more: int
) -> None:
    point = datetime.now(UTC) - timedelta(days=3)
    facts = planned(recovery_point=point.isoformat())
    told, *effect = lines_under(lines(job(EU), PoolFacts(EU, tier=tier), planned=facts), "Undo")
    assert told.startswith(begin)
    assert f"until {(point + timedelta(days=valid)).astimezone():%Y-%m-%d %H:%M}" in told
    assert len(effect) == more


def test_pools_of_several_plans_are_reported_one_by_one() -> None:
    found = lines_under(lines(job(EU, US), PoolFacts(EU, tier="PLUS"), PoolFacts(US, tier="LITE")), "Undo")
    assert [text.partition(":")[0] for text in found[:2]] == [EU, US]


def test_emulated_run_needs_no_undo() -> None:
    assert lines_under(lines(job(EU), PoolFacts(EU, tier="PLUS"), emulated=True), "Undo") == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.25, "0.2 s"), (59.9, "59.9 s"), (60, "1 min"), (3599, "1 h 0 min"), (5400, "1 h 30 min")]
)
def test_duration_is_readable(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_every_guard_is_reported() -> None:
    guards = {
        "max_rows": 5000,
        "max_failures": "5%",
        "max_refused_in_a_row": 10,
        "max_duration": "90m",
        "stop_at": "06:00",
        "limit": 2500,
        "protected": {"usernames": ["ann", "bob"], "groups": ["admins", "staff"]},
    }
    (text,) = lines_under(lines(job(EU, guards=guards)), "Guards")
    assert text == (
        f"Stops if more than 5 % of rows fail, or 10 in a row; after 1 h 30 min; at 06:00 {datetime.now().astimezone():%Z};"
        " after 2,500 rows. At most 5,000 rows. 2 protected users. Protected groups: admins, staff"
    )
    assert lines_under(lines(job(EU, guards={"max_refused_in_a_row": 0})), "Guards") == ["none"]
    (one,) = lines_under(lines(job(EU, guards={"protected": {"usernames": ["ann"]}})), "Guards")
    assert one.endswith("1 protected user")


def test_gaps_are_named_with_a_statement_that_allows_denied_calls() -> None:
    shown = lines(
        job(EU),
        PoolFacts(EU, unknown=UNREAD),
        quotas={EU: AccountQuota(30.0, "published", (UNTOLD,))},
        planned=planned(unknown=[UNLISTED]),
    )
    assert lines_under(shown, "Not known") == [
        "its policy: cognito-idp:DescribeUserPool was denied (AccessDeniedException)",
        "the quota: servicequotas:GetServiceQuota was denied (AccessDeniedException)",
        "who is in the pool: cognito-idp:ListUsers was denied (AccessDenied)",
    ]
    assert [json.loads(text) for text in lines_under(shown, "Allow")] == [
        {
            "Effect": "Allow",
            "Action": ["cognito-idp:DescribeUserPool", "cognito-idp:ListUsers"],
            "Resource": "arn:pool",
        },
        {"Effect": "Allow", "Action": ["servicequotas:GetServiceQuota"], "Resource": "*"},
    ]


def test_service_that_was_not_reached_needs_no_permission() -> None:
    shown = lines(job(EU), quotas={EU: AccountQuota(30.0, "published", (UNREACHED,))})
    assert lines_under(shown, "Not known") == [
        "the quota: servicequotas:GetServiceQuota failed (EndpointConnectionError)"
    ]
    assert lines_under(shown, "Allow") == []


def test_many_pools_and_lanes_are_counted() -> None:
    names = [f"{region}_Pool0000{number}" for number, region in enumerate(("eu-west-1", "us-east-1", "us-east-2") * 3)]
    accounts = {name: Caller(str(number), f"arn:{number}") for number, name in enumerate(names)}
    facts = [PoolFacts(name, optional=True) for name in names]
    shown = lines(job(*names), *facts, planned=planned(sendable=[(names[0], 1, 9)]), callers=accounts)
    assert len([label for label, _ in shown if label == "User pool"]) == SHOWN
    assert lines_under(shown, "Caller")[-1] == f"and {9 - SHOWN} more user pools"
    assert len(lines_under(shown, "Pace")) == SHOWN + 1
    assert lines_under(shown, "Pace")[-1] == f"and {9 - SHOWN} more account Regions"
    assert lines_under(shown, "Passwordless")[0].startswith(
        ", ".join(names[:SHOWN]) + f" and {9 - SHOWN} more: users may"
    )


def test_endpoint_of_a_pool_that_is_only_counted_is_also_shown() -> None:
    names = [f"eu-west-1_Pool0000{number}" for number in range(SHOWN + 2)]
    targets = [{"user_pool_id": name} for name in names[:-1]]
    asked = job(*names, targets=[*targets, {"user_pool_id": names[-1], "endpoint_url": "http://there.example"}])
    assert lines_under(lines(asked), "Endpoint") == ["http://there.example: not AWS's own, NOT ENCRYPTED"]


def test_count_of_one_is_singular() -> None:
    one = planned(counts={"ready": 1}, sendable=[(EU, 1, 1)], recovery=PlannedRecovery({EU: {"none": 1}}))
    guards = {"max_rows": 1, "max_failures": 1, "max_refused_in_a_row": 1, "limit": 1}
    shown = lines(job(EU, guards=guards, **SCRAMBLE), planned=one)
    assert lines_under(shown, "Billing") == ["Up to 1 user will count as a monthly active user (billed)"]
    assert lines_under(shown, "Sign-out") == ["1 user, from all devices, after the password is set"]
    assert lines_under(shown, "WARNING")[0].startswith("1 user cannot recover")
    (text,) = lines_under(shown, "Guards")
    assert text == "Stops if more than 1 row fails, or 1 in a row; after 1 row. At most 1 row"


def test_preflight_has_no_path_of_the_input() -> None:
    asked = job(EU, input={"path": Path("/secret/place.csv")})
    assert all("/secret" not in text for _, text in lines(asked))


SCRAMBLE: dict[str, Any] = {"permanent": True, "password": {"source": "generate", "length": 32}}


def test_step_shows_its_cost_and_pools_that_do_not_need_it() -> None:
    facts = PoolFacts(EU, remembers_devices=True, has_sessions=None)
    asked = job(EU, US, after={"forget_devices": True, "revoke_sessions": True, "delete_totp": True})
    shown = [text for _, text in lines(asked, facts, planned=planned(sendable=[(EU, 1, 1), (US, 1, 5)]))]
    at = shown.index(
        "1 user, remembered devices forgotten (they need MFA again on each device), after the password is set"
    )
    assert shown[at + 1] == f"Not in {US}: devices are not remembered"
    assert shown[at + 2] == "Calls for each user: 1, and 1 for each of the devices"
    assert f"Not in {EU}, {US}: there are no authenticators (TOTP)" in shown
    assert f"Not known whether it is needed in {EU}, {US}: it is tried for each user" in shown


def test_duration_of_a_step_with_a_call_for_each_item_is_a_minimum() -> None:
    facts = PoolFacts(EU, remembers_devices=True)
    for after, begin in (({"forget_devices": True}, "at least 1 s"), ({"sign_out": True}, "about 1 s")):
        (text,) = lines_under(lines(job(EU, after=after), facts, planned=planned(sendable=[(EU, 1, 1)])), "Duration")
        assert text.startswith(begin)


def test_scramble_says_that_passwords_are_not_kept_and_who_is_signed_out() -> None:
    shown = lines(job(EU, **SCRAMBLE), planned=planned(sendable=[(EU, 1, 240)]))
    assert lines_under(shown, "Passwords") == [
        "generated, 32 characters, kept NOWHERE: users recover with forgot-password"
    ]
    assert lines_under(shown, "Sign-out") == ["240 users, from all devices, after their passwords are set"]
    assert lines_under(shown, "WARNING") == []


@pytest.mark.parametrize(
    ("passwords", "text"),
    [
        ({"recipients": ["age1one"]}, "generated, encrypted for 1 recipient, in the run directory"),
        (
            {"recipients": ["age1one", "ssh-ed25519 AAAA"], "folder": Path("/mnt/safe")},
            "generated, encrypted for 2 recipients, in /mnt/safe",
        ),
    ],
)
@pytest.mark.parametrize("permanent", [True, False])
def test_preflight_gives_number_of_recipients_and_folder_of_encrypted_passwords(
    passwords: dict[str, Any], text: str, *, permanent: bool
) -> None:
    asked = job(EU, permanent=permanent, password={"source": "generate"} | passwords)
    shown = lines(asked)
    assert lines_under(shown, "Passwords") == [text]
    assert lines_under(shown, "Sign-out") == ["Users stay signed in (existing sessions are not ended)"]
    assert "age1one" not in str(shown)


def test_passwords_of_the_input_need_no_line() -> None:
    assert lines_under(lines(job(EU)), "Passwords") == []
