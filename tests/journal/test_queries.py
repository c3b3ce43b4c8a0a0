"""The counts of a journal, and their order."""

import sqlite3
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from bulkreset.errors import RunDirError
from bulkreset.journal import schema
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import JournalFile, PlanMessage
from bulkreset.models import Outcome, RateChange, ReportRow, Secret, Status, StepOutcome
from tests.journal.journals import OTHER, POOL, commit, done, planned, run_state


def shown(row: int, username: str, status: str, canonical: str, **facts: object) -> ReportRow:
    """Return a row of the page."""
    values = dict.fromkeys(ReportRow._fields) | dict.fromkeys(("code", "request_id", "file", "recovery", "message"), "")
    values |= {"row": row, "username": username, "status": status, "canonical": canonical, "permanent": 1}
    return ReportRow(**(values | {"user_pool_id": POOL, "in_doubt": 0, "status_before": ""} | facts))  # type: ignore[arg-type]


DOUBTED = shown(
    4,
    "d",
    "in_doubt",
    "own",
    code="Lost",
    message="m",
    attempts=5,
    throttled=6,
    in_doubt=1,
    latency_ms=70,
    request_id="r4",
    started_at=1500,
    finished_at=3500,
    status_before="CONFIRMED",
)


def run_of_every_kind(folder: Path) -> Journal:
    """Make rows with every status, unsorted; row 11 was returned after an attempt."""
    journal = planned(folder, *"abcdefgh")
    said = [("nowhere", "skipped", "federated"), ("1", "rejected", "unknown_pool")]
    journal.write.add_rows(
        [(row, pool, "x", None, status, code, "why") for row, (pool, status, code) in enumerate(said, 9)]
    )
    journal.write.add_rows([(row, OTHER, "y", True, "ready", "", "") for row in (11, 12)])
    journal.write.store_findings([(row, "ready", "", "", "CONFIRMED", "", "own") for row in (3, 4)])
    outcomes = [
        done(1, latency_ms=40, started_at=1000, finished_at=1040, throttled=1, attempts=2, request_id="r1"),
        Outcome(2, Status.FAILED, "Gone", "m", 3, 2, latency_ms=90, started_at=1100, finished_at=1999),
        done(3, latency_ms=90, started_at=900, finished_at=2000, attempts=1, request_id="r3"),
        Outcome(
            4,
            Status.IN_DOUBT,
            "Lost",
            "m",
            5,
            6,
            in_doubt=True,
            request_id="r4",
            latency_ms=70,
            started_at=1500,
            finished_at=3500,
        ),
        Outcome(6, Status.FAILED, "Gone"),
        Outcome(7, Status.IN_DOUBT),
        Outcome(12, Status.FAILED, "Gone"),
        Outcome(11, Status.READY, attempts=1, throttled=4, latency_ms=1, started_at=2000, finished_at=2100),
    ]
    commit(journal, [5], outcomes)
    commit(
        journal,
        [8],
        [],
        [StepOutcome("sign_out", 1, done=False, code="Code", message="why"), StepOutcome("sign_out", 3, done=True)],
    )
    return journal


def test_rows_that_settled_are_counted_by_when_and_throttled_calls_of_all(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    assert journal.read.finished_over_time(1000, 1000) == [(0, 2, 3), (1, 1, 4), (2, 1, 6)]
    assert journal.read.finished_over_time(0, 10_000) == [(0, 4, 13)]


def test_span_is_from_the_first_start_to_the_last_end(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    assert journal.read.send_span() == (900, 3500)
    journal.write.forget_plan()
    assert journal.read.send_span() is None


RATES = [
    RateChange(900, "1", "us-east-1", 8.0, "throttled"),
    RateChange(1400, "1", "us-east-1", 6.0, "throttled"),
    RateChange(2500, "1", "us-east-1", 7.0, "recovered"),
    RateChange(2501, "1", "us-east-1", 6.0, "probing"),
    RateChange(2502, "1", "us-east-1", 5.0, "probing"),
    RateChange(1300, "1", "us-east-1", 4.0, "throttled"),
    RateChange(2600, "2", "us-east-1", 9.0, "throttled"),
    RateChange(1300, "1", "eu-west-1", 5.0, "throttled"),
    RateChange(1300, "0", "us-east-1", 3.0, "throttled"),
]


def test_rates_are_reported_by_lane_and_time_with_their_mean_and_the_last(tmp_path: Path) -> None:
    journal = planned(tmp_path)
    commit(journal, [], [], rates=RATES)
    assert sorted(journal.read.rates_over_time(1000, 1000)) == [
        ("0", "us-east-1", 0, 3.0, 3.0),
        ("1", "eu-west-1", 0, 5.0, 5.0),
        ("1", "us-east-1", 0, 6.0, 6.0),
        ("1", "us-east-1", 1, 6.0, 5.0),
        ("2", "us-east-1", 1, 9.0, 9.0),
    ]


def test_changes_of_the_rate_are_reported_in_time_and_counted_by_lane_and_reason(tmp_path: Path) -> None:
    journal = planned(tmp_path)
    commit(journal, [], [], rates=RATES)
    lanes = {("0", "us-east-1"): 1, ("1", "eu-west-1"): 1, ("1", "us-east-1"): 6, ("2", "us-east-1"): 1}
    assert journal.read.rate_changes() == lanes
    said = sorted((it.at_ms, it.account, it.region, it.rate, it.reason) for it in RATES)
    assert [astuple(change) for change in journal.read.first_rate_changes(4)] == said[:4]
    assert journal.read.rate_reasons() == [
        ("0", "us-east-1", "throttled", 1, 3.0, 3.0),
        ("1", "eu-west-1", "throttled", 1, 5.0, 5.0),
        ("1", "us-east-1", "throttled", 3, 4.0, 8.0),
        ("1", "us-east-1", "probing", 2, 5.0, 6.0),
        ("1", "us-east-1", "recovered", 1, 7.0, 7.0),
        ("2", "us-east-1", "throttled", 1, 9.0, 9.0),
    ]


def test_codes_are_counted_by_status_and_rows_in_doubt_without_one(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    found = [
        ("failed", "Gone", 3),
        ("claimed", "", 2),
        ("in_doubt", "", 1),
        ("in_doubt", "Lost", 1),
        ("rejected", "unknown_pool", 1),
        ("set", "Code", 1),
        ("skipped", "federated", 1),
    ]
    assert journal.read.codes_by_status(9) == found
    assert journal.read.codes_by_status(3) == found[:3]


def test_slowest_rows_are_those_whose_last_calls_took_longest(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    assert journal.read.slowest_rows(3) == [
        shown(
            2,
            "b",
            "failed",
            "b",
            code="Gone",
            message="m",
            attempts=3,
            throttled=2,
            latency_ms=90,
            started_at=1100,
            finished_at=1999,
        ),
        shown(
            3,
            "c",
            "set",
            "own",
            attempts=1,
            throttled=0,
            latency_ms=90,
            request_id="r3",
            started_at=900,
            finished_at=2000,
            status_before="CONFIRMED",
            signed_out=1,
        ),
        DOUBTED,
    ]
    assert [row.row for row in journal.read.slowest_rows(9)] == [2, 3, 4, 1, 11]


def test_rows_that_need_attention_have_the_most_serious_first(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    found = journal.read.rows_needing_attention(12)
    assert [row.row for row in found] == [4, 5, 7, 8, 2, 6, 12, 1, 10, 9]
    assert (found[0], found[4].canonical) == (DOUBTED, "b")
    assert [row.user_pool_id for row in found[-2:]] == ["1", "nowhere"]
    assert journal.read.rows_needing_attention(3) == found[:3]


def test_latencies_are_exact_to_ten_seconds_and_to_a_tenth_beyond(tmp_path: Path) -> None:
    took = [0, 9999, 9999, 10_000, 10_099, 12_345, 5]
    journal = planned(tmp_path, *map(str, took), "never called")
    commit(journal, [], [done(row, latency_ms=ms) for row, ms in enumerate(took, 1)])
    assert journal.read.latencies() == [(0, 1), (5, 1), (9999, 2), (10_000, 2), (12_300, 1)]


@pytest.mark.parametrize(("seconds", "rate"), [(1, 2.0), (2, 2.0), (60, 1.5)])
def test_recent_rate_counts_recently_settled_rows(tmp_path: Path, seconds: int, rate: float) -> None:
    journal = planned(tmp_path, *"abcde")
    commit(journal, [], [done(row, finished_at=at) for row, at in enumerate((1000, 2001, 2500, 3000), 1)])
    assert journal.read.recent_rate(seconds) == pytest.approx(rate, rel=0.01)


def test_rows_that_may_be_set_are_counted_with_refused_ones_whose_earlier_answer_was_lost(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    assert journal.read.perhaps_set() == 6
    commit(journal, [], [Outcome(row, Status.FAILED, "Gone", in_doubt=True) for row in (6, 12)])
    assert journal.read.perhaps_set() == 8


def test_settled_rows_are_counted_from_a_moment_on(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    assert [journal.read.finished_since(moment) for moment in (0, 1999, 2000, 3500, 3501)] == [4, 3, 2, 1, 0]


def test_calls_since_a_moment_begin_and_end(tmp_path: Path) -> None:
    journal = run_of_every_kind(tmp_path)
    assert journal.read.sent_since(0) == (1000, 3500)
    assert journal.read.sent_since(1950) == (1950, 3500)  # the first call began before that time
    assert journal.read.sent_since(2050) == (2099, 3500)
    commit(journal, [], [done(5, finished_at=2060)])
    assert journal.read.sent_since(2050) == (2060, 3500)
    assert journal.read.sent_since(3500) == (3500, 3500)
    assert journal.read.sent_since(3501) is None


def test_failed_rows_that_a_dead_process_did_not_send_again_count_as_failed(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    journal.write.add_rows(
        [(4, OTHER, "dan", True, "ready", "", ""), (5, OTHER, "eve", True, "rejected", "too_long", "why")]
    )
    commit(journal, [], [Outcome(row, Status.FAILED, "Gone") for row in (1, 4)])
    journal.write.retry_failed()
    commit(journal, [1], [])
    assert journal.read.counts() == {"claimed": 1, "ready": 3, "rejected": 1}
    assert journal.read.counts(dead=True) == {"claimed": 1, "failed": 1, "ready": 2, "rejected": 1}
    in_here = [(POOL, "claimed", 1), (POOL, "ready", 2)]
    assert sorted(journal.read.pool_counts()) == [*in_here, (OTHER, "ready", 1), (OTHER, "rejected", 1)]
    assert sorted(journal.read.pool_counts(dead=True)) == [*in_here, (OTHER, "failed", 1), (OTHER, "rejected", 1)]


def test_remarks_of_the_plan_are_counted_with_their_first_rows(tmp_path: Path) -> None:
    journal = planned(tmp_path)
    said = [("ready", "x: 2"), ("rejected", "x: 3"), ("skipped", "x: 3"), ("ready", "x: 3"), ("ready", "no x: 3")]
    said += [("rejected", "x: 1"), ("rejected", "x: 3")]
    journal.write.add_rows(
        [(row, POOL, f"user{row}", True, status, "", message) for row, (status, message) in enumerate(said, 1)]
    )
    counted = [PlanMessage("x: 3", 3, (2, 4)), PlanMessage("x: 1", 1, (6,)), PlanMessage("x: 2", 1, (1,))]
    assert journal.read.plan_messages("x: ", 2) == counted
    assert journal.read.plan_messages("y", 2) == []


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        ([], 0.0),
        ([5000], 0.0),
        ([5000, 5000], 0.0),
        ([5000, 6000], 1.0),
        ([5000, 5500, 6000], 2.0),
        ([1000, 5000, 5250], 4.0),
    ],
)
def test_recent_rate_counts_from_the_first_row_of_the_last_seconds(
    tmp_path: Path, finished: list[int], expected: float
) -> None:
    journal = planned(tmp_path, *"abc")
    commit(journal, range(1, len(finished) + 1), [done(row, finished_at=at) for row, at in enumerate(finished, 1)])
    assert journal.read.recent_rate(2) == expected


def test_rows_to_send_have_the_password_that_their_facts_give(tmp_path: Path) -> None:
    asked: list[tuple[int, str, str, bool]] = []

    def password_of(*facts: Any) -> Secret:  # noqa: ANN401  (of a row)
        asked.append(facts)
        return Secret(f"Quiet-{facts[0]}")

    rows = planned(tmp_path, "ann", "bea").read.sendable(1, 2, password_of)
    assert asked == [(1, "ann", POOL, True), (2, "bea", POOL, True)]
    assert [row.password.reveal() for row in rows] == ["Quiet-1", "Quiet-2"]


def test_journal_that_cannot_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planned(tmp_path, "a").path

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr("bulkreset.journal.journal.connect", refuse)
    with pytest.raises(RunDirError) as caught:
        Journal.open(path)
    assert (caught.value.message, caught.value.advice) == (
        f"The journal {path} cannot be read: unable to open database file.",
        "Check its rights, or restore it from a backup.",
    )


@pytest.mark.parametrize("files", [1, 2])
def test_report_names_the_file_of_each_row(tmp_path: Path, files: int) -> None:
    noted = [JournalFile(f"{number}.csv", 9, "a", first_row=1 + 2 * number) for number in range(files)]
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), noted)
    journal.write.add_rows([(row, POOL, f"u{row}", True, "ready", "", "") for row in (1, 2, 3)])
    last = f"{files - 1}.csv"
    assert [row.file for row in journal.read.report_rows(dry_run=True)] == ["0.csv", "0.csv", last]
    assert [row.row for row in journal.read.report_rows(dry_run=True, only=["ready"])] == [1, 2, 3]
    assert [*journal.read.report_rows(dry_run=False, only=["ready"])] == []


def test_report_has_the_same_rows_whatever_the_size_of_its_blocks(tmp_path: Path) -> None:
    """Rows that are alike, rows between them that are not, a line break in a name, two files, and a missing row."""
    files = [JournalFile("a.csv", 9, "a", first_row=1), JournalFile("b.csv", 9, "b", first_row=12)]
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), files)
    plain = [(row, POOL, f"u{row}", True, "ready", "", "") for row in range(1, 31)]
    odd = {
        4: (4, POOL, "u4", False, "ready", "", ""),
        8: (8, POOL, "a\nb", True, "ready", "", ""),
        21: (21, "", "u21", None, "rejected", "unknown_pool", "why"),
    }
    journal.write.add_rows(odd.get(row[0], row) for row in plain)
    journal._db.execute("DELETE FROM rows WHERE row IN (17, 25)")

    def reported(size: int) -> list[tuple[int, str, str, str]]:
        found = [*journal.read.report_facts(dry_run=True, size=size)]
        assert all(0 < len(names) <= size for _, names, *_ in found)
        return [(row, name, facts, own) for first, names, facts, own in found for row, name in enumerate(names, first)]

    one_by_one = reported(1)
    assert [row for row, *_ in one_by_one] == [row for row in range(1, 31) if row not in {17, 25}]
    assert [name for _, name, *_ in one_by_one][7:9] == ["a\nb", "u9"]
    for size in (2, 3, 4, 5, 8, 30, 200):
        assert reported(size) == one_by_one
    assert len([*journal.read.report_facts(dry_run=True, size=4)]) < len(one_by_one)
    assert [(row, *names) for row, names, *_ in journal.read.report_facts(["rejected"], dry_run=True)] == [(21, "u21")]


def test_rows_of_a_block_are_compared_by_every_column(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), [])
    columns = [name for _, name, *_ in journal._db.execute("PRAGMA table_info(rows)")]
    assert sorted((*schema.REPORTED_APART, *schema.REPORTED_ALIKE)) == sorted(columns)


def test_usernames_of_a_block_are_joined_in_the_order_of_the_rows_whatever_indexes_there_are(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), [])
    names = [f"user{number * 37 % 100:02}" for number in range(100)]
    journal.write.add_rows((row, POOL, name, True, "ready", "", "") for row, name in enumerate(names, 1))
    journal._db.execute("CREATE INDEX by_name ON rows (finished_at, canonical, pool, status, username)")
    # Let SQLite take the index for the quickest way to a row.
    journal._db.execute("ANALYZE")
    journal._db.execute("UPDATE sqlite_stat1 SET stat = '1000000 1 1 1 1 1' WHERE idx = 'by_name'")
    journal._db.execute("ANALYZE sqlite_schema")
    ((first, found, *_),) = journal.read.report_facts(dry_run=True)
    assert (first, found) == (1, names)
