"""The pages of an input, in any order, have the same rows as the chunks."""

import csv
import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import InputError
from bulkreset.input.batch import RowBatch
from bulkreset.input.input_set import InputSet
from bulkreset.input.page_reader import PageReader
from bulkreset.job import InputConfig
from tests.input.inputs import csv_file, open_csv, parquet_file, read

AWKWARD = st.text(st.sampled_from('",\n\r; ab\té\ufeff🚀x'), max_size=8)
LINES = st.one_of(
    st.tuples(AWKWARD, AWKWARD).map(lambda cells: ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)),
    st.sampled_from(["ann,One-1", "", "only one", "a,b,c", "\ufeffx,y", "zoë,Größe 1"]),
)
OBJECTS = st.one_of(
    st.tuples(AWKWARD, AWKWARD).map(lambda cells: json.dumps({"username": cells[0], "password": cells[1]})),
    st.sampled_from(["", "{}", "[]", "{", '{"password": "x"}', '\ufeff{"username": "ann"}', '{"username": 1}']),
)
BAD_BYTES = b"b\xffd,bytes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of this module."""
    return tmp_path_factory.mktemp("pieces")


def pages_in_order(rows: InputSet, numbers: list[int]) -> Iterator[tuple[int, RowBatch]]:
    """Return the pages in this order, asking for each until it comes."""
    with closing(PageReader(rows)) as pieces:
        for number in numbers:
            known, times = pieces.knows(number), 1
            while (piece := pieces.read(number)) is None:
                times += 1
                assert times < 1000
            assert times == 1 or not known
            yield number, piece


def assert_the_same(path: Path, numbers: list[int], *, planned: bool, encoding: str = "utf-8") -> None:
    """Check that the pages have the same rows as the chunks."""
    expected = [(seen.username, seen.password) for seen in read(path, encoding=encoding)]
    rows = InputSet.open(InputConfig(path=path, encoding=encoding))
    if planned:
        list(rows.batches())
    last = (len(expected) + 2) // 3
    for number, piece in pages_in_order(rows, [number % last for number in numbers if last]):
        assert piece.first == number * 3 + 1
        assert piece.last == min(number * 3 + 3, len(expected))
        assert (
            list(zip(piece.cells("username"), piece.cells("password"), strict=True))
            == expected[number * 3 : number * 3 + 3]
        )


@pytest.mark.usefixtures("small")
@given(
    lines=st.lists(LINES, max_size=40),
    end=st.sampled_from(["\n", "\r\n"]),
    numbers=st.lists(st.integers(0, 13), max_size=12),
    name=st.sampled_from(["users.csv", "users.csv.gz", "users.csv.zst"]),
    mark=st.booleans(),
    bad=st.booleans(),
    planned=st.booleans(),
)
def test_csv_in_any_order(
    folder: Path, lines: list[str], end: str, numbers: list[int], name: str, *, mark: bool, bad: bool, planned: bool
) -> None:
    content = end.join(["username,password", *lines, ""]).encode("utf-8-sig" if mark else "utf-8")
    path = csv_file(folder, content + (BAD_BYTES if bad else b""), name)
    assert_the_same(path, numbers, planned=planned)


@pytest.mark.usefixtures("small")
@given(
    lines=st.lists(OBJECTS, max_size=40),
    numbers=st.lists(st.integers(0, 13), max_size=12),
    name=st.sampled_from(["users.jsonl", "users.jsonl.gz", "users.jsonl.zst"]),
    mark=st.booleans(),
    planned=st.booleans(),
)
def test_json_lines_in_any_order(
    folder: Path, lines: list[str], numbers: list[int], name: str, *, mark: bool, planned: bool
) -> None:
    content = "\n".join(['{"username": "zoë", "password": "Größe"}', *lines]).encode("utf-8-sig" if mark else "utf-8")
    assert_the_same(csv_file(folder, content, name), numbers, planned=planned)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "latin-1", "cp1252", "ascii", "utf-16", "utf-16-le", "utf-32", "utf-7", "shift_jis", "iso2022_jp"],
)
def test_csv_of_any_encoding_in_any_order(tmp_path: Path, encoding: str, *, planned: bool) -> None:
    some = {"latin-1": "é", "cp1252": "é€", "ascii": "e"}.get(encoding, "ア語")
    some = some if encoding not in {"utf-7", "utf-8", "utf-16", "utf-16-le", "utf-32"} else "é🚀ア"
    lines = [f"user{number}{some},{some}Pass-{number}" for number in range(40)]
    path = csv_file(tmp_path, "\n".join(["username,password", *lines]).encode(encoding))
    numbers = random.Random(7).choices(range(14), k=30)
    assert_the_same(path, numbers, planned=planned, encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "may"),
    [
        *(("utf-8", True), ("UTF8", True), ("latin-1", True), ("cp1252", True), ("iso-8859-15", True)),
        *(("utf-16", False), ("utf-7", False), ("shift_jis", False), ("iso2022_jp", False), ("gb18030", False)),
    ],
)
def test_only_an_encoding_without_state_is_entered_in_the_middle(tmp_path: Path, encoding: str, *, may: bool) -> None:
    path = csv_file(tmp_path, "username,password\n")
    assert open_csv(InputConfig(path=path, encoding=encoding)).can_be_entered is may


@pytest.mark.usefixtures("small")
@given(
    count=st.integers(1, 40),
    group=st.integers(1, 50),
    numbers=st.lists(st.integers(0, 13), max_size=12),
    gap=st.booleans(),
)
def test_parquet_in_any_order(folder: Path, count: int, group: int, numbers: list[int], *, gap: bool) -> None:
    names = [None if gap and number % 5 == 0 else f"user{number}" for number in range(count)]
    columns = {"password": [f"Pass-{number}" for number in range(count)], "username": pa.array(names, pa.string())}
    assert_the_same(parquet_file(folder, columns, row_group_size=group), numbers, planned=False)


@pytest.mark.parametrize("name", ["users.csv", "users.csv.gz", "users.csv.zst", "users.parquet"])
def test_a_piece_behind_the_end_is_an_error(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        path = parquet_file(tmp_path, {"username": ["a"], "password": ["b"]})
    else:
        path = csv_file(tmp_path, "username,password\na,b\n", name)
    with (
        pytest.raises(InputError, match="ends before row 2001, so it has changed"),
        closing(PageReader(InputSet.open(InputConfig(path=path)))) as pieces,
    ):
        pieces.read(1)


def test_real_pieces_of_a_planned_file_are_all_known(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("username", "password"))
        writer.writerows((f"üser{row}", f'Two "lines"\n{row}') for row in range(50_000))
    rows = InputSet.open(InputConfig(path=path))
    with closing(PageReader(rows)) as fresh:
        assert not fresh.knows(20)
        assert fresh.read(20) is None
    list(rows.batches())
    with closing(PageReader(rows)) as pieces:
        for number in (24, 0, 13, 12, 14):
            assert pieces.knows(number)
            piece = pieces.read(number)
            assert piece
            assert piece.cells("username")[7] == f"üser{number * 2000 + 7}"
            assert piece.cells("password")[-1] == f'Two "lines"\n{number * 2000 + 1999}'
            assert "lines" not in repr(piece)
