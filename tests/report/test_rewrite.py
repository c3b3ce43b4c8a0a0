"""The report written again: the requested format and rows, and never over the run's own."""

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bulkreset.errors import RecordError, Refused
from bulkreset.journal.journal import Journal
from bulkreset.models import Outcome, Status
from bulkreset.report.rewrite import STANDARD_OUTPUT, ReportRequest, parse_statuses, rewrite_report
from tests.journal.journals import POOL, commit, done, run_state

Made = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Return a function that makes a run directory whose job has this [report] table."""

    def make(mode: str = "run", **report: object) -> Path:
        home = tmp_path / "run"
        home.mkdir()
        job = {"name": "x"} | ({"report": report} if report else {})
        facts = run_state("finished", job=job, mode=mode)
        with closing(Journal.create(home / "journal.sqlite", [POOL], facts)) as journal:
            journal.write.add_rows([(at, POOL, f"user{at}", True, "ready", "", "") for at in range(1, 5)])
            commit(journal, [], [done(1), Outcome(2, Status.FAILED, "Code", "user2 is not there"), done(3)])
        return home

    return make


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_runs_own_report_is_written_by_default(made: Made) -> None:
    home = made()
    assert rewrite_report(home, ReportRequest(), 1) == home / "report.csv"
    rows = (home / "report.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[2] for row in rows] == ["username", "user1", "user2", "user3", "user4"]


def test_form_is_the_files_the_flags_or_the_jobs(made: Made, tmp_path: Path) -> None:
    home = made(format="jsonl")
    assert rewrite_report(home, ReportRequest(), 1) == home / "report.jsonl"
    assert rewrite_report(home, ReportRequest("parquet"), 1) == home / "report.parquet"
    for name, beginning in (("a.csv", b"row,"), ("a.PQ", b"PAR1"), ("a", b"{"), ("a.jsonl", b"{")):
        rewrite_report(home, ReportRequest(output=tmp_path / name), 1)
        assert (tmp_path / name).read_bytes().startswith(beginning)


def test_a_part_or_another_redaction_is_another_file(made: Made) -> None:
    home = made()
    rewrite_report(home, ReportRequest(), 1)
    whole = (home / "report.csv").read_bytes()
    found = [
        rewrite_report(home, ReportRequest(only=("set",)), 1),
        rewrite_report(home, ReportRequest(redacted=True), 1),
        rewrite_report(home, ReportRequest("jsonl", ("failed", "unprocessed"), redacted=True), 1),
    ]
    names = ["report-set.csv", "report-redacted.csv", "report-failed-unprocessed-redacted.jsonl"]
    assert found == [home / name for name in names]
    assert (home / "report.csv").read_bytes() == whole
    failed, unsent = lines(home / names[2])
    assert (failed["row"], failed["message"], unsent["row"]) == (2, "(withheld: it named the user)", 4)
    assert failed["username"] in (home / "report-redacted.csv").read_text()


def test_redaction_of_the_job_applies_unless_names_are_requested(made: Made) -> None:
    home = made(format="csv", redact="usernames")
    assert rewrite_report(home, ReportRequest(), 1) == home / "report.csv"
    assert ",user" not in (home / "report.csv").read_text().partition("\n")[2]
    assert rewrite_report(home, ReportRequest(redacted=False), 1) == home / "report-usernames.csv"
    assert "user1" in (home / "report-usernames.csv").read_text()


def test_dry_runs_rows_are_ready(made: Made) -> None:
    home = made("dry_run")
    rewrite_report(home, ReportRequest("jsonl", ("ready", "unprocessed")), 1)
    assert [line["status"] for line in lines(home / "report-ready-unprocessed.jsonl")] == ["ready"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_standard_output_has_the_same_bytes(made: Made, tmp_path: Path, form: str) -> None:
    home = made()
    rewrite_report(home, ReportRequest(form, output=tmp_path / "file"), 1)
    reading, writing = os.pipe()
    assert rewrite_report(home, ReportRequest(form, output=STANDARD_OUTPUT), writing) is None
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert stream.read() == (tmp_path / "file").read_bytes()
    assert not list(home.glob("report*"))


@pytest.mark.linux("/dev/full, a disk that is always full")
def test_closed_pipe_is_not_an_error_and_a_full_disk_is(made: Made) -> None:
    home = made()
    reading, writing = os.pipe()
    os.close(reading)
    for form in ("csv", "jsonl", "parquet"):
        assert rewrite_report(home, ReportRequest(form, output=STANDARD_OUTPUT), writing) is None
    os.close(writing)
    with (
        Path("/dev/full").open("wb") as full,
        pytest.raises(RecordError, match="The report could not be written completely"),
    ):
        rewrite_report(home, ReportRequest(output=STANDARD_OUTPUT), full.fileno())


def test_unknown_format_is_refused(made: Made) -> None:
    home = made()
    _, terminal = os.openpty()
    with pytest.raises(Refused, match="Parquet is not for a terminal"):
        rewrite_report(home, ReportRequest("parquet", output=STANDARD_OUTPUT), terminal)
    os.close(terminal)
    with pytest.raises(Refused, match="--only goes with csv"):
        rewrite_report(home, ReportRequest("html", ("failed",)), 1)
    with pytest.raises(Refused, match=r"A page is a separate file"):
        rewrite_report(home, ReportRequest("html", output=STANDARD_OUTPUT), 1)
    assert not list(home.glob("report*"))


def test_statuses_are_named_with_commas_or_one_by_one() -> None:
    assert parse_statuses(["failed, ready", "failed"]) == ("ready", "failed")
    for wrong in ("claimed", "failed,,set", "Failed"):
        with pytest.raises(Refused, match="ready, rejected, skipped, set, failed, in_doubt, unprocessed"):
            parse_statuses([wrong])
