"""The preflight: shared quotas, rate, number of rows, duration."""

from collections.abc import Mapping
from typing import Any

import pytest

from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.quota import AccountQuota
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import Caller
from bulkreset.errors import RunDirError
from bulkreset.job import Job
from bulkreset.journal.run_state import TargetFacts
from bulkreset.plan.preflight import (
    AwsFacts,
    PlanFacts,
    PlannedLane,
    build_preflight,
    describe_targets,
    expected_seconds,
    listing_rate,
    plan_lanes,
    require_same_targets,
    step_ceiling,
)
from bulkreset.send.timetable import Timetable
from tests.targets import ACCOUNT, EU, EU2, US, callers, job, pools, quotas, sessions

GAP = UnknownFact("the quota", "servicequotas:GetServiceQuota", "AccessDeniedException", denied=True)


def lanes(asked: Job, called: Mapping[str, Caller] | None = None) -> tuple[PlannedLane, ...]:
    """Return the lanes of a job, at a quota of 30."""
    return plan_lanes(asked, sessions(asked), callers(asked) if called is None else called, quotas(asked))


def test_pools_of_one_account_and_region_share_a_lane() -> None:
    found = lanes(job(EU, US, EU2))
    assert [(lane.account, lane.region, lane.pools) for lane in found] == [
        ("111122223333", "eu-west-1", (EU, EU2)),
        ("111122223333", "us-east-1", (US,)),
    ]


def test_two_accounts_are_two_lanes() -> None:
    both = {EU: Caller("1", "arn"), EU2: Caller("2", "arn")}
    assert [lane.pools for lane in lanes(job(EU, EU2), both)] == [(EU,), (EU2,)]


def test_unknown_accounts_are_distinguished_by_profile_and_endpoint() -> None:
    nobody = {EU: Caller(problem="x"), EU2: Caller(problem="x")}
    assert [lane.pools for lane in lanes(job(EU, EU2), nobody)] == [(EU, EU2)]
    asked = job(EU, EU2)
    apart = sessions(asked)
    apart[EU2] = sessions(asked, profile="other")[EU2]
    assert [lane.pools for lane in plan_lanes(asked, apart, nobody, quotas(asked))] == [(EU,), (EU2,)]


@pytest.mark.parametrize(
    ("pace", "ceiling"),
    [
        ({}, 24.0),
        ({"share": 0.5}, 15.0),
        ({"rate": "auto", "share": 1}, 30.0),
        ({"rate": 7}, 7.0),
        ({"rate": 7, "share": 0.1}, 7.0),
        ({"rate": 500}, 500.0),
        ({"rate": "none"}, None),
    ],
)
def test_ceiling_is_the_jobs_rate_or_a_share_of_the_quota(pace: dict[str, Any], ceiling: float | None) -> None:
    (lane,) = lanes(job(EU, pace=pace))
    assert (lane.ceiling, lane.quota) == (ceiling, 30.0)


def test_lane_has_the_quota_of_any_of_its_pools() -> None:
    asked = job(EU, EU2)
    told, published = AccountQuota(60.0, "applied"), AccountQuota(30.0, "as published", (GAP,))
    for first, second in ((told, published), (published, told)):
        (lane,) = plan_lanes(asked, sessions(asked), callers(asked), {EU: first, EU2: second})
        assert (lane.quota, lane.source, lane.ceiling) == (60.0, "applied", 48.0)


@pytest.mark.parametrize(("pace", "rate"), [({}, 24.0), ({"share": 0.5}, 15.0), ({"rate": 500}, 24.0)])
def test_users_are_listed_at_a_share_of_what_aws_allows(pace: dict[str, Any], rate: float) -> None:
    assert listing_rate(job(EU, pace=pace)) == rate


def test_users_are_listed_unpaced_if_nothing_is_paced() -> None:
    assert listing_rate(job(EU, pace={"rate": "none"})) is None


def lane_of(*pools: str, region: str = "a", quota: float = 30, ceiling: float | None = 24) -> PlannedLane:
    return PlannedLane("1", region, pools, quota, "test quota", ceiling)


def test_longest_lane_decides_the_duration() -> None:
    fast, slow = lane_of(EU, EU2), lane_of(US, region="b", ceiling=2)
    assert expected_seconds((fast, slow), {EU: 240, EU2: 240, US: 10}, Timetable(()), 0.0) == 20
    assert expected_seconds((fast, slow), {EU: 24, US: 10}, Timetable(()), 0.0) == 5
    assert expected_seconds((fast, slow), {}, Timetable(()), 0.0) == 0
    assert expected_seconds((fast, lane_of(US, region="b", ceiling=None)), {EU: 24}, Timetable(()), 0.0) is None


def test_quota_below_the_ceiling_decides_the_duration() -> None:
    assert expected_seconds((lane_of(EU, quota=30, ceiling=500),), {EU: 300}, Timetable(()), 0.0) == 10


def test_preflight_counts_the_rows_to_send() -> None:
    asked = job(EU, US)
    planned = PlanFacts(
        {"ready": 276, "rejected": 1}, [(EU, 1, 240), (EU, 0, 24), (US, 1, 12)], {"CONFIRMED": 270}, {US: "why"}
    )
    found = build_preflight(asked, sessions(asked), AwsFacts(callers(asked), pools(asked), quotas(asked)), planned)
    assert (found.permanent, found.temporary, found.ready) == (252, 24, 276)
    assert found.seconds == 11
    assert found.endpoints == {
        EU: "https://cognito-idp.eu-west-1.amazonaws.com",
        US: "https://cognito-idp.us-east-1.amazonaws.com",
    }
    assert not found.emulated
    assert found.counts == {"ready": 276, "rejected": 1}
    assert (found.status_before, found.unchecked, found.unknown) == ({"CONFIRMED": 270}, {US: "why"}, ())
    assert found.approved is None


def test_every_gap_is_reported_once() -> None:
    asked = job(EU, EU2)
    unread = UnknownFact("its policy", "cognito-idp:DescribeUserPool", "AccessDeniedException", denied=True)
    unlisted = UnknownFact("who is there", "cognito-idp:ListUsers", "AccessDeniedException", denied=True)
    brought = AwsFacts(
        callers(asked),
        {EU: PoolFacts(EU, unknown=unread), EU2: PoolFacts(EU2)},
        {EU: AccountQuota(30.0, "p", (GAP,)), EU2: AccountQuota(30.0, "p", (GAP,))},
    )
    found = build_preflight(asked, sessions(asked), brought, PlanFacts({}, [], {}, {}, [unlisted]))
    assert found.unknown == (unread, GAP, unlisted)


def test_pool_is_shown_by_its_name_if_it_is_known() -> None:
    asked = job(EU, US)
    brought = AwsFacts(callers(asked), pools(asked, {EU: PoolFacts(EU, name="customers")}), quotas(asked))
    found = build_preflight(asked, sessions(asked), brought, PlanFacts({}, [], {}, {}))
    assert (found.name_of(EU), found.name_of(US)) == ("customers", US)


def test_emulator_has_its_own_quota() -> None:
    asked = job(EU)
    brought = AwsFacts(callers(asked), pools(asked), {EU: AccountQuota(100.0, "the emulator")})
    found = build_preflight(asked, sessions(asked, emulated=True), brought, PlanFacts({}, [], {}, {}))
    assert found.emulated
    assert [(lane.quota, lane.ceiling) for lane in found.lanes] == [(100, 80)]


def test_targets_are_described_with_the_account_if_it_is_known() -> None:
    asked = job(EU)
    endpoint = "https://cognito-idp.eu-west-1.amazonaws.com"
    plain = TargetFacts(user_pool_id=EU, region="eu-west-1", endpoint=endpoint)
    assert describe_targets(sessions(asked)) == (plain,)
    assert describe_targets(sessions(asked), callers(asked)) == (plain.model_copy(update={"account": ACCOUNT}),)


@pytest.mark.parametrize("key", ["region", "endpoint"])
def test_target_that_is_reached_elsewhere_is_refused(key: str) -> None:
    (planned,) = describe_targets(sessions(job(EU)))
    require_same_targets([planned.model_copy()], [planned])
    with pytest.raises(RunDirError, match=f"The {key} of {EU} was .* and is elsewhere now"):
        require_same_targets([planned.model_copy(update={key: "elsewhere"})], [planned])


STEPS = {"sign_out": True, "revoke_sessions": True, "forget_devices": True, "delete_totp": True}
MFA_DENIED = UnknownFact("MFA", "cognito-idp:GetUserPoolMfaConfig", "AccessDeniedException", denied=True)


def steps_of(asked: Job, *facts: PoolFacts, rows: int = 100) -> dict[str, tuple[tuple[str, ...], tuple[str, ...], int]]:
    """Return the steps in a preflight with so many rows in each pool: pools, unknown ones, users."""
    known = pools(asked, {one.user_pool_id: one for one in facts})
    planned = PlanFacts(
        {"ready": rows}, [(pool, 1, rows) for pool in known], {}, {}, pending_steps={"sign_out": {EU: 7}}
    )
    built = build_preflight(asked, sessions(asked), AwsFacts(callers(asked), known, quotas(asked)), planned)
    return {it.step.name: (it.pools, it.unknown, it.users) for it in built.steps}


def test_steps_are_taken_if_the_pool_has_items_to_remove() -> None:
    has = PoolFacts(EU, remembers_devices=True, has_sessions=True, mfa="ON", mfa_kinds=frozenset({"TOTP"}))
    has_not = PoolFacts(US, has_sessions=False)
    assert steps_of(job(EU, US, after=STEPS), has, has_not) == {
        "sign_out": ((EU, US), (), 207),
        "revoke_sessions": ((EU,), (), 100),
        "forget_devices": ((EU,), (), 100),
        "delete_totp": ((EU,), (), 100),
    }


def test_steps_that_may_be_needed_are_tried() -> None:
    unknown = PoolFacts(EU, unknown=UnknownFact("pool", "cognito-idp:DescribeUserPool", "AccessDenied"))
    assert {name: found[1] for name, found in steps_of(job(EU, after=STEPS), unknown).items()} == {
        "sign_out": (),
        **dict.fromkeys(("revoke_sessions", "forget_devices", "delete_totp"), (EU,)),
    }
    denied = steps_of(job(EU, after=STEPS), PoolFacts(EU, mfa="ON", gaps=(MFA_DENIED,)))
    assert (denied["delete_totp"][1], denied["forget_devices"][0]) == ((EU,), ())


@pytest.mark.parametrize(
    ("after", "ceilings"),
    [
        ({"sign_out": True}, [20.0]),
        ({"forget_devices": True}, [20.0]),
        ({"sign_out": True, "delete_totp": True}, [20.0, 20.0]),
        (STEPS, [20.0, 20 / 3, 20 / 3, 20 / 3]),
    ],
)
def test_steps_of_one_quota_share_it(after: dict[str, bool], ceilings: list[float]) -> None:
    asked = job(EU, after=after)
    assert [step_ceiling(asked, step) for step in asked.steps] == pytest.approx(ceilings)
    unpaced = job(EU, after=after, pace={"rate": "none"})
    assert {step_ceiling(unpaced, step) for step in unpaced.steps} == {None}
