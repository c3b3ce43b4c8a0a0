"""The page of a run: it agrees with report and summary, and is written after every kind of end."""

import os
import re
from pathlib import Path

from tests.e2e.command import ACCOUNT, POOL, REGION, Command, people, write_csv
from tests.report.pages import parsed, text_of
from tests.sim import Simulator


def test_page_agrees_with_the_report_and_is_written_when_a_run_stops(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    sim.configure(faults={"users": {"user.002": [{"error": "UserNotFoundException"}]}})
    input_ = write_csv(tmp_path / "in.csv", [*people(30), ("late", "")])
    where = ("--user-pool-id", POOL, "--region", REGION, "--endpoint-url", sim.url, "--no-check-users")
    ran = bulkreset("run", "--input", input_, *where, "--yes", "--limit", "20", "--rate", "none", "--permanent")
    assert ran.code == 5
    assert f"Page: {ran.run_dir}/report.html" in ran.stdout
    page = (ran.run_dir / "report.html").read_text(encoding="utf-8")
    text = text_of(parsed(page))
    assert ran.summary["counts"] == {"failed": 1, "rejected": 1, "set": 19, "unprocessed": 10}
    assert re.search(r"19 of 31 passwords were set in [\d.]+ s; 1 failed, 1 rejected and 10 not sent\.", text)
    assert "stopped at its row limit" in text
    assert ran.summary["stopped_by"]["message"] in text
    assert f"bulkreset resume {ran.run_dir}" in text
    assert ran.summary["input"]["sha256"] in text
    assert f"arn:aws:iam::{ACCOUNT}:user/" in text or f"arn:aws:sts::{ACCOUNT}:" in text
    assert os.uname().nodename in text
    for row in ran.report:
        assert (row["username"] in text) == (
            row["status"] in {"failed", "rejected"} or row["username"] in slowest(text)
        )
    assert not [password for _, password in people(30) if password in page]


def slowest(text: str) -> str:
    """Return the part of the page that names the slowest rows."""
    return text.partition("Slowest rows")[2].partition("Account Regions")[0]


def test_page_is_not_written_if_the_job_says_so(tmp_path: Path, bulkreset: Command) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(1)), "--dry-run")
    assert ran.code == 0
    assert not (ran.run_dir / "report.html").exists()
    assert "Page:" not in ran.stdout
