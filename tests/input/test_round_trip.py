"""Properties of the reader: exact round trips, and a truncated file never changes a row silently."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkreset.errors import InputError
from bulkreset.input import batch as batch_module
from bulkreset.input import text_reader
from bulkreset.input.csv_reader import CsvRecords
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig
from tests.input.inputs import ReadRow, pairs, read

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
AWKWARD = st.text(st.sampled_from('",\n\r; ab\té\x00\ufeff🚀'), max_size=8)
TABLES = st.lists(st.tuples(TEXT | AWKWARD, TEXT | AWKWARD), max_size=12)
DISTINCT = st.lists(st.tuples(AWKWARD, AWKWARD), min_size=1, max_size=4)
# Pieces of lines: faults, and what is nearly one.
PARTS = (",", '"', '""', "\\", "\n", "\r", "\ufeff", "\udcff", "username", "password", "é", "x" * 1100, "a", "")
CHUNK_SIZES = st.sampled_from([1, 2, 3, 5, 20_000])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of this module."""
    return tmp_path_factory.mktemp("inputs")


@given(table=TABLES, quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), size=CHUNK_SIZES, mark=st.booleans())
def test_csv_comes_back_as_written(
    folder: Path, table: list[tuple[str, str]], quoting: int, size: int, *, mark: bool
) -> None:
    path = folder / "users.csv"
    with path.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as file:
        csv.writer(file, quoting=quoting).writerows([("username", "password"), *table])  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_module, "BATCH_ROWS", 2 * size)
        patch.setattr(text_reader, "PAGE_ROWS", size)
        assert read(path) == _expected(table, quoting)


LINES = st.lists(st.sampled_from(["a,Pw-1\n", "b,Pw-2\r\n", *PARTS]), max_size=12).map("".join)


@given(content=LINES, header=st.sampled_from(["username,password\n", "username,password,x\n", "password,username\r\n"]))
def test_lines_that_are_read_at_once_are_read_as_one_by_one(folder: Path, content: str, header: str) -> None:
    path = folder / "users.csv"
    path.write_bytes((header + content).encode(errors="surrogateescape"))

    def found() -> tuple[object, object]:
        rows = open_rows(InputConfig(path=path))
        try:
            cells = [(batch.columns, batch.malformed) for batch in rows.batches()]
        except InputError as error:
            return str(error), []
        return cells, rows.remark

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_reader, "PIECE_ROWS", 2)
        at_once = found()
        patch.setattr(CsvRecords, "plain_columns", lambda _self, _rows: None)
        assert found() == at_once


@given(table=TABLES, size=CHUNK_SIZES, mark=st.booleans(), ascii_only=st.booleans())
def test_json_lines_come_back_as_written(
    folder: Path, table: list[tuple[str, str]], size: int, *, mark: bool, ascii_only: bool
) -> None:
    path = folder / "users.jsonl"
    rows = [{"username": "first", "password": "One-1"}, *({"username": a, "password": b} for a, b in table)]
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8-sig" if mark else "utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_module, "BATCH_ROWS", 2 * size)
        patch.setattr(text_reader, "PAGE_ROWS", size)
        assert pairs(read(path)) == [("first", "One-1"), *table]


@given(table=TABLES, size=CHUNK_SIZES, group=st.integers(1, 5))
def test_parquet_comes_back_as_written(folder: Path, table: list[tuple[str, str]], size: int, group: int) -> None:
    path = folder / "users.parquet"
    columns = {
        "username": pa.array([name for name, _ in table], pa.string()),
        "password": pa.array([secret for _, secret in table], pa.string()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_module, "BATCH_ROWS", size)
        assert pairs(read(path)) == table


@settings(max_examples=10)
@given(table=DISTINCT, quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
@example(table=[("ann", "One-1"), ("bob", "Two\n2"), ("cat", "Größe,🚀")], quoting=csv.QUOTE_MINIMAL)
def test_csv_cut_at_every_byte_keeps_every_whole_row(folder: Path, table: list[tuple[str, str]], quoting: int) -> None:
    records = [_record(row, quoting) for row in [("username", "password"), *table]]
    whole = b"".join(records)
    ends = [sum(map(len, records[: count + 1])) - len(b"\r\n") for count in range(len(records))]
    path = folder / "cut.csv"
    for cut in range(ends[0], len(whole)):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends[1:])
        try:
            rows = read(path)
        except InputError:
            # Only a cut inside a record can make the end of a file unreadable.
            assert not any(end <= cut <= end + 2 for end in ends)
            continue
        expected = _expected(table[:kept], quoting)
        assert rows[: len(expected)] == expected
        assert len(rows) <= len(expected) + 1


def _expected(table: list[tuple[str, str]], quoting: int) -> list[ReadRow]:
    """Return the rows of a written table.

    A record with only empty fields is blank, quoted or not. An unquoted byte order mark at the start of a line is
    reported: files with a mark were joined.
    """
    rows: list[ReadRow] = []
    line = 2
    for row in table:
        record = _record(row, quoting).decode()
        if record.startswith("\ufeff"):
            message = f"line {line}: a byte order mark begins the line: was this file joined from several?"
            rows.append(ReadRow(len(rows) + 1, "", "", malformed=message))
        elif any(row):
            rows.append(ReadRow(len(rows) + 1, *row))
        line += record.count("\n")
    return rows


def _record(row: tuple[str, str], quoting: int) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting).writerow(row)  # type: ignore[arg-type]
    return text.getvalue().encode()
