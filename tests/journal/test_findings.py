"""The journal and the directory: findings for rows, duplicate users, and the approval."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.errors import RecordError
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import JournalFile
from bulkreset.journal.run_state import Phase
from bulkreset.models import Outcome, Status
from tests.journal.journals import OTHER, POOL, commit, done, planned, run_state, sendable, statuses

READY = ("ready", "", "")
GONE = ("rejected", "user_not_found", "nobody")


def codes(journal: Journal) -> list[str]:
    """Return the codes of all rows."""
    return [row[4] for row in journal.read.report_rows(dry_run=False)]


def before(journal: Journal) -> list[str]:
    """Return each user's earlier status, as the report shows it."""
    return [row.status_before for row in journal.read.report_rows(dry_run=False)]


def named(journal: Journal, *canonical: str) -> None:
    """Return a finding for each row: a user with this name of its own."""
    journal.write.store_findings((row, *READY, "CONFIRMED", "", name) for row, name in enumerate(canonical, 1))


def test_ready_rows_are_sought_by_pool_and_name(tmp_path: Path) -> None:
    journal = planned(tmp_path, "dan", "ann")
    journal.write.add_rows([(3, OTHER, "ann", True, *READY), (4, POOL, "cat", True, "rejected", "x", "")])
    assert list(journal.read.rows_to_check()) == [(2, POOL, "ann"), (1, POOL, "dan"), (3, OTHER, "ann")]


def test_findings_of_the_directory_are_used(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "nobody", "fed")
    findings = [
        (1, *READY, "CONFIRMED", "phone", "anna"),
        (2, *GONE, "", "", ""),
        (3, "skipped", "federated", "why", "X", "none", "fed"),
    ]
    journal.write.store_findings(findings, phase=Phase.COMPARING, unchecked={POOL: "why"})
    assert statuses(journal) == ["unprocessed", "rejected", "skipped"]
    assert codes(journal) == ["", "user_not_found", "federated"]
    assert [row[5] for row in journal.read.report_rows(dry_run=False)] == ["", "nobody", "why"]
    assert before(journal) == ["CONFIRMED", "", "X"]
    assert [row.canonical for row in journal.read.report_rows(dry_run=False)] == ["anna", "nobody", "fed"]
    assert journal.state.unchecked == {POOL: "why"}


def test_row_that_is_not_ready_stays_unchanged(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann")
    journal.write.add_rows([(2, POOL, "bob", True, "rejected", "password_policy", "why")])
    journal.write.store_findings(
        [(1, *READY, "CONFIRMED", "", "ann"), (2, *READY, "CONFIRMED", "", "bob"), (3, *GONE, "", "", "")]
    )
    assert (statuses(journal), before(journal)) == (["unprocessed", "rejected"], ["CONFIRMED", ""])


def test_interrupted_findings_are_not_used(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")

    def breaking() -> Iterator[tuple[int, str, str, str, str, str, str]]:
        yield 1, *GONE, "", "", ""
        raise RecordError("The lookup broke.")

    with pytest.raises(RecordError, match="lookup broke"):
        journal.write.store_findings(breaking(), phase=Phase.COMPARING)
    assert statuses(journal) == ["unprocessed"] * 2
    assert journal.state.phase is Phase.READING


def test_users_that_will_be_set_are_counted_by_their_status(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcde")
    said = ["CONFIRMED", "CONFIRMED", "UNCONFIRMED", ""]
    journal.write.store_findings((row, *READY, status, "", "x") for row, status in enumerate(said, 1))
    assert journal.read.status_before_counts() == {"CONFIRMED": 2, "UNCONFIRMED": 1}
    commit(journal, [1, 2], [])
    commit(journal, [], [done(1), Outcome(2, Status.IN_DOUBT)])
    assert journal.read.status_before_counts() == {"CONFIRMED": 1, "UNCONFIRMED": 1}


def test_users_are_counted_by_how_they_can_recover(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcde")
    ways = ["email", "email", "none", "unknown", ""]
    journal.write.store_findings((row, *READY, "CONFIRMED", way, "x") for row, way in enumerate(ways, 1))
    every = [("email", 2), ("none", 1), ("unknown", 1)]
    assert journal.read.recovery_counts() == [(POOL, 1, way, rows) for way, rows in every]
    commit(journal, [1, 2], [])
    commit(journal, [], [done(1), Outcome(2, Status.IN_DOUBT)])
    assert journal.read.recovery_counts() == [(POOL, 1, way, 1) for way, _ in every]
    assert journal.read.recovery_by_status() == [
        ("email", "in_doubt", 1),
        ("email", "set", 1),
        ("none", "ready", 1),
        ("unknown", "ready", 1),
    ]
    assert [row.recovery for row in journal.read.report_rows(dry_run=False)] == ways


@pytest.mark.parametrize(
    ("keep", "left"), [("refuse", []), ("first", ["ann"]), ("last", ["+4512"])], ids=["refuse", "first", "last"]
)
def test_rows_that_name_one_user_by_several_names_are_duplicates(tmp_path: Path, keep: str, left: list[str]) -> None:
    journal = planned(tmp_path, "ann", "ann@x.example", "bob", "+4512")
    named(journal, "ann", "ann", "bob", "ann")
    journal.write.reject_duplicates(keep)
    kept = [row.username for row in sendable(journal, 1, 4)]
    assert kept == [name for name in ("ann", "bob", "+4512") if name == "bob" or name in left]
    assert set(codes(journal)) == {"", "duplicate_username"}


def test_name_of_one_user_and_alias_of_another_are_not_duplicates(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    named(journal, "bob", "ann")
    journal.write.reject_duplicates("refuse")
    assert codes(journal) == ["", ""]


@pytest.mark.parametrize(
    ("folding", "twins"), [([], []), ([POOL], [1, 2]), ([OTHER], [4, 5]), ([POOL, OTHER], [1, 2, 4, 5])]
)
def test_names_that_differ_in_case_are_duplicates_if_the_pool_folds(
    tmp_path: Path, folding: Sequence[str], twins: list[int]
) -> None:
    journal = planned(tmp_path, "Ann", "ANN", "bob")
    journal.write.add_rows([(4, OTHER, "ann", True, *READY), (5, OTHER, "aNN", True, *READY)])
    journal.write.reject_duplicates("refuse", folding)
    assert [row for row, code in enumerate(codes(journal), 1) if code] == twins


def test_names_beyond_ascii_are_folded_as_python_does(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ÄRGER", "ärger", "Жанна", "жанна")
    journal.write.reject_duplicates("refuse", [POOL])
    assert codes(journal) == ["duplicate_username"] * 4


def test_canonical_name_is_folded_too(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "ann@x.example", "other")
    named(journal, "ann", "Ann", "ANNE")
    journal.write.reject_duplicates("refuse", [POOL])
    assert codes(journal) == ["duplicate_username", "duplicate_username", ""]


def test_duplicates_are_named_with_each_other_by_row(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "ann@x", "+45")
    named(journal, "ann", "ann", "ann")
    journal.write.reject_duplicates("refuse")
    said = [row[5] for row in journal.read.report_rows(dry_run=False)]
    assert said == ["row 3 names the same user", "row 1 names the same user", "row 1 names the same user"]


def test_duplicates_may_be_searched_again(tmp_path: Path) -> None:
    journal = planned(tmp_path, "Ann", "ann", "bob")
    for _ in range(3):
        journal.write.reject_duplicates("first", [POOL])
    assert codes(journal) == ["", "duplicate_username", ""]


@settings(max_examples=30)
@given(rows=st.lists(st.tuples(st.sampled_from("aAbB"), st.sampled_from(["", "x", "X"])), min_size=1, max_size=12))
def test_one_row_for_each_user_remains(rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    journal = planned(tmp_path_factory.mktemp("twins"), *(name for name, _ in rows))
    journal.write.store_findings((row, *READY, "CONFIRMED", "", own) for row, (_, own) in enumerate(rows, 1))
    journal.write.reject_duplicates("first", [POOL])
    who = [(own or name).lower() for name, own in rows]
    left = [row.number for row in sendable(journal, 1, len(rows))]
    journal.close()
    assert left == [row for row, user in enumerate(who, 1) if user not in who[: row - 1]]


def journals(folder: Path, now: Sequence[str], was: Sequence[str]) -> tuple[Journal, Path]:
    """Make two journals whose rows have these statuses."""
    made = []
    for name, said in (("now", now), ("was", was)):
        (folder / name).mkdir()
        journal = Journal.create(folder / name / "journal.sqlite", [POOL, OTHER], run_state(run_id=name))
        journal.write.add_rows([(row, POOL, f"user{row}", True, status, "", "") for row, status in enumerate(said, 1)])
        made.append(journal)
    made[1].close()
    return made[0], folder / "was" / "journal.sqlite"


def test_same_plans_are_alike(tmp_path: Path) -> None:
    now, was = journals(tmp_path, ["ready", "rejected"], ["ready", "rejected"])
    assert now.read.differences(was) == (0, None)


def test_rows_that_differ_are_counted_and_the_first_is_shown(tmp_path: Path) -> None:
    now, was = journals(tmp_path, ["ready", "skipped", "rejected"], ["ready", "ready", "ready"])
    assert now.read.differences(was) == (2, (2, "ready", "", "skipped", ""))
    assert now.read.differences(was) == (2, (2, "ready", "", "skipped", "")), "it can be asked again"


@pytest.mark.parametrize(
    "change", ["code = 'x'", "permanent = 0", "permanent = NULL", "username = 'eve'", "pool = 2", "pool = 'text'"]
)
def test_row_differs_by_every_value_to_send(tmp_path: Path, change: str) -> None:
    now, was = journals(tmp_path, ["ready", "ready"], ["ready", "ready"])
    now._db.execute(f"UPDATE rows SET {change} WHERE row = 2")  # noqa: S608  (the test's own text)
    number, first = now.read.differences(was)
    assert (number, first and first[0]) == (1, 2)


def test_explanations_are_not_differences(tmp_path: Path) -> None:
    now, was = journals(tmp_path, ["ready"], ["ready"])
    now.write.store_findings([(1, "ready", "", "", "UNCONFIRMED", "email", "user1")])
    assert now.read.differences(was) == (0, None)


def test_comparing_changes_no_journal(tmp_path: Path) -> None:
    now, was = journals(tmp_path, ["ready"], ["rejected"])
    content = was.read_bytes()
    now.read.differences(was)
    assert was.read_bytes() == content


def test_missing_reviewed_journal_is_a_record_error(tmp_path: Path) -> None:
    now, was = journals(tmp_path, ["ready"], ["ready"])
    was.unlink()
    with pytest.raises(RecordError, match="cannot be used"):
        now.read.differences(was)
    assert not was.exists()
    assert now.read.counts() == {"ready": 1}


def test_users_that_other_runs_may_have_set_are_counted(tmp_path: Path) -> None:
    for name in ("now", "first", "second"):
        (tmp_path / name).mkdir()
    now = planned(tmp_path / "now", "ann", "bob", "cat", "dan@x.example", "fay", "gil", "hal", "h@x.example", "ida")
    now.write.add_rows([(10, POOL, "eve", True, "rejected", "x", ""), (11, OTHER, "bob", True, *READY)])
    now.write.store_findings((row, *READY, "CONFIRMED", "", name) for row, name in ((4, "dan"), (9, "ida-1")))
    first = planned(tmp_path / "first", "bob", "ann", "cat", "dan", "eve", "fay")
    lost = Outcome(3, Status.FAILED, "Gone", in_doubt=True)
    commit(first, [6], [*(done(row) for row in (1, 4, 5)), Outcome(2, Status.FAILED, "Gone"), lost])
    second = planned(tmp_path / "second", "bob", "gil", "h@x.example", "ida", pools=(OTHER, POOL))
    named(second, "bob", "gil", "hal", "ida")
    commit(second, [], [*(done(row) for row in (1, 3, 4)), Outcome(2, Status.IN_DOUBT)])
    assert now.read.already_set([]) == (0, 0)
    assert now.read.already_set([first.path]) == (4, 2)  # bob, cat, dan, fay
    assert now.read.already_set([second.path]) == (5, 2)  # bob, gil, hal by both names, ida
    assert now.read.already_set([first.path, second.path]) == (8, 2)


def test_fingerprints_are_stored_with_the_end_of_reading(tmp_path: Path) -> None:
    files = [JournalFile("b.csv", 20, "bb"), JournalFile("a.csv", 10, "aa")]
    journal = Journal.create(tmp_path / "journal.sqlite", [POOL], run_state(), files)
    journal.write.begin_file(1, 5)
    read = [JournalFile("b.csv", 21, "b2", "v1"), JournalFile("a.csv", 11, "a2", "v2")]
    journal.write.store_fingerprints(read, phase=Phase.CHECKING, rows=7)
    assert journal.read.files() == [read[0], read[1]._replace(first_row=5)]
    assert (journal.state.phase, journal.state.rows) == (Phase.CHECKING, 7)
    journal.write.store_fingerprints(files)
    assert journal.read.files() == [files[0], files[1]._replace(first_row=5)]


def test_carried_cells_are_kept_in_the_order_of_the_rows(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob", "cat")
    for _ in range(2):
        journal.write.add_carried(2, [("b", ""), ("Größe", "c")])
        journal.write.add_carried(1, [("a", "1")])
        assert list(journal.read.carried()) == [(1, ["a", "1"]), (2, ["b", ""]), (3, ["Größe", "c"])]
        assert journal._db.execute("SELECT cells FROM carried WHERE row = 3").fetchone() == ('["Größe", "c"]',), "short"
        journal.write.forget_plan()  # and the next plan starts empty
