"""The journal: one status for each row at any time, and refusal of other files."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.cancellation import CancelToken
from bulkreset.errors import Interrupted, RecordError, RunDirError
from bulkreset.journal import database, journal_writer, schema
from bulkreset.journal.database import translate_sqlite_errors
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import JournalFile, SetRow, StepCounts
from bulkreset.journal.run_state import Phase
from bulkreset.models import Outcome, StateChanged, Status, StepOutcome, StepTask
from bulkreset.report.report_writers import write_report
from bulkreset.steps import COLUMNS, STEPS
from tests.journal.journals import (
    EXECUTION,
    OTHER,
    POOL,
    check,
    commit,
    damage,
    done,
    planned,
    run_state,
    sendable,
    sendable_after,
    statuses,
)


def test_planned_rows_are_sendable_in_order(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan")
    assert [
        (row.number, row.username, row.pool, row.permanent, row.was_in_doubt) for row in sendable(journal, 2, 3)
    ] == [
        (2, "bob", POOL, 1, 0),
        (3, "cat", POOL, 1, 0),
    ]
    assert [row.number for row in sendable(journal, 1, 100)] == [1, 2, 3, 4]


def test_only_ready_and_doubtful_rows_are_sendable(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan", "eve", "fay")
    journal.write.add_rows(
        [(7, POOL, "", None, "rejected", "missing_username", "why"), (8, POOL, "gil", True, "skipped", "", "")]
    )
    commit(
        journal,
        [1, 2, 3, 4, 5],
        [],
    )
    commit(
        journal,
        [],
        [
            done(1),
            Outcome(2, Status.FAILED, "UserNotFoundException"),
            Outcome(3, Status.IN_DOUBT, "ReadTimeoutError", in_doubt=True),
            Outcome(4, Status.READY, attempts=1, throttled=1),
        ],
    )
    assert [(row.number, row.was_in_doubt) for row in sendable(journal, 1, 8)] == [(3, 1), (4, 0), (6, 0)]
    assert journal.read.counts() == {
        "set": 1,
        "failed": 1,
        "in_doubt": 1,
        "ready": 2,
        "claimed": 1,
        "rejected": 1,
        "skipped": 1,
    }


def test_row_whose_answer_was_once_lost_is_sent_as_doubted(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    commit(journal, [], [Outcome(1, Status.FAILED, "Refused", in_doubt=True), Outcome(2, Status.IN_DOUBT)])
    journal.write.retry_failed()
    for rows in (sendable(journal, 1, 3), sendable_after(journal, 0, {POOL}, 3)):
        assert [(row.number, row.was_in_doubt, row.retrying_failed) for row in rows] == [
            (1, 1, 1),
            (2, 1, 0),
            (3, 0, 0),
        ]


def test_sendable_rows_are_counted_by_piece_and_pool(tmp_path: Path) -> None:
    journal = planned(tmp_path, *(f"user{number}" for number in range(1, 15)))
    journal.write.add_rows(
        [(15, OTHER, "there", True, "ready", "", ""), (16, OTHER, "gone", True, "rejected", "too_long", "")]
    )
    settled = [done(row) for row in (1, 2, 3, 4, 8, 9)]
    commit(journal, [], [*settled, Outcome(6, Status.IN_DOUBT), Outcome(7, Status.FAILED)])
    assert list(journal.read.sendable_pages(3)) == [(1, POOL, 2), (3, POOL, 3), (4, POOL, 2), (4, OTHER, 1)]
    assert list(journal.read.sendable_pages(100)) == [(0, POOL, 7), (0, OTHER, 1)]
    commit(journal, [], [done(row) for row in range(1, 16)])
    assert list(journal.read.sendable_pages(3)) == []


def test_planned_row_is_reported_with_nothing_that_has_not_happened(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    journal.write.add_rows(
        [(row, pool, "bob", None, "rejected", "unknown_pool", "why") for row, pool in ((2, "nowhere"), (3, "1"))]
    )
    nothing = (*[None] * 5, "", None, None, "", "", "")
    assert [tuple(row) for row in journal.read.report_rows(dry_run=False)] == [
        (1, POOL, "ann", "unprocessed", "", "", 0, 0, 0, 1, *nothing, "ann"),
        (2, "nowhere", "bob", "rejected", "unknown_pool", "why", 0, 0, 0, None, *nothing, "bob"),
        (3, "1", "bob", "rejected", "unknown_pool", "why", 0, 0, 0, None, *nothing, "bob"),
    ]


def test_last_row_of_a_page_and_first_of_the_next_are_distinguished(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcdef")
    commit(journal, [], [done(row) for row in (1, 2, 5, 6)])
    assert list(journal.read.sendable_pages(3)) == [(0, POOL, 1), (1, POOL, 1)]


def test_first_and_last_rows_that_are_still_to_be_sent_are_found(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcdef")
    commit(journal, [], [*(done(row) for row in (3, 4)), Outcome(1, Status.IN_DOUBT), Outcome(6, Status.IN_DOUBT)])
    assert list(journal.read.sendable_pages(1)) == [(row - 1, POOL, 1) for row in (1, 2, 5, 6)]
    commit(journal, [], [done(row) for row in (2, 5)])
    assert list(journal.read.sendable_pages(1)) == [(0, POOL, 1), (5, POOL, 1)]


def test_sendable_rows_after_a_row_are_of_the_requested_pools(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan", "eve")
    journal.write.add_rows([(6, OTHER, "fay", False, "ready", "", ""), (7, OTHER, "gil", True, "ready", "", "")])
    commit(journal, [], [done(3), Outcome(4, Status.IN_DOUBT, in_doubt=True)])
    found = sendable_after(journal, 1, {POOL, OTHER}, 4)
    assert [(row.number, row.username, row.pool, row.permanent, row.was_in_doubt) for row in found] == [
        (2, "bob", POOL, 1, 0),
        (4, "dan", POOL, 1, 1),
        (5, "eve", POOL, 1, 0),
        (6, "fay", OTHER, 0, 0),
    ]
    assert [row.number for row in sendable_after(journal, 0, {OTHER}, 10)] == [6, 7]
    assert sendable_after(journal, 7, {POOL, OTHER}, 10) == sendable_after(journal, 0, set(), 10) == []


def test_only_set_users_of_the_pool_that_are_not_signed_out_are_returned(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan", "eve")
    journal.write.add_rows([(6, OTHER, "fay", True, "ready", "", ""), (7, POOL, "gil", True, "ready", "", "")])
    order = journal.read.step_order({"sign_out": (POOL, OTHER)})
    journal.write.begin_steps(order)
    commit(journal, [], [*(done(row) for row in (1, 2, 3, 5, 6, 7)), Outcome(4, Status.FAILED)])
    gone = [StepOutcome("sign_out", 1, done=True), StepOutcome("sign_out", 7, done=True)]
    commit(journal, [], [], [*gone, StepOutcome("sign_out", 2, False, "Code", "why")])  # noqa: FBT003
    journal.write.begin_steps(order)  # as a resumed run does
    assert sorted(journal.read.step_tasks(order, "sign_out", POOL, 9), key=lambda task: task.number) == [
        StepTask(3, "cat", POOL),
        StepTask(5, "eve", POOL),
    ]
    assert len(journal.read.step_tasks(order, "sign_out", POOL, 1)) == 1
    assert journal.read.step_tasks(order, "sign_out", OTHER, 9) == [StepTask(6, "fay", OTHER)]
    assert journal.read.step_counts("signed_out") == {POOL: StepCounts(2, 1, 2), OTHER: StepCounts(pending=1)}
    assert [row[4:6] for row in journal.read.report_rows(dry_run=False) if row[10] == 0] == [("Code", "why")]
    messages = [f"the password was set; only the {noun} failed: no" for noun in ("sign-out", "removal")]
    for step, message in zip(("sign_out", "forget_devices"), messages, strict=True):
        commit(journal, [], [], [StepOutcome(step, 3, done=False, code="Code", message=message)])
    (twice,) = [row[5] for row in journal.read.report_rows(dry_run=False) if row[0] == 3]
    assert twice == "the password was set; only the sign-out failed: no; the removal failed: no"
    assert journal.write.retry_failed() == {"": 1}
    assert journal.read.step_counts("signed_out")[POOL] == StepCounts(2, 0, 3)
    assert {row[4:6] for row in journal.read.report_rows(dry_run=False)} == {("", "")}


def test_set_rows_are_reported_with_the_names_of_their_users(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    journal.write.add_rows([(4, OTHER, "dan", False, "ready", "", "")])
    journal.write.store_findings(
        [(1, "ready", "", "", "CONFIRMED", "email", "sub-1"), (4, "ready", "", "", "CONFIRMED", "email", "dan")]
    )
    times = {"started_at": 1000, "finished_at": 2000}
    commit(journal, [], [done(4, **times), Outcome(2, Status.FAILED), done(1, **times), Outcome(3, Status.IN_DOUBT)])
    expected = [SetRow(1, POOL, "ann", "sub-1", 1, 1000, 2000), SetRow(4, OTHER, "dan", "dan", 0, 1000, 2000)]
    assert list(journal.read.set_rows()) == expected
    assert [journal.read.set_row(row) for row in (1, 2, 3, 4, 5)] == [expected[0], None, None, expected[1], None]


def test_claim_reads_as_in_doubt_until_it_is_settled(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    commit(journal, [1], [])
    assert statuses(journal) == ["in_doubt", "unprocessed"]
    assert [row[8] for row in journal.read.report_rows(dry_run=False)] == [1, 0]
    commit(journal, [2], [done(1)])
    assert statuses(journal) == ["set", "in_doubt"]
    assert [row[8] for row in journal.read.report_rows(dry_run=False)] == [0, 1]


def test_claims_of_a_dead_process_are_sent_again_as_doubted(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    commit(journal, [1, 2], [])
    commit(journal, [], [done(1)])
    journal.write.mark_claimed_in_doubt(seconds=7.5)
    check(journal, 3)
    assert journal.state.seconds == 7.5
    assert [(row.number, row.was_in_doubt) for row in sendable(journal, 1, 3)] == [(2, 1), (3, 0)]
    commit(journal, [2], [])
    commit(journal, [], [done(2)])
    assert [(row[3], row[8]) for row in journal.read.report_rows(dry_run=False)] == [
        ("set", 0),
        ("set", 1),
        ("unprocessed", 0),
    ]


def test_rows_alike_keep_the_name_of_a_pool_that_is_no_target(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state())
    journal.write.add_rows((row, "elsewhere", f"user{row}", None, "rejected", "unknown_pool", "") for row in (1, 2, 3))
    found = [(row[1], row[2]) for row in journal.read.report_rows(dry_run=True)]
    assert found == [("elsewhere", "user1"), ("elsewhere", "user2"), ("elsewhere", "user3")]


def test_retried_row_keeps_its_history(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    first = Outcome(
        1, Status.IN_DOUBT, "Lost", "why", 3, 1, in_doubt=True, latency_ms=9, started_at=1000, finished_at=2000
    )
    commit(journal, [1], [])
    commit(journal, [], [first])
    commit(journal, [1], [])
    commit(
        journal,
        [],
        [done(1, attempts=2, throttled=1, latency_ms=7, request_id="r2", started_at=3000, finished_at=4000)],
    )
    (row,) = journal.read.report_rows(dry_run=False)
    assert row[3:11] == ("set", "", "", 5, 2, 1, 1, None)
    assert (row.latency_ms, row.request_id, row.started_at, row.finished_at) == (7, "r2", 1000, 4000)
    assert journal.read.totals() == (5, 2)


def started(journal: Journal) -> list[int | None]:
    """Return the start times of all rows."""
    return [row.started_at for row in journal.read.report_rows(dry_run=False)]


def test_doubt_of_a_killed_run_begins_with_the_claim(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan")
    journal.write.store_findings([(1, "ready", "", "", "CONFIRMED", "", "sub-1")])
    commit(journal, [1, 2, 3], [], claimed_at=5000)
    assert started(journal) == [5000, 5000, 5000, None]
    commit(journal, [], [done(2, attempts=1, started_at=5010, finished_at=5020), Outcome(3, Status.READY)])
    assert started(journal) == [5000, 5010, None, None], "a row that was sent has its own time, an unsent one has none"
    journal.write.mark_claimed_in_doubt()
    first, *others = sendable(journal, 1, 4)
    assert (first.was_in_doubt, first.doubted_since, first.canonical) == (1, 5000, "sub-1")
    assert [(row.was_in_doubt, row.doubted_since, row.canonical) for row in others] == [(0, None, "")] * 2
    commit(journal, [1], [], claimed_at=9000)
    commit(journal, [], [Outcome(1, Status.IN_DOUBT, in_doubt=True, attempts=1, started_at=9010, finished_at=9020)])
    assert sendable(journal, 1, 1)[0].doubted_since == 5000
    assert sendable_after(journal, 0, [POOL], 9)[0] == sendable(journal, 1, 1)[0]


@pytest.mark.parametrize(
    ("again", "since"),
    [
        (None, 2000),  # killed: the doubt began after the refusal
        (Outcome(1, Status.IN_DOUBT, "Lost", attempts=1, in_doubt=True, started_at=9010, finished_at=9020), 9010),
        (Outcome(1, Status.IN_DOUBT, in_doubt=True), 2000),  # a worker was lost
        (Outcome(1, Status.FAILED, "B", attempts=1, started_at=9010, finished_at=9020), None),
    ],
)
def test_doubt_of_a_retried_row_does_not_begin_before_its_refusal(
    tmp_path: Path, again: Outcome | None, since: int | None
) -> None:
    journal = planned(tmp_path, "ann")
    commit(journal, [], [Outcome(1, Status.FAILED, "A", "x", 1, started_at=1000, finished_at=2000)])
    journal.write.retry_failed()
    commit(journal, [1], [], claimed_at=9000)
    if again is None:
        journal.write.mark_claimed_in_doubt()
    else:
        commit(journal, [], [again])
        journal.write.retry_failed()
    (row,) = sendable(journal, 1, 1)
    assert row.doubted_since == since
    assert started(journal) == [since or 1000]


@pytest.mark.parametrize("status", [Status.IN_DOUBT, Status.READY])
def test_row_returned_without_an_attempt_keeps_its_facts(tmp_path: Path, status: Status) -> None:
    journal = planned(tmp_path, "ann")
    lost = Outcome(1, status, "ConnectionClosedError", "why", 3, in_doubt=True, request_id="r1")
    for claims, outcomes in (([1], []), ([], [lost]), ([1], []), ([], [Outcome(1, status, in_doubt=True)])):
        commit(journal, claims, outcomes)
    (row,) = journal.read.report_rows(dry_run=True)
    assert row[3:7] == (status, "ConnectionClosedError", "why", 3)
    assert row.request_id == "r1"


def test_row_returned_without_an_attempt_keeps_its_times(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    commit(journal, [1], [Outcome(1, Status.READY, attempts=1, latency_ms=5, started_at=1000, finished_at=2000)])
    commit(journal, [], [Outcome(1, Status.READY)])
    (row,) = journal.read.report_rows(dry_run=False)
    assert (row.status, row.attempts, row.latency_ms, row.started_at, row.finished_at) == (
        "unprocessed",
        1,
        5,
        1000,
        2000,
    )


def test_failed_rows_are_revived_and_nothing_else(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan")
    failed = [Outcome(1, Status.FAILED, "A", "x", 1), Outcome(2, Status.FAILED, "B", "y", 1), done(3)]
    commit(journal, [], failed)
    assert journal.read.codes() == {"A": 1, "B": 1}
    assert journal.write.retry_failed() == {"A": 1, "B": 1}
    assert statuses(journal) == ["unprocessed", "unprocessed", "set", "unprocessed"]
    commit(journal, [1, 2], [])
    commit(journal, [], [done(1), Outcome(2, Status.READY)])
    journal.write.restore_failed()
    assert statuses(journal) == ["set", "failed", "set", "unprocessed"]
    assert journal.read.codes() == {"B": 1}


@pytest.mark.parametrize("end", ["given back", "died"])
def test_unsent_row_in_doubt_keeps_its_facts(tmp_path: Path, end: str) -> None:
    journal = planned(tmp_path, "ann")
    commit(journal, [1], [Outcome(1, Status.IN_DOUBT, "ReadTimeoutError", "lost", 1, in_doubt=True)])
    commit(journal, [1], [])
    if end == "given back":
        commit(journal, [], [Outcome(1, Status.IN_DOUBT, in_doubt=True)])
    else:
        journal.write.mark_claimed_in_doubt()
    assert statuses(journal) == ["in_doubt"]
    assert [(row.code, row.message) for row in journal.read.report_rows(dry_run=False)] == [
        ("ReadTimeoutError", "lost")
    ]


def test_a_failed_row_that_died_on_its_way_says_nothing_of_its_failure(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    commit(journal, [], [Outcome(1, Status.FAILED, "A", "x", 1), Outcome(2, Status.FAILED, "B", "y", 1)])
    journal.write.retry_failed()
    commit(journal, [1], [])
    journal.write.mark_claimed_in_doubt()
    assert statuses(journal) == ["in_doubt", "failed"]
    assert [row.code for row in journal.read.report_rows(dry_run=False)] == ["", "B"]


def test_ready_counts_by_pool_and_permanence(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    journal.write.add_rows(
        [
            (3, OTHER, "cat", False, "ready", "", ""),
            (4, OTHER, "dan", True, "ready", "", ""),
            (5, OTHER, "eve", True, "rejected", "too_long", ""),
            (6, OTHER, "fay", True, "ready", "", ""),
        ]
    )
    commit(journal, [], [done(1), Outcome(2, Status.IN_DOUBT)])
    assert sorted(journal.read.sendable_counts()) == [(POOL, 1, 1), (OTHER, 0, 1), (OTHER, 1, 2)]


def test_rows_of_each_pool_are_counted_by_status_and_those_of_no_pool_are_not(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    journal.write.add_rows(
        [(4, OTHER, "dan", True, "ready", "", ""), (5, "1", "eve", True, "rejected", "unknown_pool", "")]
    )
    commit(journal, [], [done(3)])
    assert sorted(journal.read.pool_counts()) == [(POOL, "ready", 2), (POOL, "set", 1), (OTHER, "ready", 1)]


@pytest.mark.parametrize(
    ("keep", "ready"), [("refuse", [4, 5, 6, 8]), ("first", [1, 4, 5, 6, 7, 8]), ("last", [3, 4, 5, 6, 8, 9])]
)
def test_rows_that_name_one_user_twice(tmp_path: Path, keep: str, ready: list[int]) -> None:
    journal = planned(tmp_path, "ann", "ann", "ann", "bob")
    journal.write.add_rows(
        [
            (5, OTHER, "ann", True, "ready", "", ""),  # another pool: another user
            (6, POOL, "Ann", True, "ready", "", ""),  # the service is case-sensitive
            (7, POOL, "cat", True, "ready", "", ""),
            (8, POOL, "jose\u0301", True, "ready", "", ""),
            (9, POOL, "cat", True, "ready", "", ""),
            (10, POOL, "bob", True, "rejected", "too_long", "kept"),  # not ready, so no duplicate of bob
        ]
    )
    journal.write.reject_duplicates(keep)
    rows = list(journal.read.report_rows(dry_run=True))
    assert [row[0] for row in rows if row[3] == "ready"] == ready
    assert {row[4] for row in rows if row[3] == "rejected"} == {"duplicate_username", "too_long"}
    assert rows[9][4:6] == ("too_long", "kept")
    assert rows[1][5] in {"row 1 names the same user", "row 3 names the same user"}
    assert [row.number for row in sendable(journal, 1, 10)] == ready


def test_rejected_row_keeps_its_reason_among_duplicates(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "ann")
    journal.write.add_rows(
        [(3, POOL, "ann", True, "rejected", "missing_password", "why"), (4, POOL, "ann", True, "set", "", "")]
    )
    journal.write.reject_duplicates("refuse")
    assert [(row.status, row.code) for row in journal.read.report_rows(dry_run=False)] == [
        *[("rejected", "duplicate_username")] * 2,
        ("rejected", "missing_password"),
        ("set", ""),
    ]


def test_duplicates_are_named_with_each_other(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "ann")
    journal.write.reject_duplicates("refuse")
    assert [row[5] for row in journal.read.report_rows(dry_run=False)] == [
        "row 3 names the same user",
        "",
        "row 1 names the same user",
    ]


@settings(max_examples=40)
@given(
    names=st.lists(st.sampled_from(["a", "b", "B", "é", "e\u0301", "a\x00", "a\x00b", " a"]), max_size=12),
    keep=st.sampled_from(["refuse", "first", "last"]),
)
def test_no_two_ready_rows_name_one_user(names: list[str], keep: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    journal = planned(tmp_path_factory.mktemp("twins"), *names)
    journal.write.reject_duplicates(keep)
    left = [(row.number, row.username) for row in sendable(journal, 1, len(names))]
    journal.close()
    once = {name for name in names if names.count(name) == 1}
    assert sorted(name for _, name in left) == sorted(once if keep == "refuse" else set(names))
    for number, name in left:
        places = [place for place, other in enumerate(names, 1) if other == name]
        assert number == (places[-1] if keep == "last" else places[0])


def test_plan_is_forgotten_as_a_whole(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    journal.write.forget_plan()
    assert journal.read.counts() == {}
    journal.write.add_rows([(1, POOL, "ann", True, "ready", "", "")])
    assert journal.read.counts() == {"ready": 1}


def test_interrupted_plan_leaves_no_row_of_its_chunk(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    with pytest.raises(RecordError):
        journal.write.add_rows([(2, POOL, "bob", True, "ready", "", ""), (1, POOL, "again", True, "ready", "", "")])
    assert journal.read.counts() == {"ready": 1}


def test_interrupted_record_leaves_nothing(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    wrong = Outcome(2, Status.SET, attempts=None)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="NOT NULL"):
        commit(journal, [2], [done(1), wrong])
    assert statuses(journal) == ["unprocessed", "unprocessed"]
    commit(journal, [2], [done(1)])
    assert statuses(journal) == ["set", "in_doubt"]


def test_facts_are_kept_and_replaced(tmp_path: Path) -> None:
    journal = planned(tmp_path)
    journal.write.change(unchecked={POOL: "Größe 🚀 \udce4"}, seconds=1.5)
    journal.write.change(phase=Phase.APPLYING)
    journal.close()
    for state in (journal.state, Journal.state_in(tmp_path / "journal.sqlite")):
        assert state == run_state("applying", unchecked={POOL: "Größe 🚀 \udce4"}, seconds=1.5)


def test_facts_of_an_interrupted_commit_are_not_used(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    wrong = Outcome(1, Status.SET, attempts=None)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="NOT NULL"):
        journal.write.commit([wrong, StateChanged({"seconds": 2.0})])
    assert journal.state == Journal.state_in(tmp_path / "journal.sqlite") == run_state()


@pytest.mark.parametrize(
    "fact", [{"state": "lost"}, {"seconds": "1"}, {"phase": "lost"}, {"mirror": {"at": 1}}], ids=str
)
def test_state_that_no_run_has_is_not_written(tmp_path: Path, fact: dict[str, object]) -> None:
    journal = planned(tmp_path)
    with pytest.raises(ValueError, match=next(iter(fact))):
        journal.write.change(**fact)
    assert journal.state == Journal.state_in(tmp_path / "journal.sqlite") == run_state()


BLOB = b"bytes"  # one changed bit makes bytes of a text, and SQLite's own check does not notice it
STRANGE = [
    *((cell, BLOB) for cell in ("status", "code", "message", "request_id", "status_before", "recovery", "canonical")),
    *(("username", b"user.0"), ("pool", BLOB), ("pool", 1.5), ("pool", POOL), ("pool", 3)),
    *((cell, value) for cell in ("attempts", "throttled", "latency_ms") for value in ("1?", 1.5, BLOB)),
    *((cell, value) for cell in ("permanent", *COLUMNS, "in_doubt") for value in (-1, 2, BLOB)),
    *((cell, it) for cell in ("started_at", "finished_at") for it in (-1, 1.5, schema.MAX_TIME + 1, BLOB)),
]


def full_journal(folder: Path) -> Journal:
    """Make a journal with everything that a run writes, from its earliest to its latest time."""
    journal = planned(folder, "ann", "bob")
    journal.write.add_rows(
        [(3, "nowhere", "", None, "rejected", "unknown_pool", ""), (4, OTHER, "", False, "rejected", "x", "")]
    )
    journal.write.add_rows([(row, POOL, "cat", False, "ready", "", "") for row in (5, 6)])
    ways = enumerate(("phone", "email", "none", "unknown"))
    rows = (1, 2, 5, 6)
    journal.write.store_findings([(rows[at], "ready", "", "", "CONFIRMED", way, "robert") for at, way in ways])
    ends = {"started_at": 0, "finished_at": schema.MAX_TIME}
    commit(
        journal, [], [done(1, latency_ms=0, **ends), done(2, started_at=schema.MAX_TIME, finished_at=0, in_doubt=True)]
    )
    commit(journal, [], [], [StepOutcome(step, row, done=row == 1) for step in STEPS for row in (1, 2)])
    return journal


AWKWARD = st.text(st.sampled_from('"\\\x00\n\u2028\ufeffu0é🚀7{[,'), max_size=6)


@settings(max_examples=40)
@given(names=st.lists(AWKWARD, min_size=1, max_size=8), kinds=st.lists(st.booleans(), min_size=8, max_size=8))
def test_planned_rows_are_kept_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], kinds: list[bool]
) -> None:
    journal = Journal.create(tmp_path_factory.mktemp("names") / "journal.sqlite", [POOL], run_state())
    kept = {True: (POOL, True, "ready", "", ""), False: ("", None, "rejected", "x", "why")}
    rows: list[Any] = [
        (row, pool, name, *rest)
        for row, (name, kind) in enumerate(zip(names, kinds, strict=False), 1)
        for pool, *rest in [kept[kind]]
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_writer, "ROWS_AT_ONCE", 2)
        journal.write.add_rows(rows)
    found = [
        (it.row, it.user_pool_id, it.username, it.permanent, *it[3:6]) for it in journal.read.report_rows(dry_run=True)
    ]
    journal.close()
    assert found == rows


@pytest.mark.parametrize(("cell", "value"), STRANGE, ids=str)
def test_cell_of_a_kind_that_no_run_writes_is_damage(tmp_path: Path, cell: str, value: object) -> None:
    journal = full_journal(tmp_path)
    check(journal, 6)
    journal._db.execute(f"UPDATE rows SET {cell} = ? WHERE row = 2", (value,))  # noqa: S608  (our own text)
    with pytest.raises(RecordError, match="damaged"):
        check(journal, 6)
    with contextlib.suppress(RecordError):  # its report can be written, or is refused
        write_report(journal, tmp_path / "report.csv", dry_run=False)


@pytest.mark.parametrize("cell", ["message", "attempts", "canonical"])
def test_bytes_in_a_cell_of_a_report_are_damage(tmp_path: Path, cell: str) -> None:
    journal = full_journal(tmp_path)
    journal._db.execute(f"UPDATE rows SET {cell} = ? WHERE row = 2", (BLOB,))  # noqa: S608  (our own text)
    with pytest.raises(RecordError, match="Restore it from a backup"):
        write_report(journal, tmp_path / "report.csv", dry_run=False)


@pytest.mark.parametrize("value", [None, 1.5, BLOB])
def test_pool_of_a_rejected_row_is_a_number_or_a_text_or_the_journal_is_damaged(tmp_path: Path, value: object) -> None:
    journal = full_journal(tmp_path)
    journal._db.execute("UPDATE rows SET pool = ? WHERE row = 3", (value,))
    with pytest.raises(RecordError, match="damaged"):
        check(journal, 6)


@pytest.mark.parametrize(
    "fact",
    [
        *({"job": "x"}, {"job": {}}, {"job": {"name": "n", "report": 1}}, {"mode": []}, {"mode": "x"}, {"input": 1}),
        *({"lanes": [1]}, {"lanes": [{"account": "1"}]}, {"targets": None}, {"executions": {}}, {"executions": []}),
        *({"rows": "2"}, {"rows": -1}, {"rows": True}, {"confirmed": 1}, {"seconds": "1"}, {"phase": "lost"}),
        *({"started_at": "2026"}, {"started_at": "x"}, {"mirror": {}}, {"word": 1}, {"state": "planned"}),
        *({"executions": [EXECUTION | {"end": {}}]}, {"executions": [EXECUTION | {"state": "finished"}]}),
    ],
    ids=str,
)
def test_fact_of_a_kind_that_no_run_writes_is_damage(tmp_path: Path, fact: dict[str, object]) -> None:
    journal = planned(tmp_path)
    Journal.state_in(journal.path)
    damage(journal, **fact)
    with pytest.raises(RecordError, match="damaged"):
        Journal.open(journal.path)
    with pytest.raises(RecordError, match="damaged"), journal.snapshot():
        pass


def test_facts_that_a_run_begins_with_are_there_or_the_journal_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.create(path, [POOL], begun := run_state())
    assert journal.state == Journal.state_in(path) == begun
    damaged = f"The journal {path} is damaged. Restore it from a backup."
    for key in ("run_id", "job", "mode", "started_at", "executions"):
        for statement in ("DELETE FROM meta WHERE key = ?", "UPDATE meta SET value = '{' WHERE key = ?"):
            journal.write.change(**dict(begun))
            journal._db.execute(statement, (key,))
            with pytest.raises(RecordError) as caught:
                Journal.open(path)
            assert str(caught.value).startswith(damaged)


def test_copy_is_one_complete_file_readable_by_its_owner_only(tmp_path: Path) -> None:
    begun = run_state("applying")
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], begun)
    journal.write.add_rows([(row, POOL, f"user{row}", True, "ready", "", "") for row in (1, 2)])
    commit(journal, [2], [done(1)])
    to = tmp_path / "elsewhere" / "copy.sqlite"
    to.parent.mkdir()
    for leftover in (False, True):
        if leftover:
            to.write_bytes(b"of a copy that broke off")
        mask = os.umask(0)
        try:
            assert journal.copy(to) == begun
        finally:
            os.umask(mask)
        assert to.stat().st_mode & 0o777 == 0o600
        content = to.read_bytes()
        copied = Journal.open(to, read_only=True)
        assert statuses(copied) == ["set", "in_doubt"]
        copied.close()
        assert Journal.state_in(to) == begun
        assert to.read_bytes() == content
        assert content[18:20] == b"\x01\x01"  # no write-ahead log is needed with the copy
        assert list(to.parent.iterdir()) == [to]
    journal._db.close()
    with pytest.raises(RecordError, match="cannot be used"):
        journal.copy(to)


def test_files_of_the_input_are_kept_in_order_and_begin_where_their_first_row_is(tmp_path: Path) -> None:
    files = [JournalFile("b.csv", 20, "bb", "v2"), JournalFile("a.csv", 10, "aa"), JournalFile("c.csv", 30, "cc")]
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), files)
    assert journal.read.files() == files
    assert [file.version for file in files] == ["v2", "", ""]
    journal.write.begin_file(0, 1)
    journal.write.begin_file(2, 3)
    assert [file.first_row for file in journal.read.files()] == [1, None, 3]
    journal.write.add_rows([(row, POOL, f"user{row}", True, "ready", "", "") for row in range(1, 5)])
    assert [row.file for row in journal.read.report_rows(dry_run=False)] == ["b.csv", "b.csv", "c.csv", "c.csv"]
    journal.write.forget_plan()
    assert journal.read.files() == files
    journal.close()
    with pytest.raises(RecordError, match="cannot be used"):
        journal.read.files()


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        (["set"], [1]),
        (["in_doubt"], [2, 3]),
        (["unprocessed"], [4]),
        (["unprocessed", "rejected"], [4, 5]),
        (["ready"], []),
        (["claimed"], []),
        ([], [1, 2, 3, 4, 5]),
    ],
)
def test_report_of_some_statuses_uses_the_reports_words(tmp_path: Path, only: list[str], rows: list[int]) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan")
    journal.write.add_rows([(5, POOL, "", True, "rejected", "missing_username", "why")])
    commit(journal, [1, 3], [Outcome(2, Status.IN_DOUBT)])
    commit(journal, [], [done(1)])
    assert [row.row for row in journal.read.report_rows(only, dry_run=False)] == rows


def test_existing_journal_is_never_overwritten(tmp_path: Path) -> None:
    planned(tmp_path, "ann").close()
    with pytest.raises((RecordError, FileExistsError)):
        Journal.create(tmp_path / "journal.sqlite", [POOL], run_state())
    assert Journal.open(tmp_path / "journal.sqlite").read.counts() == {"ready": 1}


def test_foreign_file_is_never_made_a_journal(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").touch()
    with pytest.raises(RecordError, match="File exists"):
        Journal.create(tmp_path / "journal.sqlite", [POOL], run_state())
    assert (tmp_path / "journal.sqlite").read_bytes() == b""


def test_journal_is_private_with_any_umask(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        journal = planned(tmp_path, "ann")
    finally:
        os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    journal.close()


def test_journal_that_cannot_be_created_is_a_record_error(tmp_path: Path) -> None:
    path = tmp_path / "none" / "journal.sqlite"
    with pytest.raises(RecordError, match=r"cannot be made: .*No such file") as caught:
        Journal.create(path, [POOL], run_state())
    assert str(caught.value).startswith(f"The journal {path} cannot be made: ")
    assert caught.value.advice == "Check the disk's space and rights."


def test_journal_that_cannot_be_filled_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[sqlite3.Connection] = []

    def connect(path: Path, mode: str) -> sqlite3.Connection:
        opened.append(database.connect(path, mode))
        return opened[-1]

    monkeypatch.setattr("bulkreset.journal.journal.connect", connect)
    monkeypatch.setattr(schema, "ADD_POOL", "INSERT INTO missing VALUES (?)")
    with pytest.raises(RecordError, match="no such table: missing"):
        Journal.create(tmp_path / "journal.sqlite", [POOL], run_state())
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


@pytest.mark.parametrize("read_only", [True, False])
def test_missing_journal_is_refused_and_not_created(tmp_path: Path, *, read_only: bool) -> None:
    for path in (tmp_path / "journal.sqlite", tmp_path):
        with pytest.raises(RunDirError) as caught:
            Journal.open(path, read_only=read_only)
        assert str(caught.value) == f"There is no journal at {path}. Name a run directory that bulkreset made."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "content", [b"", b"username,password\n" * 100, b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 4080]
)
def test_file_that_is_not_a_database_is_refused(tmp_path: Path, content: bytes, *, read_only: bool) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"journal\.sqlite is damaged") as caught:
        Journal.open(path, read_only=read_only)
    assert caught.value.advice.startswith("Restore it from a backup.")
    assert path.read_bytes() == content


def test_malformed_file_is_restored_and_a_full_disk_is_not(tmp_path: Path) -> None:
    planned(tmp_path, *(f"user.{number}" for number in range(2_000))).close()
    path = tmp_path / "journal.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"malformed\. Restore it from a backup"):
        Journal.open(path)
    with pytest.raises(RecordError, match="Check the disk's space"), translate_sqlite_errors("X cannot be used"):
        raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("read_only", [True, False])
def test_database_of_another_program_is_refused_and_not_changed(tmp_path: Path, *, read_only: bool) -> None:
    path = tmp_path / "journal.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(RunDirError, match="has version 0"):
        Journal.open(path, read_only=read_only)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["journal.sqlite"]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("application", "version"), [(schema.APPLICATION_ID, schema.VERSION + 1), (0, schema.VERSION), (0, 0)]
)
def test_unknown_version_is_refused(tmp_path: Path, application: int, version: int, *, read_only: bool) -> None:
    planned(tmp_path, "ann").close()
    path = tmp_path / "journal.sqlite"
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA application_id = {application}")
    other.execute(f"PRAGMA user_version = {version}")
    other.close()
    with pytest.raises(RunDirError) as caught:
        Journal.open(path, read_only=read_only)
    assert str(caught.value) == (
        f"The journal {path} has version {version}; this bulkreset knows version {schema.VERSION}."
        " Use the bulkreset that wrote it."
    )


def test_reader_does_not_wait_for_a_writer_or_see_partial_commits(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    reader = Journal.open(tmp_path / "journal.sqlite", read_only=True)
    with journal._db.writing():
        journal._db.execute("UPDATE rows SET status = 'set'")
        assert reader.read.counts() == {"ready": 2}
        assert statuses(reader) == ["unprocessed", "unprocessed"]
    assert reader.read.counts() == {"set": 2}


def test_writer_does_not_wait_for_a_reader(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    reading = Journal.open(tmp_path / "journal.sqlite", read_only=True).read.report_rows(dry_run=False)
    next(reading)
    commit(journal, [1, 2], [])
    commit(journal, [], [done(1)])
    assert next(reading)[3] == "unprocessed"  # as it was when the reading began
    assert statuses(journal) == ["set", "in_doubt"]


def test_read_transaction_shows_the_state_at_its_beginning(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    reader = Journal.open(tmp_path / "journal.sqlite", read_only=True)
    for row in (1, 2):
        seen = reader.read.counts()
        with contextlib.suppress(ZeroDivisionError), reader.snapshot():
            commit(journal, [], [done(row)])
            assert reader.read.counts() == seen
            assert statuses(reader).count("set") == row - 1
            raise ZeroDivisionError
    assert reader.read.counts() == {"set": 2}


def test_reader_cannot_write(tmp_path: Path) -> None:
    planned(tmp_path, "ann").close()
    reader = Journal.open(tmp_path / "journal.sqlite", read_only=True)
    with pytest.raises(RecordError, match="readonly") as caught:
        reader.write.change(rows=1)
    assert str(caught.value).startswith(f"The journal {tmp_path / 'journal.sqlite'} cannot be used: ")


def test_journal_locked_by_another_writer_is_a_record_error(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    journal._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordError, match="locked") as caught:
        commit(journal, [1], [])
    assert str(caught.value).startswith(f"The journal {tmp_path / 'journal.sqlite'} cannot be used: ")
    other.execute("ROLLBACK")
    other.close()
    assert statuses(journal) == ["unprocessed"]


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Any
from bulkreset.journal.journal import Journal
from bulkreset.models import Outcome, Status
from tests.journal.journals import commit
journal = Journal.open(Path(sys.argv[1]))
journal.write.begin_sending()
for row in range(1, 6):
    commit(journal, [row], [Outcome(row - 1, Status.SET)] if row > 1 else [])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
def test_killed_process_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    planned(tmp_path, *"abcdefg").close()
    path = tmp_path / "journal.sqlite"
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -9
    reader = Journal.open(path, read_only=True)
    assert statuses(reader) == ["set"] * 4 + ["in_doubt"] + ["unprocessed"] * 2


@pytest.mark.parametrize("held", [(1, 2, 3), ()], ids=["rows", "none"])
def test_whole_journal_is_used(tmp_path: Path, held: tuple[int, ...]) -> None:
    journal = planned(tmp_path)
    journal.write.add_rows([(row, POOL, "user", True, "ready", "", "") for row in held])
    check(journal, None)  # the plan is unfinished: the number of rows is unknown
    if held:
        check(journal, len(held))


@pytest.mark.parametrize(
    ("held", "rows", "status"),
    [
        ((1, 2), 3, "ready"),
        ((1, 2, 3, 4), 3, "ready"),
        ((2, 3, 4), 3, "ready"),
        ((1, 2, 4), 3, "ready"),
        ((0, 1, 3), 3, "ready"),
        ((1, 2, 3), 3, "gone"),
        ((1, 2, 3), None, "gone"),
    ],
)
def test_journal_without_each_planned_row_once_is_damaged(
    tmp_path: Path, held: tuple[int, ...], rows: int | None, status: str
) -> None:
    journal = planned(tmp_path)
    journal.write.add_rows([(row, POOL, "user", True, status, "", "") for row in held])
    with pytest.raises(RecordError, match=r"journal\.sqlite is damaged\.") as caught:
        check(journal, rows)
    assert caught.value.advice == (
        "Restore it from a backup. Without one, plan a new run of the rows that are not set."
    )


def test_journal_whose_pages_contradict_each_other_is_damaged(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    journal._db.execute("PRAGMA writable_schema = ON")
    # Another table on the pages of `rows`: both can be read.
    root = "(SELECT rootpage FROM sqlite_schema WHERE name = 'rows')"
    journal._db.execute(f"INSERT INTO sqlite_schema SELECT 'table', 'x', 'x', {root}, 'CREATE TABLE x (y)'")
    journal.close()
    journal = Journal.open(tmp_path / "journal.sqlite")
    assert journal.read.counts() == {"ready": 1}
    with pytest.raises(RecordError, match="damaged"):
        check(journal, 1)


def test_disk_is_waited_for_from_the_beginning_of_sending_on(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    normal, full = 1, 2
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (normal,)
    journal.write.begin_sending()
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (full,)


def test_statement_over_many_rows_ends_at_a_stop_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_STEPS_BETWEEN_CHECKS", 10)
    journal, token = planned(tmp_path, "ann", "ann", "bob"), CancelToken()
    with token.watching():
        with journal.stoppable():
            assert sum(journal.read.counts().values()) == 3
            token.request()
            with pytest.raises(Interrupted):
                journal.write.reject_duplicates("refuse")
        assert statuses(journal) == ["unprocessed"] * 3  # the final counts of a stopped run are not interrupted
        journal.write.reject_duplicates("refuse")
    assert statuses(journal) == ["rejected", "rejected", "unprocessed"]
