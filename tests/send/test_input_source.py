"""The input source: every row to its own lane once and in order, few reads, and no changed row."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import GuardTripped, InputError, Stopped
from bulkreset.input.batch import RowBatch
from bulkreset.input.page_reader import PageReader
from bulkreset.journal.journal import Journal
from bulkreset.models import Outcome, Row, Status
from bulkreset.send import input_source
from bulkreset.send.input_source import InputSource, LaneRowSource
from tests.journal.journals import commit, run_state

SIZE = 5  # rows of a page in these tests
PATIENCE = 90.0  # seconds after which a test gives up


class FakePageReader(PageReader):
    """An input in memory. `known` are the pages that are available at once; others are searched, one per call."""

    def __init__(self, rows: Sequence[tuple[str, str]], *, remembers: bool, searched: bool) -> None:
        self.remembers = remembers
        self.read_pages: list[int] = []
        self.closed = False
        self.read_one = threading.Event()  # set by the source at each answer of its thread
        self.failing: Exception | None = None
        self._table = rows
        self._seen = 0 if searched else len(rows)

    def knows(self, number: int) -> bool:
        return number <= self._seen

    def read(self, number: int) -> RowBatch | None:
        if self.failing:
            raise self.failing
        if number > self._seen:
            self._seen += 1
            return None
        if not self.remembers:
            self._seen = number
        self.read_pages.append(number)
        part = self._table[number * SIZE : (number + 1) * SIZE]
        return RowBatch(
            number * SIZE + 1, {"username": [name for name, _ in part], "password": [secret for _, secret in part]}
        )

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use pages of five rows, and buffers for eight."""
    monkeypatch.setattr(input_source, "PAGE_ROWS", SIZE)
    monkeypatch.setattr(input_source, "LEAST_BUFFER", 8)
    monkeypatch.setattr(input_source, "MOST_BUFFER", 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of this module."""
    return tmp_path_factory.mktemp("input")


POOLS = ("r_A", "r_B", "r_C", "r_D")


@contextmanager
def source(
    folder: Path, pools: str, *, remembers: bool = True, searched: bool = False, settled: Sequence[int] = ()
) -> Iterator[tuple[InputSource, FakePageReader, list[str]]]:
    """Make a source of rows whose pools are the letters; it records the requests to the file."""
    path = folder / "journal.sqlite"
    path.unlink(missing_ok=True)
    journal = Journal.create(path, POOLS, run_state())
    names = [(f"user{row}", f"Hidden-{row}") for row in range(1, len(pools) + 1)]
    journal.write.add_rows(
        (row, f"r_{letter}", f"user{row}", True, "ready", "", "") for row, letter in enumerate(pools, 1)
    )
    commit(journal, [], [Outcome(row, Status.SET) for row in settled if row <= len(pools)])
    page_reader = FakePageReader(names, remembers=remembers, searched=searched)
    asked: list[str] = []
    made = InputSource(
        page_reader,
        journal.read,
        [[pool] for pool in POOLS],
        lambda: asked.append("unchanged"),
        page_reader.read_one.set,
    )
    try:
        yield made, page_reader, asked
    finally:
        made.close()
        if made._thread:
            made._thread.join(PATIENCE)
        journal.close()
    assert page_reader.closed or made._thread is None


def take_rows(lane_source: LaneRowSource, most: int) -> list[Row]:
    """Wait for rows of a lane and return them."""
    read_one = page_reader_of(lane_source).read_one
    read_one.clear()
    while not (found := list(lane_source.take(most))) and not lane_source.ended:
        assert read_one.wait(PATIENCE)
        read_one.clear()
    return found


def page_reader_of(lane_source: LaneRowSource) -> FakePageReader:
    """Return the pages that a lane reads."""
    page_reader = lane_source._source._page_reader
    assert isinstance(page_reader, FakePageReader)
    return page_reader


@given(
    pools=st.text(st.sampled_from("ABCD"), max_size=60)
    | st.text(st.sampled_from("ABCD"), max_size=60).map(sorted).map("".join),
    order=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12)), max_size=60),
    settled=st.lists(st.integers(1, 60), max_size=20, unique=True),
    remembers=st.booleans(),
    searched=st.booleans(),
)
def test_every_lane_gets_its_rows_once_and_in_order(
    folder: Path,
    pools: str,
    order: list[tuple[int, int]],
    settled: list[int],
    *,
    remembers: bool,
    searched: bool,
) -> None:
    expected = {
        number: [row for row, letter in enumerate(pools, 1) if letter == "ABCD"[number] and row not in settled]
        for number in range(4)
    }
    with source(folder, pools, remembers=remembers, searched=searched, settled=settled) as (made, _, _):
        assert [lane_source.rows for lane_source in made.lane_sources] == [len(rows) for rows in expected.values()]
        found: dict[int, list[Row]] = {number: [] for number in range(4)}
        for number, most in [*order, *((number, 7) for number in range(4) for _ in range(20))]:
            more = take_rows(made.lane_sources[number], most)
            assert len(more) <= most
            found[number] += more
        assert all(lane_source.ended for lane_source in made.lane_sources)
        assert {number: [row.number for row in rows] for number, rows in found.items()} == expected
        for row in (row for rows in found.values() for row in rows):
            assert (row.username, row.password.reveal()) == (f"user{row.number}", f"Hidden-{row.number}")
            assert row.pool == f"r_{pools[row.number - 1]}"


def test_lanes_in_step_share_every_reading(tmp_path: Path) -> None:
    with source(tmp_path, "ABCD" * 20) as (made, page_reader, _):
        for _ in range(20):
            for lane_source in made.lane_sources:
                assert len(take_rows(lane_source, 1)) == 1
        assert sorted(page_reader.read_pages) == list(range(16))


def test_no_lane_waits_for_rows_of_a_full_lane(tmp_path: Path) -> None:
    with source(tmp_path, "A" * 500 + "B" * 10) as (made, page_reader, _):
        assert [row.number for row in take_rows(made.lane_sources[1], 10)] == list(range(501, 506))
        assert len(page_reader.read_pages) < 5


def test_a_search_does_not_delay_lanes_that_need_none(tmp_path: Path) -> None:
    with source(tmp_path, "A" * 500 + "B" * 10, searched=True) as (made, page_reader, _):
        first, last = made.lane_sources[:2]
        last.take(1)
        got = 0
        while page_reader._seen < 80:
            got += len(take_rows(first, 3))
            last.take(0)
        assert got > 30
        assert take_rows(last, 1)[0].number == 501


def test_search_finishes_if_it_would_be_lost(tmp_path: Path) -> None:
    with source(tmp_path, "A" * 500 + "B" * 10, searched=True, remembers=False) as (made, page_reader, _):
        first, last = made.lane_sources[:2]
        got = 0
        found: list[Row] = []
        while not found:
            got += len(first.take(3))
            found = list(last.take(1))
            assert found or page_reader.read_one.wait(PATIENCE)
            page_reader.read_one.clear()
        assert found[0].number == 501
        assert got < 500


def test_buffers_are_bounded(tmp_path: Path) -> None:
    with source(tmp_path, "ABCD" * 100) as (made, _, _):
        for _ in range(90):
            take_rows(made.lane_sources[0], 1)
            assert all(len(lane_source._buffer) <= 8 for lane_source in made.lane_sources)


def test_many_lanes_share_the_memory_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_source, "MOST_BUFFER", 4000)
    monkeypatch.setattr(input_source, "LEAST_BUFFER", 500)
    journal = Journal.create(tmp_path / "journal.sqlite", POOLS, run_state())
    page_reader = FakePageReader([], remembers=True, searched=False)
    for lanes, most in ((1, 4000), (20, 4000), (40, 2000), (400, 500)):
        made = InputSource(page_reader, journal.read, [[f"r_{number}"] for number in range(lanes)], lambda: None)
        assert {lane_source._most for lane_source in made.lane_sources} == {most}
    journal.close()


def test_dropped_lane_is_read_for_no_more(tmp_path: Path) -> None:
    with source(tmp_path, "A" * 50 + "B" * 50) as (made, page_reader, _):
        take_rows(made.lane_sources[0], 1)
        made.lane_sources[0].discard_rest()
        assert made.lane_sources[0].ended
        before = len(page_reader.read_pages)
        while take_rows(made.lane_sources[1], 5):
            pass
        assert all(page >= 10 for page in page_reader.read_pages[before + 1 :])


def test_file_is_checked_before_use_and_at_the_end(tmp_path: Path) -> None:
    with source(tmp_path, "AAA") as (made, _, asked):
        lane_source = made.lane_sources[0]
        lane_source.take(1)
        assert asked == []
        take_rows(lane_source, 1)
        assert len(asked) >= 2
        before = len(asked)
        lane_source.take(2)
        lane_source.take(1)
        assert len(asked) > before
        assert lane_source.ended


def other_user(page_reader: FakePageReader) -> None:
    page_reader._table = [("somebody", "else")] * 3


def unreadable(page_reader: FakePageReader) -> None:
    page_reader.failing = InputError("The input cannot be read.")


@pytest.mark.parametrize("change", [other_user, unreadable])
def test_input_that_differs_from_the_plan_stops_it(tmp_path: Path, change: Callable[[FakePageReader], None]) -> None:
    with source(tmp_path, "AAA") as (made, page_reader, _):
        change(page_reader)
        with pytest.raises(GuardTripped, match="was changed while it was read"):
            take_rows(made.lane_sources[0], 1)


def test_bug_in_the_reader_is_raised(tmp_path: Path) -> None:
    with source(tmp_path, "AAA") as (made, page_reader, _):
        page_reader.failing = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            take_rows(made.lane_sources[0], 1)


def test_without_a_thread_nothing_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    with source(tmp_path, "AAA") as (made, _, _):
        monkeypatch.setattr("threading.Thread.start", refuse)
        with pytest.raises(Stopped, match="no thread"):
            made.lane_sources[0].take(1)
