"""What may not be asked, or is not answered, is named with what would allow it; a pool that is not there ends the run."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import LAX, POOL, SET, Command, people, write_csv, write_job
from tests.e2e.populated import DESCRIBES, FAST, LISTS, PASSWORD, allowed, codes, dry, naming, populate, real, resumed
from tests.sim import Simulator

HERE = f"arn:aws:cognito-idp:us-east-1:*:userpool/{POOL}"
MISSING = "us-east-1_Missing01"


def refuse(sim: Simulator, operation: str, code: str = "AccessDeniedException", **window: Any) -> None:  # noqa: ANN401
    """The service answers so from now on."""
    sim.configure(faults={"every": {"operation": operation, "error": code, **window}})


def test_users_that_may_not_be_listed_are_named_and_the_run_goes_on(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    refuse(sim, LISTS)
    ran = real(bulkreset, naming(tmp_path, "ann", "nobody"))
    assert (ran.code, codes(ran)) == (1, ["set", "UserNotFoundException"])
    assert "cognito-idp:ListUsers was denied (AccessDeniedException)" in ran.stderr
    assert "NOT looked up: ListUsers was refused (AccessDeniedException)" in ran.stderr
    assert allowed(ran.stderr) == [{"Effect": "Allow", "Action": ["cognito-idp:ListUsers"], "Resource": HERE}]
    assert any(event["event"] == "not_known" and event["action"] == "cognito-idp:ListUsers" for event in ran.log)
    assert ran.summary["unchecked"] == {POOL: "ListUsers was refused (AccessDeniedException)"}


def test_pool_that_may_not_be_described_is_named_and_nobody_is_looked_up(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    refuse(sim, DESCRIBES)
    ran = real(bulkreset, naming(tmp_path, "ann", "nobody"))
    assert (ran.code, codes(ran)) == (1, ["set", "UserNotFoundException"])
    assert "NOT looked up: how the pool compares names is not known" in ran.stderr
    assert allowed(ran.stderr) == [{"Effect": "Allow", "Action": ["cognito-idp:DescribeUserPool"], "Resource": HERE}]
    assert sim.calls(LISTS) == []


def test_everything_that_is_denied_is_in_one_statement_for_each_resource(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    limits = ["GetProvisionedLimit", "GetServiceQuota", "GetAWSDefaultServiceQuota"]
    denied = [{"operation": operation, "error": "AccessDeniedException"} for operation in (LISTS, *limits)]
    sim.configure(faults={"every": denied})
    ran = dry(bulkreset, naming(tmp_path, "ann"))
    assert ran.code == 0
    assert {statement["Resource"]: statement["Action"] for statement in allowed(ran.stderr)} == {
        HERE: ["cognito-idp:ListUsers"],
        "*": [
            "cognito-idp:GetProvisionedLimit",
            "servicequotas:GetAWSDefaultServiceQuota",
            "servicequotas:GetServiceQuota",
        ],
    }


def test_listing_that_is_throttled_slows_down_and_loses_nobody(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, policy=LAX, generate={"count": 600, "prefix": "user.", "digits": 3})
    sim.configure(quota={"operation": LISTS, "rate": 12, "bucket": 2})
    input_ = write_csv(tmp_path / "in.csv", [*people(30), ("nobody", PASSWORD)])
    ran = bulkreset(*bulkreset.checked(input_), "--rate", "500", "--yes")
    assert ran.summary["counts"] == {"set": 30, "rejected": 1}
    stats = sim.stats()
    assert stats.count(LISTS, "ok") == 10
    assert stats.count(LISTS, "TooManyRequestsException") > 0
    assert stats.max_per_second[LISTS] <= 24 + 2


@pytest.mark.parametrize("step", [{"cut": "after"}, {"garbage": True}], ids=str)
def test_listing_that_breaks_is_asked_again(
    step: dict[str, Any], tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    sim.configure(faults={"every": {"operation": LISTS, "until_call": 2, **step}})
    assert codes(dry(bulkreset, naming(tmp_path, "ann", "nobody"))) == ["ready", "user_not_found"]
    assert len(sim.calls(LISTS)) == 3


def test_page_whose_token_has_expired_begins_the_sweep_again(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, policy=LAX, generate={"count": 300, "prefix": "user.", "digits": 3})
    refuse(sim, LISTS, "InvalidParameterException", from_call=4, until_call=4)
    input_ = write_csv(tmp_path / "in.csv", people(30))
    ran = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run")
    assert (ran.code, ran.summary["counts"]) == (0, {"ready": 30})
    assert len(sim.calls(LISTS)) == 4 + 5


@pytest.mark.parametrize(("mode", "check"), [("--dry-run", True), ("--yes", True), ("--yes", False)])
def test_pool_that_is_not_there_ends_the_run_before_anything_is_sent(
    mode: str, *, check: bool, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    input_ = naming(tmp_path, "ann", "bob")
    options = () if check else ("--no-check-users",)
    ran = bulkreset(*bulkreset.checked(input_, MISSING), *options, mode)
    assert ran.code == 3
    (sentence,) = ran.complaints
    assert MISSING in sentence
    assert "ResourceNotFoundException" in sentence
    assert "Region" in sentence
    assert ran.column("status") == ["ready" if mode == "--dry-run" else "unprocessed"] * 2
    assert ran.summary["stopped_by"]["code"] == "ResourceNotFoundException"
    assert sim.calls(SET) == []
    assert sim.calls(LISTS) == []


def test_run_whose_pool_was_not_there_goes_on_where_it_is(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset(*bulkreset.checked(naming(tmp_path, "ann", "bob"), MISSING), *FAST, "--yes")
    assert f"bulkreset resume {ran.run_dir}" in ran.stderr
    sim.add_pool(MISSING, ["ann", "bob"], LAX)
    again = resumed(bulkreset, ran)
    assert (again.code, again.summary["counts"]) == (0, {"set": 2})


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "OptInRequired"])
def test_other_answer_after_which_no_call_can_succeed_ends_the_run(
    code: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    refuse(sim, DESCRIBES, code)
    ran = real(bulkreset, naming(tmp_path, "ann"))
    assert (ran.code, ran.summary["counts"]) == (3, {"unprocessed": 1})
    assert code in ran.complaints[0]
    assert sim.calls(SET) == []


def test_one_of_several_pools_that_is_not_there_ends_the_run(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    (tmp_path / "in.csv").write_text(f"username,password,user_pool_id\nann,{PASSWORD},{POOL}\n", encoding="utf-8")
    ran = bulkreset("run", write_job(tmp_path, sim.url, 'path = "in.csv"', plan="", pools=[POOL, MISSING]), "--yes")
    assert ran.code == 3
    assert MISSING in ran.complaints[0]
    assert sim.calls(SET) == []


@pytest.mark.parametrize(
    ("limits", "pace"),
    [
        (
            {"provisioned_limits": {"UserAccountRecovery": 60}},
            "48 calls/s of the quota's 60/s (the provisioned limit)",
        ),
        ({"service_quotas": {"L-7D6E8ED3": 50}}, "40 calls/s of the quota's 50/s (applied, by Service Quotas)"),
        ({}, "24 calls/s of the quota's 30/s (the default, by Service Quotas)"),
    ],
    ids=["provisioned", "applied", "default"],
)
def test_preflight_tells_the_quota_its_source_and_the_ceiling(
    limits: dict[str, Any], pace: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    sim.configure(**limits)
    ran = bulkreset(*bulkreset.checked(naming(tmp_path, "ann")), "--dry-run")
    assert f"us-east-1: {pace}\n" in ran.stderr
    (lane,) = ran.summary["lanes"]
    assert pace.startswith(f"{lane['ceiling']:g} calls/s of the quota's {lane['quota']:g}/s")


def test_quota_that_cannot_be_asked_for_is_the_published_one(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    input_ = naming(tmp_path, "ann")
    env = {"AWS_ENDPOINT_URL_SERVICE_QUOTAS": "http://127.0.0.1:9"}
    ran = bulkreset(*bulkreset.checked(input_), "--dry-run", env=env)
    assert ran.code == 0
    assert "24 calls/s of the quota's 30/s (as AWS publishes it)" in ran.stderr
    assert "servicequotas:GetServiceQuota was not answered (EndpointConnectionError)" in ran.stderr
    assert allowed(ran.stderr) == []
