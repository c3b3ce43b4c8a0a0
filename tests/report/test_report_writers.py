"""The formats of the report agree: the same rows and values, typed if the format has types."""

import csv
import io
import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.errors import RecordError, Refused
from bulkreset.journal.journal import Journal
from bulkreset.models import REPORT_COLUMNS, Outcome, ReportFormat, Status
from bulkreset.report import report_writers
from bulkreset.report.report_writers import ReportSpec, stream_report, write_report
from bulkreset.steps import COLUMNS as STEP_COLUMNS
from bulkreset.text import format_iso
from tests.journal.journals import OTHER, POOL, commit, done, planned

FORMS = ("csv", "jsonl", "parquet")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A journal with every result, and values of every type."""
    made = planned(tmp_path, "=ann", "bob", "größe\u2028x", "dan")
    made.write.add_rows(
        [(5, "no.pool", "eve", None, "rejected", "unknown_pool", "no target"), (6, OTHER, "", False, "skipped", "", "")]
    )
    commit(made, [1, 2, 3], [])
    commit(made, [], [done(1, attempts=2, throttled=1, latency_ms=0, request_id="q", started_at=0, finished_at=61_005)])
    commit(made, [], [Outcome(2, Status.FAILED, "+Odd", 'say "no"', 1)])
    return made


def report_rows(journal: Journal, form: str, only: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return a report as a program reads it."""
    out = io.BytesIO()
    stream_report(journal, out, ReportSpec(form, only), dry_run=False)
    if form == "parquet":
        return pq.read_table(io.BytesIO(out.getvalue())).to_pylist()
    if form == "jsonl":
        return [json.loads(line) for line in out.getvalue().decode().split("\n")[:-1]]
    return list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline=""), strict=True))


def test_every_format_of_a_job_has_a_writer() -> None:
    assert {*report_writers.WRITERS} == {*get_args(ReportFormat)}


def test_typed_forms_agree_with_the_journal(journal: Journal) -> None:
    lines, table = report_rows(journal, "jsonl"), report_rows(journal, "parquet")
    assert [tuple(line) for line in (lines[0], table[0])] == [REPORT_COLUMNS, REPORT_COLUMNS]
    assert lines[0] == {
        "row": 1,
        "user_pool_id": POOL,
        "username": "=ann",
        "status": "set",
        "code": None,
        "message": None,
        "attempts": 2,
        "throttled": 1,
        "in_doubt": False,
        "permanent": True,
        "signed_out": None,
        "sessions_revoked": None,
        "devices_forgotten": None,
        "totp_deleted": None,
        "latency_ms": 0,
        "request_id": "q",
        "started_at": "1970-01-01T00:00:00.000Z",
        "finished_at": "1970-01-01T00:01:01.005Z",
        "status_before": None,
        "recovery": None,
        "file": None,
    }
    assert [(line["username"], line["status"], line["permanent"], line["in_doubt"]) for line in lines[1:]] == [
        ("bob", "failed", True, False),
        ("größe\u2028x", "in_doubt", True, True),
        ("dan", "unprocessed", True, False),
        ("eve", "rejected", None, False),
        (None, "skipped", False, False),
    ]
    assert table[0]["finished_at"] == datetime(1970, 1, 1, 0, 1, 1, 5000, tzinfo=UTC)
    in_words = [
        {name: format_iso(round(at.timestamp() * 1000)) if isinstance(at, datetime) else at for name, at in row.items()}
        for row in table
    ]
    assert in_words == lines


def test_parquet_says_its_types(journal: Journal, tmp_path: Path) -> None:
    write_report(journal, tmp_path / "report.parquet", ReportSpec("parquet"), dry_run=True)
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "report.parquet")}
    assert {types.pop(name) for name in ("row", "attempts", "throttled", "latency_ms")} == {"int64"}
    assert {types.pop(name) for name in ("in_doubt", "permanent", *STEP_COLUMNS)} == {"bool"}
    assert {types.pop(name) for name in ("started_at", "finished_at")} == {"timestamp[ms, tz=UTC]"}
    assert set(types.values()) == {"string"}
    assert pq.ParquetFile(tmp_path / "report.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("form", FORMS)
def test_only_some_statuses(journal: Journal, form: str) -> None:
    assert [str(row["row"]) for row in report_rows(journal, form, ("failed", "in_doubt"))] == ["2", "3"]
    assert [str(row["row"]) for row in report_rows(journal, form, ("unprocessed",))] == ["4"]
    assert report_rows(journal, form, ("ready",)) == []


def test_parquet_of_many_rows_is_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_writers, "GROUP_ROWS", 300)
    write_report(
        planned(tmp_path, *map(str, range(1000))), tmp_path / "report.parquet", ReportSpec("parquet"), dry_run=True
    )
    file = pq.ParquetFile(tmp_path / "report.parquet")
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [300, 300, 300, 100]
    assert file.read().column("username").to_pylist() == [*map(str, range(1000))]


@settings(max_examples=30)
@given(times=st.lists(st.integers(0, 4_000_000_000_000), min_size=1, max_size=20))
def test_times_are_shown_to_the_millisecond(times: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    journal = planned(tmp_path_factory.mktemp("times"), *map(str, times))
    commit(journal, [], [done(row, finished_at=time) for row, time in enumerate(times, 1)])
    shown = [row["finished_at"] for row in report_rows(journal, "csv")]
    assert [row["finished_at"] for row in report_rows(journal, "jsonl")] == shown
    journal.close()
    assert [round(datetime.fromisoformat(text).timestamp() * 1000) for text in shown] == times
    assert all(len(text) == len("1970-01-01T00:00:00.000Z") for text in shown)


@pytest.mark.linux("/dev/full, a disk that is always full")
@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("form", FORMS)
def test_full_disk_leaves_the_old_report_whatever_the_form(tmp_path: Path, form: str) -> None:
    report = tmp_path / f"report.{form}"
    report.write_text("old")
    with pytest.raises(RecordError, match="cannot be written: No space left"):
        write_report(planned(tmp_path, "ann"), report, ReportSpec(form), dry_run=True)
    assert report.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} <= {
        report.name,
        *(f"journal.sqlite{end}" for end in ("", "-wal", "-shm")),
    }


def test_form_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cannot write the report as xml.*csv, parquet, jsonl"):
        stream_report(planned(tmp_path, "ann"), io.BytesIO(), ReportSpec("xml"), dry_run=True)
