"""A dry run shows the effect of the run, and changes nothing."""

import csv
from pathlib import Path

import pytest

from bulkreset.text import printable_cell
from tests.crash.test_resume import resume
from tests.e2e.command import FREE, LAX, POOL, SAMPLES, SET, Command, CommandResult, seed, write_csv, write_job
from tests.sim import Simulator

POLICY = """[password.policy]
minimum_length = 8
require_uppercase = true
require_lowercase = true
require_numbers = true
require_symbols = true
"""


@pytest.fixture
def bad(tmp_path: Path, sim: Simulator) -> Path:
    return write_job(tmp_path, sim.url, f'path = "{SAMPLES}/bad.csv"', POLICY)


def _assert_free(sim: Simulator) -> None:
    """Check that nothing was changed and that no user became billable."""
    assert {call.operation for call in sim.calls()} <= FREE
    assert sim.users(POOL) == {}


def _verdicts(ran: CommandResult) -> list[tuple[str, ...]]:
    return [(row["row"], row["username"], row["status"], row["code"]) for row in ran.report]


def _rejected(ran: CommandResult) -> list[dict[str, str]]:
    return [row for row in ran.report if row["status"] == "rejected"]


def test_each_row_of_the_sample_has_the_expected_status_and_the_real_run_sends_the_others(
    bad: Path, bulkreset: Command, sim: Simulator
) -> None:
    dry = bulkreset("run", bad, "--dry-run", "--sign-out")
    assert "signed_out" not in dry.summary
    assert "Sign-outs" not in dry.stdout
    with (SAMPLES / "bad.expected.csv").open(encoding="utf-8", newline="") as file:
        expected = [tuple(map(printable_cell, row)) for row in csv.reader(file)][1:]
    assert _verdicts(dry) == expected
    assert (dry.code, dry.error_lines) == (1, [])
    again = f"bulkreset run {bad} --sign-out --approved {dry.run_dir}"
    assert f"Run exactly what this dry run planned:\n  {again}\n" in dry.stdout
    assert (dry.summary["mode"], dry.summary["state"], dry.summary["attempts"]) == ("dry_run", "finished", 0)
    assert all(row["message"] for row in _rejected(dry))
    _assert_free(sim)
    ready = {row["username"] for row in dry.report if row["status"] == "ready"}
    seed(sim, ready)
    real = bulkreset("run", bad, "--yes", "--rate", "none")
    assert real.code == 1
    assert _rejected(real) == _rejected(dry)
    assert {row["username"] for row in real.report if row["status"] == "set"} == ready
    assert {call.username for call in sim.calls(SET)} == ready
    assert None not in sim.passwords(POOL).values()


def test_dry_run_of_good_rows_exits_with_0_and_calls_them_ready(bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset(*bulkreset.against(SAMPLES / "users.csv"), "--dry-run")
    assert ran.code == 0
    assert ran.summary["counts"] == {"ready": 1000}
    assert set(ran.column("attempts")) == {"0"}
    assert "Dry run" in ran.stdout
    _assert_free(sim)


def test_pool_stricter_than_the_job_knows_is_known_to_the_dry_run(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    seed(sim, ["ann"], shortest=20)
    (tmp_path / "in.csv").write_text("username,password\nann,Quiet-Garden.1\n", encoding="utf-8")
    ran = bulkreset(*bulkreset.against(tmp_path / "in.csv"), "--dry-run")
    assert ran.code == 1
    (row,) = ran.report
    assert (row["status"], row["code"]) == ("rejected", "password_policy")
    assert "at least 20 characters" in row["message"]


def test_pool_whose_policy_may_not_be_read_fails_rows_with_its_own_words(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    seed(sim, ["ann"], shortest=20)
    sim.configure(faults={"every": {"operation": "DescribeUserPool", "error": "AccessDeniedException"}})
    (tmp_path / "in.csv").write_text("username,password\nann,Quiet-Garden.1\n", encoding="utf-8")
    assert bulkreset(*bulkreset.against(tmp_path / "in.csv"), "--dry-run").code == 0
    ran = bulkreset.reset(tmp_path / "in.csv")
    assert ran.code == 1
    (row,) = ran.report
    assert (row["status"], row["code"]) == ("failed", "InvalidPasswordException")
    assert "not long enough" in row["message"]


@pytest.mark.parametrize(
    "error", ["TooManyRequestsException", pytest.param("InternalErrorException", marks=pytest.mark.soak)]
)
def test_temporarily_undescribed_pool_stops_the_plan_and_no_user_is_set_unchecked(
    tmp_path: Path, bulkreset: Command, sim: Simulator, error: str
) -> None:
    sim.add_pool(POOL, [{"username": "ann"}, {"username": "dis", "enabled": False}], policy=LAX)
    sim.configure(faults={"every": {"operation": "DescribeUserPool", "error": error}})
    source = write_csv(tmp_path / "in.csv", [("ann", "Quiet-Garden.1"), ("dis", "Quiet-Garden.2")])
    ran = bulkreset(*bulkreset.checked(source), "--yes")
    assert ran.code == 3
    assert f"{POOL} could not be described" in ran.stderr
    assert sim.stats().count(SET) == 0
    sim.configure(faults={"every": None})
    again = resume(bulkreset, ran.run_dir)
    assert again.code == 0
    assert again.summary["counts"] == {"set": 1, "skipped": 1}


def test_run_without_a_pace_is_refused_at_the_endpoint_of_aws(tmp_path: Path, bulkreset: Command) -> None:
    source = write_csv(tmp_path / "in.csv", [("ann", "Quiet-Garden.1")])
    where = (
        "--user-pool-id",
        POOL,
        "--region",
        "us-east-1",
        "--endpoint-url",
        "https://cognito-idp.us-east-1.amazonaws.com",
    )
    ran = bulkreset("run", "--input", source, *where, "--rate", "none", "--yes")
    assert ran.code == 2
    assert 'pace.rate is "none"' in ran.stderr
