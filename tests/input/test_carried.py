"""Columns that are read beside ours: all that have a name, or those that are asked for, in any format."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.errors import InputError
from bulkreset.input.batch import ALL_COLUMNS, CARRIED, EVERY_FIELD, RowBatch, carrying
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig

CELLS = {"ticket": ["7", ""], "username": ["ann", "bob"], "password": ["One-1", "Two-2"], "until": ["2026-01-31", ""]}


def written(folder: Path, form: str) -> Path:
    """An input with two rows. Parquet has a number and a date in it."""
    path = folder / f"in.{form}"
    if form == "csv":
        lines = [",".join(CELLS), *(",".join(row) for row in zip(*CELLS.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        until = pa.array(["2026-01-31", None]).cast(pa.timestamp("s")).cast(pa.date32())
        pq.write_table(pa.table({**CELLS, "ticket": pa.array([7, None], pa.int64()), "until": until}), path)
    return path


def read(path: Path, *names: str, first: int = 1) -> RowBatch:
    """The only batch of an input, with all of its fields."""
    rows = open_rows(carrying(InputConfig(path=path), names or ALL_COLUMNS))
    (batch,) = rows.batches(first, fields=EVERY_FIELD)
    return batch


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_all_columns_are_read_in_their_order(tmp_path: Path, form: str) -> None:
    batch = read(written(tmp_path, form))
    carried = [field for field in batch.columns if field.startswith(CARRIED)]
    assert [field.removeprefix(CARRIED) for field in carried] == [*CELLS]
    assert [batch.cells(field) for field in carried] == [*CELLS.values()]
    assert (batch.cells("username"), batch.cells("password")) == (CELLS["username"], CELLS["password"])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_asked_columns_are_read(tmp_path: Path, form: str) -> None:
    batch = read(written(tmp_path, form), "until")
    assert {*batch.columns} == {"username", "password", "+until"}
    assert batch.cells("+until") == CELLS["until"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_they_are_not_read_where_fields_are_named(tmp_path: Path, form: str) -> None:
    rows = open_rows(carrying(InputConfig(path=written(tmp_path, form)), ALL_COLUMNS))
    (batch,) = rows.batches()
    assert {*batch.columns} == {"username", "password"}


def test_column_that_is_missing_or_twice_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("username,password,x,x\nann,One-1,,\n", encoding="utf-8")
    for names, said in ((("gone",), "has no column 'gone'"), ((), "has the column 'x' 2 times")):
        with pytest.raises(InputError, match=said):
            read(path, *names)


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("username,password,,\nann,One-1,x,y\n", encoding="utf-8")
    assert {*read(path).columns} == {"username", "password", "+username", "+password"}


def test_parquet_column_that_is_no_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({**CELLS, "tags": [["a"], []]}), tmp_path / "in.parquet")
    with pytest.raises(InputError, match="holds list<"):
        read(tmp_path / "in.parquet")
