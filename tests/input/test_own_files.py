"""Reports that are used as an input: names are read as they were before the report's spreadsheet protection."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.errors import InputError
from bulkreset.input.own_files import is_report
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig
from bulkreset.models import REPORT_COLUMNS
from bulkreset.report import user_state
from bulkreset.text import parse_cell, spreadsheet_safe

NAMES = ["+491512345678", "'+49", "''=x", "ann", "o'brien", "'ann", "王🚀", "-1"]
HASH = "u-3f786850e387550fdab836ed7e6dc881"


def write(path: Path, header: tuple[str, ...], names: list[str]) -> Path:
    """Write a CSV file with these usernames only."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        writer.writerows({"username": name} for name in names)
    return path


def names_in(path: Path, *, with_passwords: bool = False) -> list[str]:
    """Return the usernames that a run reads."""
    rows = open_rows(InputConfig(path=path), with_passwords=with_passwords)
    return [name for batch in rows.batches() for name in batch.cells("username")]


@pytest.mark.parametrize("header", [REPORT_COLUMNS, user_state.COLUMNS, (*REPORT_COLUMNS, "ticket")])
def test_report_is_read_with_its_original_names(tmp_path: Path, header: tuple[str, ...]) -> None:
    assert is_report(header)
    path = write(tmp_path / "x.csv", header, [spreadsheet_safe(name) for name in NAMES])
    assert names_in(path) == NAMES


def test_report_from_excel_has_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", REPORT_COLUMNS, ["'+49", "ann"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert names_in(path) == ["+49", "ann"]


def test_other_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ("row", "username", "status"), ["'+49", HASH])
    assert names_in(path) == ["'+49", HASH]


@pytest.mark.parametrize("header", [REPORT_COLUMNS, user_state.COLUMNS])
def test_redacted_report_is_refused(tmp_path: Path, header: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="hashes instead of usernames"):
        names_in(write(tmp_path / "x.csv", header, ["ann", HASH]))


def test_parquet_report_has_names_as_they_are_and_no_hashes(tmp_path: Path) -> None:
    columns = {name: pa.array(["", ""], pa.string()) for name in REPORT_COLUMNS}
    pq.write_table(pa.table(columns | {"username": ["'+49", "+49"]}), tmp_path / "x.parquet")
    assert names_in(tmp_path / "x.parquet") == ["'+49", "+49"]
    pq.write_table(pa.table(columns | {"username": ["ann", HASH]}), tmp_path / "y.parquet")
    with pytest.raises(InputError, match="hashes instead of usernames"):
        names_in(tmp_path / "y.parquet")


def test_json_report_has_names_as_they_are_and_no_hashes(tmp_path: Path) -> None:
    row = dict.fromkeys(REPORT_COLUMNS, "") | {"row": 1, "permanent": True}
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row | {"username": name}) + "\n" for name in ("'+49", "+49")), encoding="utf-8")
    (batch,) = open_rows(InputConfig(path=path), with_passwords=False).batches()
    assert (batch.cells("username"), batch.cells("permanent")) == (["'+49", "+49"], ["", ""])
    path.write_text(json.dumps(row | {"username": HASH}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="hashes instead of usernames"):
        names_in(path)


@pytest.mark.parametrize("header", [REPORT_COLUMNS, user_state.COLUMNS])
def test_report_has_no_passwords_to_send(tmp_path: Path, header: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="is a report of bulkreset, which has no passwords"):
        names_in(write(tmp_path / "x.csv", header, ["ann"]), with_passwords=True)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"))))
def test_every_name_that_cognito_may_have_comes_back(name: str) -> None:
    symbols = {*map(chr, range(0x2400, 0x2422))}
    if not symbols & set(name) and "[U+00" not in name:
        assert parse_cell(spreadsheet_safe(name)) == name


@given(st.text(st.characters(codec="utf-8", max_codepoint=0x9F)))
def test_control_characters_come_back(name: str) -> None:
    assert (
        parse_cell(spreadsheet_safe(name)).replace("\t", "").replace("\n", "")
        == name.replace("\t", "").replace("\n", "")
        or "[U+00" in name
    )
