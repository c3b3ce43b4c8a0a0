"""The job files of jobs/: each loads without its input, and each plans the sample users in the emulator."""

from pathlib import Path

import pandas as pd
import pytest

from bulkreset.job.file import load
from tests.e2e.command import ROOT, Command

JOBS = sorted((ROOT / "jobs").glob("*.toml"))


def test_the_jobs_are_found() -> None:
    assert {path.stem for path in JOBS} >= {"demo", "forced-reset", "nightly-migration", "scramble"}


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
    assert job.guards.stop_after
    assert job.guards.protected.usernames
    assert job.generates
    assert job.handout.recipients
    assert job.signs_out


def test_scramble_signs_out_and_strands_nobody() -> None:
    job = load(ROOT / "jobs" / "scramble.toml", {})
    assert job.scrambles
    assert job.signs_out
    assert "unrecoverable" in job.plan.skip
    assert job.guards.protected.usernames


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_job_plans_the_sample_users(path: Path, tmp_path: Path, bulkreset: Command) -> None:
    sample = ROOT / "samples" / "users.csv"
    if load(path, {}).generates:
        sample = tmp_path / "names.csv"
        pd.read_csv(ROOT / "samples" / "users.csv", usecols=["username"], dtype=str).to_csv(sample, index=False)
    ran = bulkreset("run", path, "--input", sample, "--emulate", "--dry-run")
    assert ran.code == 0, ran.stderr
    assert ran.summary["job"] == path.stem
    assert ran.summary["counts"] == {"ready": 1000}
