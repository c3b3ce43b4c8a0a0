"""Additional columns: all named columns, or the requested ones, in any format."""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.errors import InputError
from bulkreset.input.batch import ALL_COLUMNS, CARRIED, FIELDS, RowBatch, carrying
from bulkreset.input.jsonl_reader import LOOKED_AT
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig

CELLS = {"ticket": ["7", ""], "username": ["ann", "bob"], "password": ["One-1", "Two-2"], "until": ["2026-01-31", ""]}


def written(folder: Path, form: str) -> Path:
    """Write an input with two rows. Parquet has a number and a date in it."""
    path = folder / f"in.{form}"
    if form == "csv":
        lines = [",".join(CELLS), *(",".join(row) for row in zip(*CELLS.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif form == "jsonl":
        rows = [dict(zip(CELLS, row, strict=True)) for row in zip(*CELLS.values(), strict=True)]
        rows[0]["ticket"], rows[1]["until"] = 7, None
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        until = pa.array(["2026-01-31", None]).cast(pa.timestamp("s")).cast(pa.date32())
        pq.write_table(pa.table({**CELLS, "ticket": pa.array([7, None], pa.int64()), "until": until}), path)
    return path


def read(path: Path, *names: str, first: int = 1) -> RowBatch:
    """Return the only batch of an input, with all of its fields."""
    rows = open_rows(carrying(InputConfig(path=path), names or ALL_COLUMNS))
    (batch,) = rows.batches(first)
    return batch


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_all_columns_are_read_in_their_order(tmp_path: Path, form: str) -> None:
    batch = read(written(tmp_path, form))
    carried = [field for field in batch.columns if field.startswith(CARRIED)]
    assert [field.removeprefix(CARRIED) for field in carried] == [*CELLS]
    assert [batch.cells(field) for field in carried] == [*CELLS.values()]
    assert (batch.cells("username"), batch.cells("password")) == (CELLS["username"], CELLS["password"])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_requested_columns_are_read(tmp_path: Path, form: str) -> None:
    batch = read(written(tmp_path, form), "until")
    assert {*batch.columns} - {*FIELDS} == {"+until"}
    assert batch.cells("+until") == CELLS["until"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_they_are_not_read_if_fields_are_named(tmp_path: Path, form: str) -> None:
    rows = open_rows(carrying(InputConfig(path=written(tmp_path, form)), ALL_COLUMNS))
    (batch,) = rows.batches(fields=FIELDS)
    assert {*batch.columns} <= {*FIELDS}


def test_column_that_is_missing_or_twice_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("username,password,x,x\nann,One-1,,\n", encoding="utf-8")
    for names, said in ((("gone",), "has no column 'gone'"), ((), "has the column 'x' 2 times")):
        with pytest.raises(InputError, match=said):
            read(path, *names)


def test_columns_without_a_name_are_omitted(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("username,password,,\nann,One-1,x,y\n", encoding="utf-8")
    assert {*read(path).columns} == {"username", "password", "+username", "+password"}


def test_parquet_column_that_is_not_text_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({**CELLS, "tags": [["a"], []]}), tmp_path / "in.parquet")
    with pytest.raises(InputError, match="holds list<"):
        read(tmp_path / "in.parquet")


def jsonl(folder: Path, *rows: Mapping[str, object]) -> Path:
    """Write a JSON Lines input with these rows."""
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_json_values_are_carried_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(
        '{"username":"ann","password":"One-1","n":1.50e3,"b":true,"z":null}\n{"username":"bob","password":"T"}\n'
    )
    batch = read(path)
    assert [batch.cells(f"+{name}") for name in "nbz"] == [["1.50e3", ""], ["true", ""], ["", ""]]


def test_json_array_is_not_carried(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"username": "ann", "password": "One-1", "tags": ["a"]})
    with pytest.raises(InputError, match="holds an array on line 1"):
        read(path, "tags")
    assert read(path, "username").malformed == {}


def test_json_field_of_a_late_line_is_among_all_columns(tmp_path: Path) -> None:
    row: dict[str, object] = {"username": "ann", "password": "One-1"}
    path = jsonl(tmp_path, *[row] * LOOKED_AT, {**row, "late": "x"})
    assert read(path).cells("+late") == [""] * LOOKED_AT + ["x"]
    with pytest.raises(InputError, match="has no column 'late'"):
        read(path, "late")


def test_names_of_json_fields_cannot_fill_the_memory(tmp_path: Path) -> None:
    names = [f"{number:08}" * 20_000 for number in range(8)]
    path = jsonl(tmp_path, *({"username": "ann", "password": "One-1", name: ""} for name in names))
    with pytest.raises(InputError, match="characters together"):
        read(path)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_columns_of_directories_are_among_all_columns(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "user_pool_id=eu-central-1_Abc"
    folder.mkdir()
    batch = read(written(folder, form))
    assert batch.cells("+user_pool_id") == ["eu-central-1_Abc"] * 2


def test_binary_column_is_carried_if_the_job_gives_its_type(tmp_path: Path) -> None:
    pq.write_table(pa.table({**CELLS, "raw": pa.array([b"a", b"b"])}), tmp_path / "in.parquet")
    spec = InputConfig(path=tmp_path / "in.parquet")
    with pytest.raises(InputError, match="holds binary"):
        read(tmp_path / "in.parquet", "raw")
    (batch,) = open_rows(carrying(spec.model_copy(update={"binary": "utf8"}), ("raw",))).batches()
    assert batch.cells("+raw") == ["a", "b"]
