"""The embedded Cognito needs nothing from outside and changes nothing there."""

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bulkreset.cli.main import app
from bulkreset.job import Job
from bulkreset.job.file import load
from bulkreset.run.context import RunOptions
from bulkreset.steps import COLUMNS
from tests.e2e.command import ROOT, SAMPLES, WITHOUT_PAGE, Command, CommandResult, people, write_csv
from tests.sim import Simulator

# Settings that a machine may have, and that must not matter.
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
    """Write a job without a Region and with a missing profile; its quota allows one call."""
    write_csv(tmp_path / "in.csv", [("weak", "abc"), *people(4)])
    path = tmp_path / "job.toml"
    path.write_text(
        'after = ["sign_out", "revoke_sessions", "forget_devices", "delete_totp"]\n'
        'name = "small"\npermanent = true\n[input]\npath = "in.csv"\n'
        '[[targets]]\nuser_pool_id = "eu-west-1_Small0001"\nprofile = "nobody"\n'
        '[pace]\nrate = "none"\nmax_attempts = 2\nmax_wait = 0.1\n[emulator]\nquota = 0.0001\n' + WITHOUT_PAGE,
        encoding="utf-8",
    )
    return path


def test_emulated_run_sets_the_job_s_users_under_its_quota_and_touches_nothing_real(
    job: Path, bulkreset: Command, sim: Simulator
) -> None:
    redirected = {"AWS_ENDPOINT_URL": sim.url, "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": sim.url}
    ran = bulkreset("run", job, "--emulate", env=ELSEWHERE | redirected)
    assert (ran.code, ran.error_lines) == (1, [])
    assert ran.summary["counts"] == {"rejected": 1, "set": 1, "failed": 3}
    assert ran.summary["codes"] == {"password_policy": 1, "TooManyRequestsException": 3}
    assert ran.summary["throttled"] == sum(map(int, ran.column("throttled"))) == 6
    assert [ran.summary[column] for column in COLUMNS] == [{"done": 1, "failed": 0, "pending": 0}] * 4
    assert ran.summary["attempts"] == 7
    assert "at least 6 characters" in ran.of("weak")["message"], "no user pool allows less"
    assert ran.summary["emulated"] is True
    assert "no real user was changed" in ran.stdout
    assert "nothing real is touched" in ran.stderr
    assert sim.stats().total == 0


def test_demo_is_the_emulated_sample_job_without_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Job, RunOptions]] = []
    monkeypatch.setattr("bulkreset.cli.run._execute", lambda sample, _, mode, *__, **___: asked.append((sample, mode)))
    assert CliRunner().invoke(app, ["demo"]).exit_code == 0
    ((sample, mode),) = asked
    assert sample == load(ROOT / "jobs" / "demo.toml", {})
    assert (mode.emulate, mode.yes, mode.dry_run) == (True, True, False)
    assert isinstance(sample.pace.rate, float)
    assert sample.pace.rate > sample.emulator.quota, "or nobody sees how it throttles"


def test_sample_job_says_what_the_readme_shows(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    """The sample job unchanged, with the first users of the sample."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "samples").mkdir()
    shutil.copy(ROOT / "jobs" / "demo.toml", tmp_path / "jobs")
    lines = (SAMPLES / "users.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "samples" / "users.csv").write_text("".join(lines[:13]), encoding="utf-8")
    ran = bulkreset("run", tmp_path / "jobs" / "demo.toml", "--emulate", "--no-progress", env=ELSEWHERE)
    assert (ran.code, ran.error_lines) == (0, [])
    assert ran.summary["counts"] == {"set": 12}
    assert sim.stats().total == 0
    assert _shown(ran) == [line.replace("1,000", "12") for line in _of_the_readme()]


@pytest.mark.soak
@pytest.mark.fresh
def test_demo_sets_the_sample_and_says_what_the_readme_shows(bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset("demo", "--no-progress", env=ELSEWHERE)
    assert (ran.code, ran.error_lines) == (0, [])
    assert ran.summary["counts"] == {"set": 1000}
    assert ran.summary["attempts"] == 1000 + ran.summary["throttled"]
    assert sim.stats().total == 0
    assert _shown(ran) == _of_the_readme()


def _of_the_readme() -> list[str]:
    (told,) = re.findall(r"^```\n(Job  .*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return list(map(_without_numbers, told.splitlines()))


def _shown(ran: CommandResult) -> list[str]:
    return list(map(_without_numbers, (ran.stderr + ran.stdout).splitlines()))


def _without_numbers(line: str) -> str:
    """Return a line without the numbers and paths that differ between runs."""
    return re.sub(r"about .*|[\d,.]+ (calls|throttled|rows/s|s)\b|(?<=: )\S*(?=/report\.)", "", line)
