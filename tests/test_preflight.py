"""The preflight: which pools share a quota, how fast, how many rows, how long."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from bulkreset.cognito.session import Caller, TargetSession
from bulkreset.job import Job
from bulkreset.preflight import LanePlan, expected_seconds, inspect, plan_lanes

EU, US = "eu-west-1_Here00001", "us-east-1_There0001"
EU2 = "eu-west-1_Here00002"


def job(*pools: str, **keys: Any) -> Job:  # noqa: ANN401  (job keys)
    """A job for these pools."""
    tables = {
        "name": "test",
        "input": {"path": Path("users.csv")},
        "targets": [{"user_pool_id": pool} for pool in pools],
    }
    return Job.model_validate(tables | keys)


def sessions(asked: Job, *, emulated: bool = False, **change: Any) -> dict[str, TargetSession]:  # noqa: ANN401
    """A session for each target, in the Region that its id names."""
    found = {}
    for target in asked.targets:
        region = target.user_pool_id.partition("_")[0]
        session = boto3.Session("AKID", "secret", region_name=region)
        found[target.user_pool_id] = TargetSession(target.model_copy(update=change), session, emulated=emulated)
    return found


def callers(asked: Job, account: str = "111122223333") -> Mapping[str, Caller]:
    """The same caller for every target."""
    return {target.user_pool_id: Caller(account, "arn") for target in asked.targets}


def lanes(asked: Job, called: Mapping[str, Caller] | None = None) -> tuple[LanePlan, ...]:
    """The lanes of a job, at a quota of 30."""
    return plan_lanes(asked, sessions(asked), callers(asked) if called is None else called, 30.0)


def test_pools_of_one_account_and_region_share_a_lane() -> None:
    found = lanes(job(EU, US, EU2))
    assert [(lane.account, lane.region, lane.pools) for lane in found] == [
        ("111122223333", "eu-west-1", (EU, EU2)),
        ("111122223333", "us-east-1", (US,)),
    ]


def test_two_accounts_are_two_lanes() -> None:
    both = {EU: Caller("1", "arn"), EU2: Caller("2", "arn")}
    assert [lane.pools for lane in lanes(job(EU, EU2), both)] == [(EU,), (EU2,)]


def test_unknown_account_is_told_apart_by_the_way_to_it() -> None:
    nobody = {EU: Caller(problem="x"), EU2: Caller(problem="x")}
    assert [lane.pools for lane in lanes(job(EU, EU2), nobody)] == [(EU, EU2)]
    asked = job(EU, EU2)
    apart = sessions(asked)
    apart[EU2] = sessions(asked, profile="other")[EU2]
    assert [lane.pools for lane in plan_lanes(asked, apart, nobody, 30.0)] == [(EU,), (EU2,)]


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


def test_longest_lane_is_how_long_it_takes() -> None:
    fast, slow = LanePlan("1", "a", (EU, EU2), 30, 24), LanePlan("1", "b", (US,), 30, 2)
    assert expected_seconds((fast, slow), {EU: 240, EU2: 240, US: 10}) == 20
    assert expected_seconds((fast, slow), {EU: 24, US: 10}) == 5
    assert expected_seconds((fast, slow), {}) == 0
    assert expected_seconds((fast, LanePlan("1", "b", (US,), 30, None)), {EU: 24}) is None


def test_preflight_counts_what_will_be_sent() -> None:
    asked = job(EU, US)
    ready = [(EU, 1, 240), (EU, 0, 24), (US, 1, 12)]
    found = inspect(asked, sessions(asked), callers(asked), {"ready": 276, "rejected": 1}, ready)
    assert (found.permanent, found.temporary, found.ready) == (252, 24, 276)
    assert found.seconds == 11
    assert found.endpoints == {
        EU: "https://cognito-idp.eu-west-1.amazonaws.com",
        US: "https://cognito-idp.us-east-1.amazonaws.com",
    }
    assert not found.emulated
    assert found.counts == {"ready": 276, "rejected": 1}


def test_emulator_has_its_own_quota() -> None:
    asked = job(EU, emulator={"quota": 100})
    found = inspect(asked, sessions(asked, emulated=True), callers(asked), {}, [])
    assert found.emulated
    assert [(lane.quota, lane.ceiling) for lane in found.lanes] == [(100, 80)]
