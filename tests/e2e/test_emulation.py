"""The embedded Cognito: nothing outside it is needed, and nothing outside it is touched."""

import re
from pathlib import Path

import pytest

from tests.e2e.command import ROOT, Command, people, write_csv
from tests.sim import Simulator

# What a machine may have set, and what must not matter.
ELSEWHERE: dict[str, str | None] = {
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_PROFILE": "nobody",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    write_csv(tmp_path / "in.csv", people(30))
    path = tmp_path / "job.toml"
    path.write_text(
        'name = "small"\npermanent = true\n[input]\npath = "in.csv"\n'
        '[[targets]]\nuser_pool_id = "eu-west-1_Small0001"\nregion = "eu-west-1"\n'
        "[pace]\nrate = 40\n[emulator]\nquota = 20\n",
        encoding="utf-8",
    )
    return path


def test_emulated_run_sets_every_user_under_its_quota_and_says_that_nothing_real_was_touched(
    job: Path, bulkreset: Command, sim: Simulator
) -> None:
    redirected = {"AWS_ENDPOINT_URL": sim.url, "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": sim.url}
    ran = bulkreset("run", job, "--emulate", env=ELSEWHERE | redirected)
    assert (ran.code, ran.complaints) == (0, [])
    assert ran.summary["counts"] == {"set": 30}
    assert "nothing real was touched" in ran.stdout
    assert "nothing real is touched" in ran.stderr
    assert ran.summary["emulated"] is True
    assert sim.stats().total == 0
    assert ran.summary["throttled"] > 0
    assert ran.summary["throttled"] == sum(map(int, ran.column("throttled")))
    assert ran.summary["attempts"] == 30 + ran.summary["throttled"]


def test_emulated_run_needs_neither_region_nor_profile(tmp_path: Path, bulkreset: Command) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(3))
    options = ("--input", input_, "--user-pool-id", "eu-west-1_Small0001", "--profile", "nobody")
    ran = bulkreset("run", *options, "--emulate", env=ELSEWHERE)
    assert (ran.code, ran.complaints) == (0, [])
    assert ran.summary["counts"] == {"set": 3}


def test_emulated_pool_has_the_job_s_policy_and_only_the_job_s_users(tmp_path: Path, bulkreset: Command) -> None:
    input_ = write_csv(tmp_path / "in.csv", [("ann", "abc"), ("bob", "Quiet-Garden.1")])
    options = ("--input", input_, "--user-pool-id", "eu-west-1_Small0001")
    ran = bulkreset("run", *options, "--emulate", env=ELSEWHERE)
    assert ran.code == 1
    assert ran.column("status") == ["rejected", "set"]
    assert ran.report[0]["code"] == "password_policy"
    assert "at least 6 characters" in ran.report[0]["message"]


def test_demo_sets_the_sample_without_any_aws_configuration(bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset("demo", "--no-progress", env=ELSEWHERE)
    assert (ran.code, ran.complaints) == (0, [])
    assert ran.summary["counts"] == {"set": 1000}
    assert ran.summary["throttled"] > 0
    assert "nothing real was touched" in ran.stdout
    assert sim.stats().total == 0
    (told,) = re.findall(r"^```\n(Job  .*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert [_figureless(line) for line in told.splitlines()] == [
        _figureless(line) for line in (ran.stderr + ran.stdout).splitlines()
    ]


def _figureless(line: str) -> str:
    """A line as it is in every run: without figures that differ, and where the report lies."""
    return re.sub(r"about .*|[\d,.]+ (calls|throttled|rows/s|s)\b|(?<=: )\S*(?=/report\.)", "", line)
