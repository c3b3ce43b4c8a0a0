"""The job files of jobs/: each loads without its input, and each plans the sample users."""

from pathlib import Path

import pandas as pd
import pytest

from bulkreset.job.file import load
from bulkreset.steps import SIGN_OUT
from tests.e2e.command import ROOT, SAMPLES, write_csv
from tests.e2e.program import Program
from tests.sim import Simulator

JOBS = sorted((ROOT / "jobs").glob("*.toml"))


def test_the_jobs_are_found() -> None:
    assert {path.stem for path in JOBS} >= {
        "demo",
        "file",
        "forced-reset",
        "from-pool",
        "nightly-migration",
        "scramble",
    }


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_job_loads_without_its_input(path: Path) -> None:
    assert load(path, {}).name == path.stem


def test_nightly_migration_is_guarded() -> None:
    job = load(ROOT / "jobs" / "nightly-migration.toml", {})
    assert job.permanent
    assert job.input.on_duplicate == "last"
    assert job.guards.max_rows
    assert job.guards.max_failures == "1%"
    assert job.guards.max_duration
    assert job.guards.protected.usernames


def test_forced_reset_leaves_most_of_the_quota_to_the_users() -> None:
    job = load(ROOT / "jobs" / "forced-reset.toml", {})
    assert not job.permanent
    assert job.pace.rate == "auto"
    assert job.pace.share < 0.5
    assert job.guards.stop_at
    assert job.guards.limit
    assert job.guards.protected.usernames
    assert job.generates
    assert job.password.recipients
    assert SIGN_OUT in job.steps


def test_scramble_signs_out_and_locks_no_user_out() -> None:
    job = load(ROOT / "jobs" / "scramble.toml", {})
    assert job.scrambles
    assert SIGN_OUT in job.steps
    assert "unrecoverable" in job.skips
    assert job.guards.protected.usernames


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [str(name) for name in pd.read_csv(SAMPLES / "users.csv", usecols=["username"], dtype=str)["username"]]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_job_plans_the_sample_users(
    path: Path, names: list[str], tmp_path: Path, program: Program, sim: Simulator
) -> None:
    job = load(path, {})
    (target,) = job.targets
    known = {"email": "a@x.example", "email_verified": "true"}
    users = [{"username": name, "attributes": known} for name in names]
    sim.add_pool(target.user_pool_id, users, groups={group: [] for group in job.guards.protected.groups})
    sample = SAMPLES / "users.csv"
    if job.generates:
        sample = write_csv(tmp_path / "names.csv", [(name,) for name in names], ["username"])
    input_ = {} if job.input.from_pool else {"input.path": str(sample)}
    ran = program.plan(path, **input_, targets__endpoint_url=sim.url)
    assert (ran.code, ran.error_lines) == (0, [])
    assert ran.summary["job"] == path.stem
    assert ran.summary["counts"] == {"ready": 1000}
