"""The mark beside the journal: a journal with missing commits is refused, a complete one never."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bulkreset.errors import RecordError
from bulkreset.journal.commit_mark import NAME, read_mark
from bulkreset.journal.journal import Journal
from bulkreset.models import EndState
from tests.journal.journals import BEGUN, EXECUTION, commit, done, planned, run_state

END = {"end": {"state": EndState.STOPPED, "exit_code": 3, "finished_at": BEGUN}}


def sending(folder: Path) -> Journal:
    """A journal whose run has begun to send."""
    journal = planned(folder, *"abcdef")
    journal.write.begin_sending()
    journal.write.change(phase="applying", rows=6)
    journal.write.move_log_to_file()
    return journal


def copied(folder: Path, to: str, *suffixes: str, mark: bool = True) -> Path:
    """Copy these files of the journal, as they are after a kill, and return the path."""
    made = folder / to
    made.mkdir()
    names = [f"journal.sqlite{suffix}" for suffix in ("", *suffixes)] + ([NAME] if mark else [])
    for name in names:
        shutil.copy(folder / name, made)
    return made / "journal.sqlite"


@pytest.mark.parametrize("read_only", [True, False], ids=["status", "resume"])
def test_journal_without_its_log_is_refused(tmp_path: Path, read_only: bool) -> None:  # noqa: FBT001
    journal = sending(tmp_path)
    commit(journal, [1, 2, 5])
    commit(journal, [3], [done(1)])
    path = copied(tmp_path, "copy")
    content = path.read_bytes()
    with pytest.raises(RecordError) as caught:
        Journal.open(path, read_only=read_only)
    assert caught.value.message == (
        f"The journal {path} has lost what the run did last: it has 1 of 3 commits. Rows up to 5 may have been set."
    )
    assert "journal.sqlite-wal" in caught.value.advice
    assert caught.value.exit_code == 3
    assert path.read_bytes() == content


def test_journal_with_its_log_is_read(tmp_path: Path) -> None:
    journal = sending(tmp_path)
    commit(journal, [1, 2, 3])
    commit(journal, [4], [done(1)])
    copy = Journal.open(copied(tmp_path, "copy", "-wal"))
    assert copy.read.counts() == {"set": 1, "claimed": 3, "ready": 2}
    assert copy.state.commits == journal.state.commits == 3


def test_older_copy_beside_the_mark_is_refused(tmp_path: Path) -> None:
    journal = sending(tmp_path)
    commit(journal, [1])
    older = copied(tmp_path, "older", "-wal").parent
    commit(journal, [2])
    shutil.copy(tmp_path / NAME, older)
    with pytest.raises(RecordError, match=r"it has 2 of 3 commits\. Rows up to 2 may"):
        Journal.open(older / "journal.sqlite")


@pytest.mark.parametrize("left", [None, b"", b"[]", b'{"run_id": 1}', b"x" * 512], ids=repr)
def test_journal_of_a_run_that_sent_needs_its_mark(tmp_path: Path, left: bytes | None) -> None:
    journal = sending(tmp_path)
    commit(journal, [1])
    path = copied(tmp_path, "copy", mark=False)
    if left is not None:
        path.with_name(NAME).write_bytes(left)
    with pytest.raises(RecordError, match=r"has no journal\.mark of this run beside it"):
        Journal.open(path)


def test_journal_that_says_how_its_run_ended_needs_no_mark(tmp_path: Path) -> None:
    journal = sending(tmp_path)
    commit(journal, [1], [])
    journal.write.change(executions=(EXECUTION | END,))
    journal.close()
    (tmp_path / NAME).unlink()
    assert Journal.open(tmp_path / "journal.sqlite").read.counts() == {"claimed": 1, "ready": 5}


def test_mark_of_another_run_says_nothing_of_this_one(tmp_path: Path) -> None:
    journal = sending(tmp_path)
    for row in range(1, 5):
        commit(journal, [row])
    (tmp_path / "other").mkdir()
    Journal.create(tmp_path / "other" / "journal.sqlite", ["x"], run_state(run_id="other")).close()
    shutil.copy(tmp_path / NAME, tmp_path / "other")
    assert Journal.open(tmp_path / "other" / "journal.sqlite").state.run_id == "other"


def test_mark_is_never_ahead_of_the_journal(tmp_path: Path) -> None:
    """A failed commit does not change the mark; nor does a process that dies between commit and mark."""
    journal = sending(tmp_path)
    commit(journal, [1])
    before = read_mark(journal.path)
    with pytest.raises(RecordError):
        commit(journal, [2], [done(1, latency_ms=object())])
    assert read_mark(journal.path) == before
    assert before is not None
    assert (before.commits, before.row, before.job) == (2, 1, "nightly")


def test_next_execution_continues_with_the_mark(tmp_path: Path) -> None:
    journal = sending(tmp_path)
    commit(journal, [1, 4])
    journal.close()
    again = Journal.open(tmp_path / "journal.sqlite")
    again.write.begin_sending()
    commit(again, [2])
    mark = read_mark(again.path)
    assert mark is not None
    assert (mark.commits, mark.row) == (3, 4)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def test_nothing_is_counted_before_sending(tmp_path: Path) -> None:
    journal = planned(tmp_path, "a")
    journal.write.change(rows=1)
    assert (journal.state.commits, read_mark(journal.path)) == (0, None)


def test_commit_without_a_claim_names_no_row(tmp_path: Path) -> None:
    journal = sending(tmp_path)
    mark = read_mark(journal.path)
    assert mark is not None
    assert (mark.commits, mark.row) == (1, 0)


@pytest.mark.parametrize("read_only", [False, True])
def test_mark_of_a_complete_journal_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, read_only: bool
) -> None:
    commit(sending(tmp_path), [1])
    marks = iter([read_mark(tmp_path / "journal.sqlite")])
    monkeypatch.setattr("bulkreset.journal.journal.read_mark", lambda _path: next(marks))
    assert Journal.open(tmp_path / "journal.sqlite", read_only=read_only).state.commits == 2
    assert not [*marks]


def test_state_of_a_journal_with_missing_commits_is_refused(tmp_path: Path) -> None:
    commit(sending(tmp_path), [1])
    path = copied(tmp_path, "copy", mark=False)
    with pytest.raises(RecordError, match=r"The journal .*/copy/journal\.sqlite has no journal\.mark"):
        Journal.state_in(path)
    assert Journal.state_in(path, is_copy=True).commits == 1


def test_mark_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    journal = planned(tmp_path, "a")
    (tmp_path / NAME).mkdir()
    with pytest.raises(RecordError, match=r"journal\.mark cannot be written"):
        journal.write.begin_sending()


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal"])
@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "deleted"])
def test_removed_file_is_noticed(tmp_path: Path, name: str, replaced: bool) -> None:  # noqa: FBT001
    journal = sending(tmp_path)
    journal.require_in_place()
    (tmp_path / name).rename(tmp_path / "away")
    if replaced:
        (tmp_path / name).write_bytes(b"of another run")
    with pytest.raises(RecordError, match="was moved, deleted or replaced while the run was sending"):
        journal.require_in_place()
    journal.close()
    assert not replaced or (tmp_path / name).read_bytes() == b"of another run"


@pytest.mark.parametrize("first", [None, "torn"])
def test_mark_that_a_run_writes_during_the_look_is_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str | None
) -> None:
    """`status` may read while the run writes its first mark or overwrites it."""
    journal = sending(tmp_path)
    commit(journal, [1])
    found = read_mark(journal.path)
    assert found is not None
    looks = [replace(found, commits=999) if first else None, found]
    monkeypatch.setattr("bulkreset.journal.journal.read_mark", lambda _: looks.pop(0))
    assert Journal.open(journal.path, read_only=True).state.commits == found.commits
    assert looks == []


def test_copy_of_a_journal_that_sends_needs_no_mark(tmp_path: Path) -> None:
    journal = sending(tmp_path)
    commit(journal, [1])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert journal.copy(elsewhere / "copy.sqlite").commits == journal.state.commits > 0
