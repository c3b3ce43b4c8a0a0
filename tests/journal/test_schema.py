"""What single statements of the journal do: which rows they look at, what they keep, and which index they use."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from bulkreset.journal import schema
from bulkreset.journal.journal import Journal
from bulkreset.journal.reader import report_row
from bulkreset.journal.records import JournalFile, PlanMessage
from bulkreset.models import Outcome, Status, StepOutcome
from bulkreset.steps import COLUMNS, STEPS
from tests.journal.journals import OTHER, POOL, commit, done, planned, run_state, sendable, sendable_after

# What rows have in common: pool, permanent, status, code, message, status before, recovery.
KINDS: Final[tuple[list[Any], ...]] = (
    *([1, 2, ""], [0, 1, None], ["ready", "set"], ["", "Code"], ["", "why", "XX"]),
    *([None, "CONFIRMED"], [None, "email"]),
)
SET_KIND = (
    "UPDATE rows SET pool = ?, permanent = ?, status = ?, code = ?, message = ?, status_before = ?, recovery = ?"
    " WHERE row = ?"
)


def cells(journal: Journal, columns: str, row: int) -> Any:  # noqa: ANN401  (any values of SQLite)
    """Return cells of a row as they are stored."""
    return journal._db.execute(f"SELECT {columns} FROM rows WHERE row = ?", (row,)).fetchone()  # noqa: S608  (our own text)


@contextmanager
def statements(journal: Journal) -> Iterator[list[str]]:
    """Note the statements that the journal runs during the block."""
    noted: list[str] = []
    journal._db._connection.set_trace_callback(noted.append)
    yield noted
    journal._db._connection.set_trace_callback(None)


@pytest.mark.parametrize("seed", range(8))
def test_each_kind_of_rows_is_counted_once(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kinds = [tuple(chance.choice(some) for some in KINDS) for _ in range(20)]
    kinds += kinds[:1] * seed
    journal = planned(tmp_path, *map(str, kinds))
    journal._db.executemany(SET_KIND, [(*kind, row) for row, kind in enumerate(kinds, 1)])
    found = journal.read._alike()
    expected = Counter((*kind[:4], bool(kind[4]), *kind[5:]) for kind in kinds)
    assert Counter({tuple(one[:-1]): one.rows for one in found}) == expected
    assert len(found) == len(expected), "no kind is without rows, or there twice"


def test_most_common_kind_is_looked_for_in_nine_rows_from_the_first_to_the_last(tmp_path: Path) -> None:
    journal = planned(tmp_path, *(f"user{row}" for row in range(1, 81)))
    journal._db.execute("UPDATE rows SET code = row")
    assert sorted(int(row[3]) for row in journal._db.execute(schema.COMMON)) == [1, *range(10, 81, 10)]


def test_rows_of_the_most_common_kind_are_not_grouped(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcdefgh")
    journal.write.store_findings([(row, "ready", "", "why", "CONFIRMED", "email", "") for row in range(1, 9)])
    (common,) = set(journal._db.execute(schema.COMMON))
    assert common == (1, 1, "ready", "", 1, "CONFIRMED", "email")
    assert journal._db.execute(schema.UNCOMMON, common).fetchall() == []


def test_rows_are_counted_again_only_after_a_change(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    assert journal.read.counts() == {"ready": 2}
    with statements(journal) as noted:
        assert list(journal.read.counts().items()) == [("ready", 2)]
    assert noted == ["PRAGMA data_version"]
    commit(journal, [], [Outcome(1, Status.FAILED)])
    assert list(journal.read.counts().items()) == [("failed", 1), ("ready", 1)]
    with closing(Journal.open(journal.path)) as other:
        commit(other, [], [done(2)])
    assert list(journal.read.counts().items()) == [("failed", 1), ("set", 1)]


def test_messages_are_looked_for_only_if_a_planned_row_has_one(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    commit(journal, [], [Outcome(1, Status.FAILED, "Code", "why")])
    journal.read.counts()
    with statements(journal) as noted:
        assert journal.read.plan_messages("", 2) == []
    assert noted == ["PRAGMA data_version"]


ALIKE: Final = tuple((row, POOL, f"Zoë{row}", True, "ready", "", "") for row in (4, 5, 6))


@pytest.mark.parametrize(
    ("column", "value", "number"),
    [
        *[(0, 6, 1), (2, "Bob", 1), (2, "Zoë\0", 3)],
        *[(0, 9, 3), (1, OTHER, 3), (3, None, 3), (4, "rejected", 3), (5, "Code", 3), (6, "why", 3)],
    ],
)
def test_rows_alike_are_planned_with_one_statement(tmp_path: Path, column: int, value: object, number: int) -> None:
    rows: Any = [*ALIKE[:2], (*ALIKE[2][:column], value, *ALIKE[2][column + 1 :])]
    with closing(Journal.create(tmp_path / "journal.sqlite", [POOL, OTHER], run_state())) as journal:
        with statements(journal) as noted:
            journal.write.add_rows(rows)
        begin, pools, *inserts, end = noted
        assert [begin.split()[0], pools.split()[0], end] == ["BEGIN", "SELECT", "COMMIT"]
        assert len(inserts) == number
        assert "Zoë4" in inserts[0], "not as an escape, which takes more bytes"
        found = [
            (it.row, it.user_pool_id, it.username, it.permanent, *it[3:6])
            for it in journal.read.report_rows(dry_run=False)
        ]
        assert sorted(found) == sorted((*row[:4], row[4].replace("ready", "unprocessed"), *row[5:]) for row in rows)


def test_rows_of_different_lengths_are_not_planned(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    with pytest.raises(ValueError, match="shorter"):
        journal.write.add_rows([ALIKE[0], ALIKE[1][:-1]])  # type: ignore[list-item]  # a row that is too short
    assert journal.read.counts() == {"ready": 1}


@pytest.mark.parametrize(
    ("unlike", "files", "number"), [([], 0, 2), ([], 1, 2), ([3], 1, 3), ([2, 3], 0, 3), ([], 2, 3), ([3], 2, 3)]
)
def test_block_of_the_report_is_read_again_only_for_rows_unlike_its_first(
    tmp_path: Path, unlike: list[int], files: int, number: int
) -> None:
    names = [JournalFile(f"{name}.csv", 1, "00") for name in "ab"[:files]]
    with closing(Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), names)) as journal:
        journal.write.add_rows([(row, POOL, f"user{row}", True, "ready", "", "") for row in range(1, 7)])
        for file in range(files):
            journal.write.begin_file(file, 1 + 3 * file)
        commit(journal, [], [done(row, attempts=row) for row in unlike])
        with statements(journal) as noted:
            found = [*journal.read.report_rows(dry_run=False)]
        assert [row.row for row in found] == [1, 2, 3, 4, 5, 6]
        assert {row.file for row in found} == ({it.name for it in names} or {""})
        assert len(noted) == number
        assert ("SELECT name FROM files" in noted[1]) == (files == 2), "slower, and the same for one file"


def test_no_part_of_a_block_of_the_report_is_empty(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcdef")
    commit(journal, [], [done(row, attempts=row) for row in (2, 3, 5)])
    found = [(first, usernames) for first, usernames, *_ in journal.read.report_facts(dry_run=False)]
    assert found == [(1, ["a"]), (2, ["b"]), (3, ["c"]), (4, ["d"]), (5, ["e"]), (6, ["f"])]


def test_plan_in_which_no_user_is_named_twice_is_searched_only_once(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "Bob", "bob")
    names = [(POOL, "ann", "rejected"), (OTHER, "ann", "ready"), (OTHER, "Ann", "rejected"), (POOL, "own", "ready")]
    journal.write.add_rows(
        [(row, pool, name, True, status, "", "") for row, (pool, name, status) in enumerate(names, 4)]
    )
    journal.write.store_findings([(7, "ready", "", "", "", "", "cat")])
    with statements(journal) as noted:
        journal.write.reject_duplicates("refuse", [OTHER])
    assert [one.split()[0] for one in noted] == ["BEGIN", "SELECT", "COMMIT"]
    with statements(journal) as noted:
        journal.write.reject_duplicates("refuse", [POOL])
    assert len(noted) > 3
    assert journal.read.counts() == {"ready": 3, "rejected": 4}


@pytest.mark.parametrize(("keep", "ready"), [("refuse", []), ("first", [1]), ("last", [3])])
def test_rows_that_name_the_same_user(tmp_path: Path, keep: str, ready: list[int]) -> None:
    journal = planned(tmp_path, "ann", "ann", "ann")
    journal.write.reject_duplicates(keep)
    assert [row.number for row in sendable(journal, 1, 3)] == ready
    others = {1: 3, 2: 1, 3: 1}
    assert {row: cells(journal, "message", row)[0] for row in others if row not in ready} == {
        row: f"row {other} names the same user" for row, other in others.items() if row not in ready
    }


def test_pages_without_rows_to_send_are_not_searched(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcdefgh")
    commit(journal, [], [done(row) for row in (1, 2, 3, 4, 7, 8)])
    with statements(journal) as noted:
        assert list(journal.read.sendable_pages(2)) == [(2, POOL, 2)]
    assert len(noted) == 1 + 1
    commit(journal, [], [done(row) for row in range(1, 9)])
    with statements(journal) as noted:
        assert list(journal.read.sendable_pages(2)) == []
    assert len(noted) == 1


def test_row_has_the_user_s_own_name_only_if_it_differs(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    journal.write.store_findings([(1, "ready", "", "", "", "", "ann"), (2, "ready", "", "", "", "", "robert")])
    assert [cells(journal, "canonical", row) for row in (1, 2, 3)] == [(None,), ("robert",), (None,)]
    for rows in (sendable(journal, 1, 3), sendable_after(journal, 0, [POOL], 3)):
        assert [row.canonical for row in rows] == ["", "robert", ""]


def test_finding_without_a_message_keeps_the_warning_of_the_row(tmp_path: Path) -> None:
    journal = planned(tmp_path)
    journal.write.add_rows([(row, POOL, f"user{row}", True, "ready", "", "warning") for row in (1, 2)])
    journal.write.store_findings([(1, "ready", "", "", "", "", ""), (2, "skipped", "x", "said", "", "", "")])
    assert [cells(journal, "message", row) for row in (1, 2)] == [("warning",), ("said",)]


def test_doubt_without_a_time_of_its_call_began_with_the_claim(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    commit(journal, [1], claimed_at=1000)
    commit(journal, [], [Outcome(1, Status.IN_DOUBT, in_doubt=True)])
    assert cells(journal, "started_at, finished_at", 1) == (1000, None)


def test_row_has_the_code_of_its_first_failed_step_and_all_messages(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    commit(journal, [], [done(row) for row in (1, 2, 3)])
    assert journal.read.failed_step_rows() == 0
    for number, step in enumerate(STEPS):
        commit(journal, [], [], [StepOutcome(step, 1, done=False, code=f"Code{number}", message=f"why {number}")])
        commit(journal, [], [], [StepOutcome(step, 2, done=True)])
    assert cells(journal, "code, message", 1) == ("Code0", "; ".join(f"why {number}" for number in range(len(STEPS))))
    assert cells(journal, "code, message", 2) == ("", "")
    assert journal.read.failed_step_rows() == 1


@pytest.mark.parametrize("step", STEPS)
def test_one_failed_step_is_enough(tmp_path: Path, step: str) -> None:
    journal = planned(tmp_path, "ann", "bob")
    commit(journal, [], [done(row) for row in (1, 2)], [StepOutcome(step, 2, done=False, code="Code", message="why")])
    assert journal.read.failed_step_rows() == 1


def test_failed_steps_are_pending_again_and_nothing_else_changes(tmp_path: Path) -> None:
    columns = ", ".join(COLUMNS)
    journal = planned(tmp_path, *"abcdefg")
    commit(journal, [], [*(done(row) for row in range(1, 7)), Outcome(7, Status.FAILED, "Code", "why")])
    for row, step in enumerate(STEPS, 1):
        others = [StepOutcome(other, row, done=True) for other in STEPS if other != step]
        commit(journal, [], [], [*others, StepOutcome(step, row, done=False, code="Code", message="why")])
    journal._db.execute("UPDATE rows SET code = 'Other', message = 'said' WHERE row = 6")
    journal._db.execute("UPDATE rows SET signed_out = 0 WHERE row = 7")
    assert journal.write.retry_failed() == {"Code": 1}
    for row, step in enumerate(STEPS, 1):
        assert cells(journal, columns, row) == tuple(None if other == step else 1 for other in STEPS)
        assert cells(journal, "code, message", row) == ("", "")
    assert cells(journal, f"code, message, {columns}", 5) == ("", "", *[None] * len(COLUMNS))
    assert cells(journal, "code, message", 6) == ("Other", "said")
    assert cells(journal, "status, code, message, signed_out", 7) == ("ready", "Code", "why", 0)


def test_attempts_are_added_up(tmp_path: Path) -> None:
    journal = planned(tmp_path)
    assert journal.read.totals() == (0, 0)
    journal.write.add_rows([(row, POOL, "user", True, "ready", "", "") for row in (1, 2)])
    commit(journal, [], [done(1, attempts=3, throttled=2), done(2, attempts=5, throttled=4)])
    assert journal.read.totals() == (8, 6)


def test_call_of_a_dead_process_is_in_doubt_since_it_may_have_been_made(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat", "dan")
    commit(journal, [1, 2, 3], claimed_at=1000)
    doubt = Outcome(2, Status.IN_DOUBT, "Lost", "why", in_doubt=True, started_at=1100, finished_at=2000)
    commit(journal, [], [doubt, Outcome(3, Status.FAILED, "Code", "why", started_at=1100, finished_at=2000)])
    commit(journal, [2, 3], claimed_at=3000)
    journal.write.mark_claimed_in_doubt()
    columns = "status, in_doubt, code, message, started_at"
    assert [cells(journal, columns, row) for row in (1, 2, 3, 4)] == [
        ("in_doubt", 1, "", "", 1000),
        ("in_doubt", 1, "Lost", "why", 1100),
        ("in_doubt", 1, "", "", 2000),
        ("ready", 0, "", "", None),
    ]


def test_first_row_that_differs_from_another_plan_is_named(tmp_path: Path) -> None:
    for name in ("now", "was"):
        (tmp_path / name).mkdir()
    now, was = (planned(tmp_path / name, *names) for name, names in (("now", "abcde"), ("was", "axcxx")))
    was.close()
    assert now.read.differences(was.path) == (3, (2, "ready", "", "ready", ""))


def test_warnings_of_the_plan_are_in_order(tmp_path: Path) -> None:
    journal = planned(tmp_path)
    said = ["warn b", "warn a", "warn b", "warn a", "other", "warn c", "warn c", "warn c"]
    journal.write.add_rows([(row, POOL, "user", True, "ready", "", it) for row, it in enumerate(said, 1)])
    assert journal.read.plan_messages("warn", 2) == [
        PlanMessage("warn c", 3, (6, 7)),
        PlanMessage("warn a", 2, (2, 4)),
        PlanMessage("warn b", 2, (1, 3)),
    ]


def of_every_kind(folder: Path) -> Journal:
    """Make a journal of two files whose rows have every status and differ in everything else, too."""
    files = [JournalFile(name, 1, "00") for name in ("a.csv", "b.csv")]
    journal = Journal.create(folder / "journal.sqlite", [POOL, OTHER], run_state(), files)
    journal.write.add_rows(
        [(row, (POOL, OTHER)[row % 2], f"user{row}", bool(row % 3), "ready", "", "") for row in range(1, 21)]
    )
    rejected = [("nowhere", "rejected", "x", "why"), ("1", "rejected", "y", ""), ("", "skipped", "z", "why")]
    journal.write.add_rows(
        [
            (row, pool, f"user{row}", None, status, code, said)
            for row, (pool, status, code, said) in enumerate(rejected, 21)
        ]
    )
    for number, row in enumerate((1, 9)):
        journal.write.begin_file(number, row)
    journal.write.store_findings([(row, "ready", "", "", "CONFIRMED", "email", f"own{row}") for row in range(3, 15, 2)])
    for row in range(1, 17):
        status = (Status.SET, Status.FAILED, Status.IN_DOUBT, Status.READY)[row % 4]
        facts = {"attempts": row, "throttled": row + 1, "latency_ms": row + 2, "started_at": row + 3}
        commit(
            journal,
            [],
            [
                Outcome(
                    row,
                    status,
                    f"Code{row}",
                    f"why {row}",
                    request_id=f"r{row}",
                    finished_at=row + 4,
                    in_doubt=row % 5 == 0,
                    **facts,
                )
            ],
        )
    for number, step in enumerate(STEPS):
        commit(journal, [], [], [StepOutcome(step, row, done=row % 8 == number) for row in (4, 8, 12)])
    commit(journal, [17, 18], claimed_at=50)
    return journal


@pytest.mark.parametrize("dry_run", [False, True])
def test_report_of_some_statuses_has_the_same_rows_as_that_of_all(tmp_path: Path, *, dry_run: bool) -> None:
    journal = of_every_kind(tmp_path)
    rows = list(journal.read.report_rows(dry_run=dry_run))
    assert [row.row for row in rows] == list(range(1, 24))
    kinds = {row.status for row in rows}
    assert len(kinds) == 6
    for only in ({one} for one in kinds):
        assert list(journal.read.report_rows(only, dry_run=dry_run)) == [row for row in rows if row.status in only]


@pytest.mark.parametrize("size", [1, 2, 5, 200])
def test_report_says_what_is_stored(tmp_path: Path, size: int) -> None:
    journal = of_every_kind(tmp_path)
    names = {1: POOL, 2: OTHER}
    found = {
        row: report_row(row, username, facts, own)
        for first, usernames, facts, own in journal.read.report_facts(dry_run=False, size=size)
        for row, username in enumerate(usernames, first)
    }
    assert [*found] == list(range(1, 24))
    alike = "username, code, message, attempts, throttled, permanent, latency_ms, request_id, started_at, finished_at"
    for row, shown in found.items():
        stored = dict(zip(alike.split(", "), cells(journal, alike, row), strict=True))
        assert {name: getattr(shown, name) for name in stored} == stored
        pool, status, doubt, canonical, before, recovery, *steps = cells(
            journal, f"pool, status, in_doubt, canonical, status_before, recovery, {', '.join(COLUMNS)}", row
        )
        assert shown.user_pool_id == names.get(pool, pool)
        assert shown.status == {"ready": "unprocessed", "claimed": "in_doubt"}.get(status, status)
        assert shown.in_doubt == int(bool(doubt) or status in {"claimed", "in_doubt"})
        assert shown.canonical == (canonical or stored["username"])
        assert (shown.status_before, shown.recovery) == (before or "", recovery or "")
        assert [getattr(shown, column) for column in COLUMNS] == steps
        assert shown.file == ("a.csv" if row < 9 else "b.csv")


def test_rows_of_the_page_say_the_same_as_the_report(tmp_path: Path) -> None:
    journal = of_every_kind(tmp_path)
    reported = {row.row: row._replace(file="", status="") for row in journal.read.report_rows(dry_run=False)}
    slowest, needing = journal.read.slowest_rows(99), journal.read.rows_needing_attention(99)
    assert {row.row for row in slowest} == set(range(1, 17))
    assert {1, 2, 5, 6, 21, 22} <= {row.row for row in needing}, "failed, in doubt and rejected rows"
    for row in (*slowest, *needing):
        assert row._replace(status="") == reported[row.row]


@pytest.mark.parametrize("step", STEPS)
def test_user_with_a_failed_step_needs_attention(tmp_path: Path, step: str) -> None:
    journal = planned(tmp_path, "ann", "bob")
    steps = [StepOutcome(step, 1, done=True), StepOutcome(step, 2, done=False)]
    commit(journal, [], [done(row) for row in (1, 2)], steps)
    assert [row.row for row in journal.read.rows_needing_attention(9)] == [2]


def test_most_serious_rows_come_first_and_equal_ones_in_order(tmp_path: Path) -> None:
    kinds = ("skipped", "rejected", "failed", "in_doubt", "claimed", "set", "skipped")
    journal = planned(tmp_path, *map(str, range(len(kinds))))
    journal._db.executemany(
        "UPDATE rows SET status = ?, signed_out = 0 WHERE row = ?", zip(kinds, range(1, 8), strict=True)
    )
    assert [row.row for row in journal.read.rows_needing_attention(9)] == [4, 5, 3, 6, 2, 1, 7]


def test_equally_slow_rows_are_in_order(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcd")
    journal._db.execute("UPDATE rows SET latency_ms = CASE row WHEN 3 THEN 9 ELSE 5 END")
    assert [row.row for row in journal.read.slowest_rows(4)] == [3, 1, 2, 4]


def test_span_of_a_call_without_a_begin_begins_with_its_end(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    commit(journal, [2], [Outcome(1, Status.FAILED, finished_at=7)], claimed_at=3)
    assert journal.read.send_span() == (7, 7)


def test_index_of_steps_has_only_users_with_a_next_step_and_finds_them_by_pool(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcdef")
    journal.write.add_rows([(7, OTHER, "there", True, "ready", "", "")])
    order = journal.read.step_order({"sign_out": [POOL]})
    journal.write.begin_steps(order)
    commit(journal, [], [*(done(row) for row in (1, 2, 3, 7)), Outcome(4, Status.FAILED)])
    commit(journal, [], [], [StepOutcome("sign_out", 1, done=True)])
    journal._db.execute("ANALYZE to_step")
    ((figures,),) = journal._db.execute("SELECT stat FROM sqlite_stat1 WHERE idx = 'to_step'").fetchall()
    assert figures.split()[0] == "2", "of rows 2 and 3"
    plan = journal._db.execute(
        f"EXPLAIN QUERY PLAN {schema.TO_STEP.format(order=order)}", (1, "sign_out", 9)
    ).fetchall()
    assert plan[0][3] == "SEARCH rows USING INDEX to_step (pool=? AND <expr>=?)"


def test_file_of_a_row_is_found_by_an_index(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    plan = journal._db.execute(f"EXPLAIN QUERY PLAN SELECT {schema.FILE_OF_ROW} FROM rows").fetchall()  # noqa: S608  (our own text)
    assert any("SEARCH files USING INDEX" in line[3] for line in plan)


def test_pool_is_found_by_an_index(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    plan = journal._db.execute(f"EXPLAIN QUERY PLAN {schema.POOL}", (POOL,)).fetchall()
    assert "INDEX" in plan[0][3]


def test_files_are_in_the_order_of_the_input(tmp_path: Path) -> None:
    files = [JournalFile(f"{name}.csv", 1, "00") for name in "cab"]
    with closing(Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), files)) as journal:
        assert journal.read.files() == files


def test_twins_are_found_by_an_index(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "ann")
    values = {"keep": "refuse", "folding": "[]"}
    journal._db.create_function("fold", 1, str.lower)
    journal._db.execute(schema.DUPLICATES, values)
    journal._db.execute(schema.INDEX_TWINS)
    plan = journal._db.execute(f"EXPLAIN QUERY PLAN {schema.REJECT_DUPLICATES}", values).fetchall()
    assert any("twins USING INDEX twin (who=? AND pool=?)" in line[3] for line in plan), plan


@pytest.mark.parametrize("column", schema.REPORTED_ALIKE)
def test_rows_that_differ_in_one_column_are_reported_apart(tmp_path: Path, column: str) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    facts: dict[str, Any] = {"latency_ms": 9, "started_at": 2, "finished_at": 3, "request_id": "r"}
    commit(journal, [], [done(row, **facts) for row in (1, 2, 3)])
    other = {"status": "failed", "pool": 2, "permanent": 0, "in_doubt": 1, "recovery": "email"}.get(column, 1)
    journal._db.execute(f"UPDATE rows SET {column} = ? WHERE row = 2", (other,))  # noqa: S608  (our own text)
    found = [(first, len(names)) for first, names, *_ in journal.read.report_facts(dry_run=False)]
    assert found == [(1, 1), (2, 1), (3, 1)]
