"""Files of other programs: read correctly, rows rejected, or refused with the true reason."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bulkreset.errors import InputError
from tests.input.inputs import read

FILES = Path(__file__).parent / "files"
ROWS = [("ann", "Größe-1,x"), ("007", 'quo"te-2'), ("zoë", "three 3"), ("王小明", "a;b|c\t4")]
IDS = [(str(UUID(int=number * 7**40)), secret) for number, (_, secret) in enumerate(ROWS)]

READ = (
    *("agate.csv", "agate.jsonl"),
    *("duckdb-brotli.parquet", "duckdb-lz4.parquet", "duckdb-quoted.csv", "duckdb-v2.parquet", "duckdb.csv"),
    *("duckdb.csv.gz", "duckdb.csv.zst", "duckdb.jsonl", "duckdb.ndjson.zst", "duckdb.parquet"),
    *("fastparquet-gzip.parquet", "fastparquet.parquet", "gzip.csv.gz"),
    *("pandas-bom.csv", "pandas-category.parquet", "pandas-cr.csv", "pandas-crlf.csv", "pandas-index.csv"),
    *("pandas-indexed.parquet", "pandas-quoted.csv", "pandas-unicode.jsonl", "pandas.csv", "pandas.csv.gz"),
    *("pandas.jsonl", "pandas.jsonl.gz", "pandas.parquet", "perl-cr.csv", "petl.csv", "petl.jsonl"),
    *("polars-bom.csv", "polars-bool.parquet", "polars-categorical.parquet", "polars-crlf.csv", "polars-quoted.csv"),
    *("polars-snappy.pq", "polars.csv", "polars.ndjson", "polars.parquet"),
    *("python-unix.csv", "python.csv", "python.jsonl", "tablib.csv", "zstd-long.csv.zst", "zstd.csv.zst"),
)
# The keys of [input] that each file needs, and the words of the refusal without them.
READ_WITH: dict[str, tuple[dict[str, Any], str]] = {
    "duckdb-blob.parquet": ({"binary": "utf8"}, 'binary = "utf8"'),
    "duckdb-escaped.csv": ({"escape": "\\"}, "an unclosed quote on line 3"),
    "fastparquet-bytes.parquet": ({"binary": "utf8"}, 'binary = "utf8"'),
    "iconv-utf16be.csv": ({"encoding": "utf-16-be"}, 'encoding = "utf-16-be"'),
    "iconv-utf32.csv": ({"encoding": "utf-32"}, 'encoding = "utf-32"'),
    "pandas-semicolon.csv": ({"delimiter": ";"}, 'delimiter = ";"'),
    "pandas-tab.csv": ({"delimiter": "\t"}, 'delimiter = "\\t"'),
    "pandas-utf16.csv": ({"encoding": "utf-16"}, 'encoding = "utf-16"'),
    "petl-tab.csv": ({"delimiter": "\t"}, 'delimiter = "\\t"'),
    "polars-binary.parquet": ({"binary": "utf8"}, 'binary = "utf8"'),
    "python-tab.csv": ({"delimiter": "\t"}, 'delimiter = "\\t"'),
    "tablib-tsv.csv": ({"delimiter": "\t"}, 'delimiter = "\\t"'),
}
REFUSED = {
    "duckdb-array.jsonl": "is a JSON array",
    "duckdb-uuid.parquet": 'binary = "uuid"',
    "fastavro.csv": "is Avro",
    "openpyxl.csv": "is a spreadsheet",
    "pandas-array.jsonl": "is a JSON array",
    "pandas-bz2.csv": "is bzip2",
    "pandas-excel.csv": "is a spreadsheet",
    "pandas-html.csv": "is a web page",
    "pandas-noheader.csv": "has no column 'username' (2 columns in its first line)",
    "pandas-numbers.parquet": "holds int64, not text",
    "pandas-xml.csv": "is XML",
    "pandas-xz.csv": "is xz",
    "pandas-zip.csv": "is a spreadsheet or a ZIP archive",
    "polars-array.jsonl": "is a JSON array",
    "polars-ipc.csv": "is an Arrow file",
    "python-indented.jsonl": "is a JSON array",
    "python-sequence.jsonl": "has no JSON object in its first lines",
    "sqlite.csv": "is a database",
}
# The expected message for each row; "" for a row that is read.
TOLD = {
    "cat-joined.csv": [*[""] * 4, "line 6: the header again", *[""] * 4],
    "cat-joined.csv.gz": [*[""] * 4, "line 6: the header again", *[""] * 4],
    "pandas-columns.jsonl": ["line 1: 'username' holds an object"],
    "pandas-escaped.csv": ["", "line 3: a quote after a backslash", "", ""],
    "pandas-numbers.jsonl": [f"line {line}: 'username' holds a number" for line in (1, 2, 3, 4)],
}


def cells(name: str, **spec: Any) -> list[tuple[str, str]]:  # noqa: ANN401  (the keys of [input])
    rows = read(FILES / name, **spec)
    assert not [row for row in rows if row.malformed]
    return [(row.username, row.password) for row in rows]


@pytest.mark.parametrize("name", READ)
def test_file_that_is_read(name: str) -> None:
    assert cells(name) == ROWS


@pytest.mark.parametrize("name", READ_WITH)
def test_file_that_is_read_with_a_key_that_the_refusal_names(name: str) -> None:
    keys, expected = READ_WITH[name]
    with pytest.raises(InputError) as caught:
        read(FILES / name)
    assert expected in str(caught.value)
    assert cells(name, **keys) == ROWS


def test_files_of_uuids_are_read() -> None:
    assert cells("duckdb-uuid.jsonl") == IDS
    assert cells("duckdb-uuid.parquet", binary="uuid") == IDS


@pytest.mark.parametrize("name", REFUSED)
def test_file_that_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read(FILES / name)
    assert REFUSED[name] in str(caught.value)
    assert not [word for row in ROWS for word in row if word in str(caught.value)]


@pytest.mark.parametrize("name", TOLD)
def test_rows_in_the_report(name: str) -> None:
    rows = read(FILES / name)
    assert len(rows) == len(TOLD[name])
    for row, expected in zip(rows, TOLD[name], strict=True):
        assert row.malformed.startswith(expected)
        assert bool(row.malformed) == bool(expected)


def test_every_file_is_in_a_table() -> None:
    written = {path.name for path in FILES.iterdir()} - {"README.md", "make.py", "__pycache__"}
    assert written == {*READ, *READ_WITH, *REFUSED, *TOLD, "duckdb-uuid.jsonl"}
    assert len(written) >= 60
