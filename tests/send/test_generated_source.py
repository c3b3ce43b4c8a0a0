"""Generated passwords: encrypted before their rows are claimed, each row once, stored nowhere else."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from bulkreset.errors import RecordError
from bulkreset.input.password_generator import PasswordGenerator
from bulkreset.job import PasswordPolicy
from bulkreset.journal.reader import PasswordOf
from bulkreset.models import Row, Secret
from bulkreset.send import generated_source
from bulkreset.send.generated_source import GeneratedLaneSource

ONE, TWO = "eu-west-1_Here00001", "eu-west-1_Here00002"
LOT = 5


class FakeJournal:
    """Rows that are still to be sent; `asked` records the requests: (after row, most)."""

    def __init__(self, *rows: Row) -> None:
        self.rows = list(rows)
        self.asked: list[tuple[int, int]] = []

    def sendable_counts(self) -> list[tuple[str, int, int]]:
        return [(row.pool, row.permanent, 1) for row in self.rows]

    def sendable_after(self, row: int, pools: frozenset[str], most: int, password: PasswordOf) -> list[Row]:
        self.asked.append((row, most))
        found = [it for it in self.rows if it.number > row and it.pool in pools][:most]
        return [replace(it, password=password(it.number, it.username, it.pool, it.permanent)) for it in found]


class FakeArchive:
    """The written batches; `failing` is raised instead of writing one."""

    def __init__(self) -> None:
        self.lots: list[list[Row]] = []
        self.failing: Exception | None = None

    @property
    def passwords(self) -> dict[int, str]:
        """Return the last written password of each row."""
        return {row.number: row.password.reveal() for lot in self.lots for row in lot}

    def write(self, rows: Sequence[Row]) -> None:
        if self.failing:
            raise self.failing
        self.lots.append(list(rows))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use batches of five rows."""
    monkeypatch.setattr(generated_source, "CHUNK_ROWS", LOT)


def sendable(first: int, last: int, pool: str = ONE, *, permanent: bool = False, doubted: bool = False) -> list[Row]:
    none = Secret("")
    return [Row(number, f"user{number}", none, pool, permanent, doubted) for number in range(first, last + 1)]


def made(journal: FakeJournal, archive: FakeArchive | None, *pools: str) -> GeneratedLaneSource:
    generator = PasswordGenerator({ONE: PasswordPolicy(), TWO: PasswordPolicy()}, 24)
    return GeneratedLaneSource(cast("Any", journal), pools or (ONE,), generator, cast("Any", archive))


def numbers(rows: Sequence[Row]) -> list[int]:
    return [row.number for row in rows]


def drained(lane_source: GeneratedLaneSource, most: int) -> list[Row]:
    """Return all rows of a source."""
    found: list[Row] = []
    while not lane_source.ended:
        found += lane_source.take(most)
    return found


@pytest.mark.parametrize("most", [1, 3, 5, 12])
def test_a_batch_is_encrypted_before_its_first_row_is_claimed(most: int) -> None:
    archive = FakeArchive()
    lane_source = made(FakeJournal(*sendable(1, 12)), archive)
    while not lane_source.ended:
        for row in lane_source.take(most):
            assert archive.passwords[row.number] == row.password.reveal()
    assert [numbers(lot) for lot in archive.lots] == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12]]


@pytest.mark.parametrize("archive", [None, FakeArchive()], ids=["kept-nowhere", "encrypted"])
@pytest.mark.parametrize("most", [1, 4, 100])
def test_each_row_is_claimed_once_and_in_order(archive: FakeArchive | None, most: int) -> None:
    rows = drained(made(FakeJournal(*sendable(1, 17)), archive), most)
    assert numbers(rows) == list(range(1, 18))
    assert [row.username for row in rows[:2]] == ["user1", "user2"]
    assert len({row.password.reveal() for row in rows}) == 17


def test_without_an_archive_no_more_passwords_are_generated_than_are_requested() -> None:
    journal = FakeJournal(*sendable(1, 9))
    lane_source = made(journal, None)
    assert numbers(lane_source.take(2)) == [1, 2]
    assert numbers(lane_source.take(3)) == [3, 4, 5]
    assert journal.asked == [(0, 2), (2, 3)]


def test_journal_with_an_archive_is_asked_batch_by_batch() -> None:
    journal, archive = FakeJournal(*sendable(1, 9)), FakeArchive()
    lane_source = made(journal, archive)
    taken = [numbers(lane_source.take(2)) for _ in range(4)]
    assert taken == [[1, 2], [3, 4], [5], [6, 7]]
    assert journal.asked == [(0, LOT), (5, LOT)]
    assert len(archive.lots) == 2


def test_a_batch_that_cannot_be_written_gives_no_row() -> None:
    archive = FakeArchive()
    lane_source = made(FakeJournal(*sendable(1, 12)), archive)
    assert numbers(lane_source.take(5)) == [1, 2, 3, 4, 5]
    archive.failing = RecordError("The passwords cannot be written.")
    with pytest.raises(RecordError):
        lane_source.take(5)
    assert not lane_source._ready_rows


def test_end_is_reached_when_nothing_more_is_found() -> None:
    for archive in (None, FakeArchive()):
        lane_source = made(FakeJournal(*sendable(1, 3)), archive)
        assert not lane_source.ended
        assert len(lane_source.take(9)) == 3
        assert not lane_source.ended
        assert list(lane_source.take(9)) == []
        assert lane_source.ended


def test_no_rows_means_no_password_file() -> None:
    archive = FakeArchive()
    lane_source = made(FakeJournal(), archive)
    assert drained(lane_source, 9) == []
    assert archive.lots == []
    assert lane_source.rows == 0


def test_dropped_rows_are_not_claimed_and_their_passwords_are_released() -> None:
    lane_source = made(FakeJournal(*sendable(1, 9)), FakeArchive())
    lane_source.take(2)
    lane_source.discard_rest()
    assert lane_source.ended
    assert not lane_source._ready_rows


def test_row_agrees_with_the_journal() -> None:
    journal = FakeJournal(*sendable(1, 1), *sendable(2, 2, permanent=True), *sendable(3, 3, doubted=True))
    rows = drained(made(journal, FakeArchive()), 9)
    assert [(row.pool, row.permanent, row.was_in_doubt) for row in rows] == [
        (ONE, False, False),
        (ONE, True, False),
        (ONE, False, True),
    ]
    assert "user1" in repr(rows[0])
    assert rows[0].password.reveal() not in repr(rows)


def test_every_lane_has_its_own_pools_rows_and_all_share_the_archive() -> None:
    journal, archive = FakeJournal(*sendable(1, 3), *sendable(4, 6, TWO), *sendable(7, 8)), FakeArchive()
    generator = PasswordGenerator({ONE: PasswordPolicy(), TWO: PasswordPolicy(minimum_length=40)}, 24)
    one, two = (
        GeneratedLaneSource(cast("Any", journal), pools, generator, cast("Any", archive)) for pools in ((ONE,), (TWO,))
    )
    assert (one.rows, two.rows) == (5, 3)
    assert numbers(two.take(9)) == [4, 5, 6]
    assert numbers(one.take(9)) == [1, 2, 3, 7, 8]
    assert {number: len(password) for number, password in archive.passwords.items()} == {
        **dict.fromkeys((1, 2, 3, 7, 8), 24),
        **dict.fromkeys((4, 5, 6), 42),
    }


def test_one_lane_may_have_several_pools() -> None:
    journal = FakeJournal(*sendable(1, 2), *sendable(3, 4, TWO), *sendable(5, 5))
    lane_source = made(journal, None, ONE, TWO)
    assert numbers(drained(lane_source, 2)) == [1, 2, 3, 4, 5]
