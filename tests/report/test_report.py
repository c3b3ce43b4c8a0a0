"""The reports: every row once and in order, no cell that a spreadsheet would run, and no partial file."""

import csv
import errno
import json
import os
import stat
from pathlib import Path

import pytest

from bulkreset.errors import RecordError
from bulkreset.journal.journal import Journal
from bulkreset.models import REPORT_COLUMNS, LaneSummary, Outcome, Status, Summary
from bulkreset.report.report_writers import ReportSpec, write_report
from bulkreset.report.summary import write_summary
from tests.journal.journals import OTHER, POOL, commit, done, planned

SUMMARY = Summary(
    run_id="r",
    job="nightly",
    mode="run",
    emulated=False,
    state="finished",
    exit_code=0,
    resumable=False,
    started_at="2024-01-31T00:00:00.000Z",
    finished_at="2024-01-31T00:00:01.000Z",
    seconds=1.0,
    rows=1,
    counts={"set": 1},
    codes={},
    attempts=1,
    throttled=0,
    rows_per_second=1.0,
    sending_seconds=1.0,
    lanes=(LaneSummary("1", "eu-west-1", 24.0, 30.0, 24.0),),
    input={"path": "größe.csv", "size": 1, "sha256": "0"},
    targets=({"user_pool_id": POOL},),
)


def cells(path: Path) -> list[dict[str, str]]:
    """Return the report as a program reads it."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_columns_are_the_published_ones() -> None:
    published = (
        "row,user_pool_id,username,status,code,message,attempts,throttled,in_doubt,permanent,signed_out,"
        "sessions_revoked,devices_forgotten,totp_deleted,"
        "latency_ms,request_id,started_at,finished_at,status_before,recovery,file"
    )
    assert ",".join(REPORT_COLUMNS) == published


def test_every_row_is_there_once_and_in_order(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan")
    journal.write.add_rows(
        [
            (6, OTHER, "fay", False, "skipped", "protected", "why"),
            (5, "eu-west-1_Unknown", "eve", None, "rejected", "unknown_pool", "no target"),
            (7, "", "", True, "rejected", "bad_value", "line 9"),
        ]
    )
    commit(journal, [4, 3, 2, 1], [], claimed_at=5)
    commit(journal, [], [done(3, attempts=1, latency_ms=12, request_id="q", started_at=0, finished_at=12)])
    commit(journal, [], [Outcome(1, Status.FAILED, "UserNotFoundException", "none", 2, 1)])
    commit(journal, [], [Outcome(4, Status.READY)])
    write_report(journal, tmp_path / "report.csv", dry_run=False)
    rows = cells(tmp_path / "report.csv")
    assert [tuple(row.values()) for row in rows] == [
        ("1", POOL, "ann", "failed", "UserNotFoundException", "none", "2", "1", "false", "true", *[""] * 11),
        (
            "2",
            POOL,
            "bob",
            "in_doubt",
            "",
            "",
            "0",
            "0",
            "true",
            "true",
            *[""] * 6,
            "1970-01-01T00:00:00.005Z",
            "",
            "",
            "",
            "",
        ),
        (
            *("3", POOL, "cat", "set", "", "", "1", "0", "false", "true", *[""] * 4, "12", "q"),
            *("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.012Z", "", "", ""),
        ),
        ("4", POOL, "dan", "unprocessed", "", "", "0", "0", "false", "true", *[""] * 11),
        ("5", "eu-west-1_Unknown", "eve", "rejected", "unknown_pool", "no target", "0", "0", "false", "", *[""] * 11),
        ("6", OTHER, "fay", "skipped", "protected", "why", "0", "0", "false", "false", *[""] * 11),
        ("7", "", "", "rejected", "bad_value", "line 9", "0", "0", "false", "true", *[""] * 11),
    ]


def test_report_of_many_rows_is_complete(tmp_path: Path) -> None:
    journal = planned(tmp_path, *(f"user{number}" for number in range(5000)))
    write_report(journal, tmp_path / "report.csv", dry_run=True)
    rows = cells(tmp_path / "report.csv")
    assert [int(row["row"]) for row in rows] == list(range(1, 5001))
    assert {row["status"] for row in rows} == {"ready"}


@pytest.mark.parametrize("start", [*"=+-@\t\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
@pytest.mark.parametrize("column", ["username", "user_pool_id", "code", "message", "request_id"])
def test_cell_that_a_spreadsheet_would_run_is_made_safe(tmp_path: Path, start: str, column: str) -> None:
    formula = f'{start}HYPERLINK("x","y")'
    journal = planned(tmp_path)
    pool = formula if column == "user_pool_id" else POOL
    journal.write.add_rows([(1, pool, formula if column == "username" else "ann", True, "rejected", "", "")])
    if column not in {"username", "user_pool_id"}:
        named = {column: formula}
        commit(journal, [], [Outcome(1, Status.FAILED, **named)])  # type: ignore[arg-type]
    write_report(journal, tmp_path / "report.csv", dry_run=True)
    (row,) = cells(tmp_path / "report.csv")
    assert row[column] == f"'{formula}"
    assert (row["row"], row["status_before"]) == ("1", "")


def test_leading_carriage_return_is_made_safe(tmp_path: Path) -> None:
    write_report(planned(tmp_path, "\r=1+1"), tmp_path / "report.csv", dry_run=True)
    assert "'\u240d=1+1".encode() in (tmp_path / "report.csv").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "ann",
        "o'brien",
        "'ann",
        "a=b",
        "007",
        'say "hi"',
        "a,b",
        "a\nb",
        "tab\tbed",
        "\u202eann\u200b",
        "王🚀",
    ],
)
def test_other_cells_are_as_they_were(tmp_path: Path, name: str) -> None:
    write_report(planned(tmp_path, name, "next"), tmp_path / "report.csv", dry_run=True)
    assert [row["username"] for row in cells(tmp_path / "report.csv")] == [name, "next"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\r\nb", "a␍\nb"),
        ("ann\r=cmd()", "ann␍=cmd()"),
        ("nul\x00nul", "nul␀nul"),
        ("\x1b[2Jann\x7f", "␛[2Jann␡"),
        ("\x9b2Jann", "[U+009B]2Jann"),
    ],
)
def test_control_characters_are_visible_in_a_cell_and_exact_elsewhere(tmp_path: Path, name: str, shown: str) -> None:
    journal = planned(tmp_path, name, "next")
    write_report(journal, tmp_path / "report.csv", dry_run=True)
    assert [row["username"] for row in cells(tmp_path / "report.csv")] == [shown, "next"]
    write_report(journal, tmp_path / "report.jsonl", ReportSpec("jsonl"), dry_run=True)
    lines = (tmp_path / "report.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["username"] == name
    assert not set(lines[0]) & {"\x1b", "\x9b", "\x7f", "\x00", "\r"}


def test_rows_with_any_content_end_with_a_line_feed(tmp_path: Path) -> None:
    write_report(planned(tmp_path, "ann\r", "bob"), tmp_path / "report.csv", dry_run=True)
    first, second, third, rest = (tmp_path / "report.csv").read_bytes().split(b"\n")
    assert first == ",".join(REPORT_COLUMNS).encode()
    assert ",ann\u240d,".encode() in second
    assert not [line for line in (first, second, third) if line.endswith(b"\r")]
    assert rest == b""


def test_pool_that_looks_like_a_number_is_shown_as_it_was_given(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    journal.write.add_rows([(2, "1", "bob", True, "rejected", "unknown_pool", "x")])
    write_report(journal, tmp_path / "report.csv", dry_run=True)
    assert [row["user_pool_id"] for row in cells(tmp_path / "report.csv")] == [POOL, "1"]


@pytest.mark.linux("/dev/full, a disk that is always full")
@pytest.mark.usefixtures("full_disk")
def test_full_disk_leaves_the_old_report(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    report, summary = tmp_path / "report.csv", tmp_path / "summary.json"
    for path in (report, summary):
        path.write_text("old")
    with pytest.raises(RecordError, match=rf"report\.csv cannot be written: {os.strerror(errno.ENOSPC)}"):
        write_report(journal, report, dry_run=True)
    with pytest.raises(RecordError, match=r"summary\.json cannot be written"):
        write_summary(SUMMARY, summary)
    assert report.read_text() == summary.read_text() == "old"


def test_failing_journal_leaves_the_old_report(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    (tmp_path / "report.csv").write_text("old")
    journal._db.execute("DROP TABLE rows")
    with pytest.raises(RecordError, match="no such table"):
        write_report(journal, tmp_path / "report.csv", dry_run=True)
    assert (tmp_path / "report.csv").read_text() == "old"


def test_missing_folder_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file"):
        write_report(planned(tmp_path, "ann"), tmp_path / "gone" / "report.csv", dry_run=True)


def test_report_replaces_the_old_one_and_leaves_no_other_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    before = os.umask(0)
    try:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            write_report(planned(tmp_path / name, name), home / "report.csv", dry_run=True)
            write_summary(SUMMARY, home / "summary.json")
    finally:
        os.umask(before)
    assert [row["username"] for row in cells(home / "report.csv")] == ["second"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert modes == {"report.csv": 0o600, "summary.json": 0o600}


def test_summary_is_json_with_the_published_keys(tmp_path: Path) -> None:
    write_summary(SUMMARY, tmp_path / "summary.json")
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    figures = json.loads(text)
    published = "run_id job mode state exit_code started_at finished_at seconds rows counts codes attempts throttled rows_per_second lanes input targets"
    assert set(published.split()) <= set(figures)
    assert "stopped_by" not in figures
    (lane,) = figures["lanes"]
    assert lane.items() >= {"account": "1", "region": "eu-west-1", "rate": 24.0, "quota": 30.0, "ceiling": 24.0}.items()
    assert "größe.csv" in text


def test_report_of_a_read_only_journal(tmp_path: Path) -> None:
    planned(tmp_path, "ann").close()
    journal = Journal.open(tmp_path / "journal.sqlite", read_only=True)
    write_report(journal, tmp_path / "report.csv", dry_run=True)
    assert [row["username"] for row in cells(tmp_path / "report.csv")] == ["ann"]
