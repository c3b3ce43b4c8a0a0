"""Denied and unanswered calls are named with the permission that allows them; a missing pool ends the run."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import LAX, POOL, SET, Command, people, write_csv, write_job
from tests.e2e.populated import (
    DESCRIBES,
    FAST,
    LISTS,
    PASSWORD,
    allowed,
    codes,
    dry_run,
    populate,
    real_run,
    resumed,
    write_names,
)
from tests.e2e.program import Program
from tests.sim import Simulator

HERE = f"arn:aws:cognito-idp:us-east-1:*:userpool/{POOL}"
MISSING = "us-east-1_Missing01"


def refuse(sim: Simulator, operation: str, code: str = "AccessDeniedException", **window: Any) -> None:  # noqa: ANN401
    """Make the service answer like this from now on."""
    sim.configure(faults={"every": {"operation": operation, "error": code, **window}})


def test_denied_list_is_reported_and_the_run_continues(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    refuse(sim, LISTS)
    ran = real_run(bulkreset, write_names(tmp_path, "ann", "nobody"))
    assert (ran.code, codes(ran)) == (1, ["set", "UserNotFoundException"])
    assert "cognito-idp:ListUsers was denied (AccessDeniedException)" in ran.stderr
    assert "NOT checked: ListUsers was denied (AccessDeniedException)" in ran.stderr
    assert allowed(ran.stderr) == [{"Effect": "Allow", "Action": ["cognito-idp:ListUsers"], "Resource": HERE}]
    assert any(event["event"] == "info_unavailable" and event["action"] == "cognito-idp:ListUsers" for event in ran.log)
    assert ran.summary["unchecked"] == {POOL: "ListUsers was denied (AccessDeniedException)"}


def test_pool_with_a_denied_description_is_named_and_no_user_is_looked_up(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    refuse(sim, DESCRIBES)
    ran = real_run(bulkreset, write_names(tmp_path, "ann", "nobody"))
    assert (ran.code, codes(ran)) == (1, ["set", "UserNotFoundException"])
    assert "NOT checked: the pool could not be read (DescribeUserPool: " in ran.stderr
    assert allowed(ran.stderr) == [{"Effect": "Allow", "Action": ["cognito-idp:DescribeUserPool"], "Resource": HERE}]
    assert sim.calls(LISTS) == []


def test_everything_that_is_denied_is_in_one_statement_for_each_resource(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    limits = ["GetProvisionedLimit", "GetServiceQuota", "GetAWSDefaultServiceQuota"]
    denied = [{"operation": operation, "error": "AccessDeniedException"} for operation in (LISTS, *limits)]
    sim.configure(faults={"every": denied})
    ran = dry_run(bulkreset, write_names(tmp_path, "ann"))
    assert ran.code == 0
    assert {statement["Resource"]: statement["Action"] for statement in allowed(ran.stderr)} == {
        HERE: ["cognito-idp:ListUsers"],
        "*": [
            "cognito-idp:GetProvisionedLimit",
            "servicequotas:GetAWSDefaultServiceQuota",
            "servicequotas:GetServiceQuota",
        ],
    }


def test_throttled_interrupted_or_expired_listing_loses_no_user(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    sim.add_pool(POOL, policy=LAX, generate={"count": 300, "prefix": "user.", "digits": 3})
    # By list call: the third one's page token is refused, so the sweep begins again.
    troubles: list[dict[str, Any]] = [
        {"error": "TooManyRequestsException"},
        {"error": "InvalidParameterException", "from_call": 4},
        {"cut": "after", "from_call": 6},
        {"garbage": True, "from_call": 8},
    ]
    rules: list[dict[str, Any]] = [{"operation": LISTS, "from_call": 1, **step} for step in troubles]
    sim.configure(faults={"every": [rule | {"until_call": rule["from_call"]} for rule in rules]})
    input_ = write_csv(tmp_path / "in.csv", [*people(30), ("nobody", PASSWORD)])
    ran = bulkreset(*bulkreset.checked(input_), "--rate", "500", "--yes")
    assert ran.summary["counts"] == {"set": 30, "rejected": 1}
    answers = [call.answer for call in sim.calls(LISTS)]
    throttled, expired = "TooManyRequestsException", "InvalidParameterException"
    assert answers == [
        throttled,
        "ok",
        "ok",
        expired,
        "ok",
        "cut",
        "ok",
        "garbage",
        "ok",
        "ok",
        "ok",
        "ok",
    ]  # the last call looks up users who are not listed


def test_pool_that_is_not_there_ends_the_run_before_anything_is_sent_until_it_is(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    ran = bulkreset(*bulkreset.checked(write_names(tmp_path, "ann", "bob"), MISSING), *FAST, "--yes")
    assert (ran.code, ran.summary["resumable"]) == (2, False)
    (sentence,) = ran.error_lines
    assert MISSING in sentence
    assert "ResourceNotFoundException" in sentence
    assert "Region" in sentence
    assert "of the rows that are not set" in sentence
    assert "bulkreset resume" not in ran.stderr
    assert ran.column("status") == ["unprocessed"] * 2
    assert ran.summary["stopped_by"]["code"] == "ResourceNotFoundException"
    assert sim.calls(SET) == []
    assert sim.calls(LISTS) == []
    sim.add_pool(MISSING, ["ann", "bob"], LAX)
    again = resumed(bulkreset, ran)
    assert (again.code, again.summary["counts"]) == (0, {"set": 2})


@pytest.mark.parametrize(("mode", "check"), [("plan", True), ("apply", False)])
def test_pool_that_is_not_there_ends_a_dry_run_and_one_without_a_check(
    mode: str, *, check: bool, tmp_path: Path, program: Program, sim: Simulator
) -> None:
    job = program.tables(write_names(tmp_path, "ann", "bob"), user_pool_id=MISSING) | {"plan": {"check_users": check}}
    ran = getattr(program, mode)(job)
    assert ran.code == 2
    assert MISSING in ran.error_lines[0]
    assert ran.column("status") == ["ready" if mode == "plan" else "unprocessed"] * 2
    assert (sim.calls(SET), sim.calls(LISTS)) == ([], [])


def test_other_answer_after_which_no_call_can_succeed_ends_the_run(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    refuse(sim, DESCRIBES, "OptInRequired")
    ran = real_run(bulkreset, write_names(tmp_path, "ann"))
    assert (ran.code, ran.summary["counts"]) == (3, {"unprocessed": 1})
    assert "OptInRequired" in ran.error_lines[0]
    assert sim.calls(SET) == []


def test_one_of_several_pools_that_is_not_there_ends_the_run(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    (tmp_path / "in.csv").write_text(f"username,password,user_pool_id\nann,{PASSWORD},{POOL}\n", encoding="utf-8")
    ran = bulkreset("run", write_job(tmp_path, sim.url, 'path = "in.csv"', plan="", pools=[POOL, MISSING]), "--yes")
    assert ran.code == 2
    assert MISSING in ran.error_lines[0]
    assert sim.calls(SET) == []


def test_preflight_shows_the_quota_its_source_and_the_ceiling(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    """The sources of the quota are tested in tests/cognito/test_quota.py."""
    populate(sim)
    sim.configure(provisioned_limits={"UserAccountRecovery": 60})
    ran = bulkreset(*bulkreset.checked(write_names(tmp_path, "ann")), "--dry-run")
    assert "us-east-1: 48 calls/s (80 % of the quota of 60/s; source: provisioned limit)\n" in ran.stderr
    (lane,) = ran.summary["lanes"]
    assert (lane["ceiling"], lane["quota"]) == (48, 60)


def test_published_quota_is_used_if_the_request_fails(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    input_ = write_names(tmp_path, "ann")
    env = {"AWS_ENDPOINT_URL_SERVICE_QUOTAS": "http://127.0.0.1:9"}
    ran = bulkreset(*bulkreset.checked(input_), "--dry-run", env=env)
    assert ran.code == 0
    assert "24 calls/s (80 % of the quota of 30/s; source: published by AWS)" in ran.stderr
    assert "servicequotas:GetServiceQuota failed (EndpointConnectionError)" in ran.stderr
    assert allowed(ran.stderr) == []
