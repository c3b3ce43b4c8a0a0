"""Files of database tools, spreadsheets and cloud exports, byte by byte: read, or refused with the key to set."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from bulkreset.errors import InputError
from tests.input.inputs import read

ROWS = [("ann", "Größe-1,x"), ("007", 'quo"te-2'), ("zoë", "three 3"), ("王小明", "a;b|c\t4")]
PLAIN = [("ann", "Quiet-1"), ("bob", "Quiet-2")]


def cell(text: str, by: str = ",", *, always: bool = False) -> str:
    needs = always or any(it in text for it in (by, '"', "\n"))
    return '"' + text.replace('"', '""') + '"' if needs else text


def table(
    by: str = ",", end: str = "\n", *, always: bool = False, header: tuple[str, str] = ("username", "password")
) -> str:
    """Return ROWS as written by a program that doubles quotes."""
    return "".join(by.join(cell(it, by, always=always) for it in row) + end for row in (header, *ROWS))


def backslashed(by: str, *, quoted: bool) -> str:
    """Return ROWS as written by a program that escapes with backslashes."""
    special = ("\\", '"') if quoted else ("\\", by)
    lines = []
    for row in (("username", "password"), *ROWS):
        cells = []
        for text in row:
            for it in special:
                text = text.replace(it, f"\\{it}")  # noqa: PLW2901
            cells.append(f'"{text}"' if quoted else text)
        lines.append(by.join(cells) + "\n")
    return "".join(lines)


OBJECTS = [{"username": name, "password": secret} for name, secret in ROWS]
LINES = "".join(json.dumps(it, ensure_ascii=False, separators=(",", ":")) + "\n" for it in OBJECTS)
MARK = b"\xef\xbb\xbf"


class File(NamedTuple):
    """A program's file: `expected` is the refusal without the keys of `spec`; with them, `rows` are read."""

    name: str
    content: str | bytes
    spec: Mapping[str, Any] = MappingProxyType({})
    expected: str = ""
    rows: list[tuple[str, str]] = ROWS


QUOTED = table(always=True)
PROGRAMS = {
    "Excel, CSV UTF-8": File("u.csv", MARK + table(end="\r\n").encode()),
    "Excel, CSV UTF-8, list separator ;": File("u.csv", MARK + table(";", "\r\n").encode(), {"delimiter": ";"}, "';'"),
    "Excel, Unicode text": File(
        "u.txt", table("\t", "\r\n").encode("utf-16"), {"delimiter": "\t", "encoding": "utf-16"}, "looks like UTF-16"
    ),
    "Excel, CSV (Windows)": File(
        "u.csv",
        "username,password\r\nann,Größe-1\r\n".encode("cp1252"),
        {"encoding": "cp1252"},
        "",
        [("ann", "Größe-1")],
    ),
    "Excel, CSV (Macintosh)": File("u.csv", "username,password\rann,Quiet-1\rbob,Quiet-2\r", rows=PLAIN),
    "Excel, text (tab)": File("u.txt", table("\t", "\r\n"), {"delimiter": "\t"}, "'\\t'"),
    "LibreOffice": File("u.csv", table()),
    "LibreOffice, quote all": File("u.csv", QUOTED),
    "LibreOffice, UTF-16": File("u.csv", table().encode("utf-16"), {"encoding": "utf-16"}, "looks like UTF-16"),
    "Google Sheets": File("Users - Sheet1.csv", table(end="\r\n").rstrip("\r\n")),
    "Google Sheets, TSV": File(
        "Users - Sheet1.tsv", "username\tpassword\r\nann\tQuiet-1\r\nbob\tQuiet-2", {"delimiter": "\t"}, "'\\t'", PLAIN
    ),
    "Apple Numbers": File("u.csv", table(";", "\r\n"), {"delimiter": ";"}, "';'"),
    "PowerShell 5.1, Export-Csv -NoTypeInformation": File("u.csv", table(end="\r\n", always=True)),
    "PowerShell 5.1, Export-Csv -Encoding Unicode": File(
        "u.csv", table(end="\r\n", always=True).encode("utf-16"), {"encoding": "utf-16"}, "looks like UTF-16"
    ),
    "PowerShell 7, Export-Csv": File("u.csv", table(end="\r\n", always=True)),
    "PowerShell 7, Export-Csv -UseQuotes AsNeeded": File("u.csv", table(end="\r\n")),
    "PowerShell 7, Export-Csv -Delimiter ;": File("u.csv", table(";", "\r\n", always=True), {"delimiter": ";"}, "';'"),
    "MySQL, INTO OUTFILE with quotes": File("u.csv", backslashed(",", quoted=True), {"escape": "\\"}, "backslash"),
    "MySQL Shell, export-table": File(
        "u.tsv", "username\tpassword\nann\tQuiet-1\nbob\tQuiet-2\n", {"delimiter": "\t"}, "'\\t'", PLAIN
    ),
    "MySQL Workbench": File("u.csv", table(";"), {"delimiter": ";"}, "';'"),
    "MariaDB, CSV without quotes": File("u.csv", backslashed(",", quoted=False), {"escape": "\\"}, "", ROWS),
    "PostgreSQL, COPY CSV HEADER": File("u.csv", table()),
    "PostgreSQL, COPY CSV FORCE_QUOTE *": File("u.csv", QUOTED),
    "PostgreSQL, COPY text": File(
        "u.txt", "username\tpassword\nann\tQuiet-1\nbob\tQuiet-2\n", {"delimiter": "\t"}, "'\\t'", PLAIN
    ),
    "psql --csv": File("u.csv", table()),
    "pgAdmin": File("data-1700000000000.csv", QUOTED),
    "DBeaver": File("users_202601311200.csv", table()),
    "DataGrip": File("users.csv", table()),
    "SQL Server, bcp -t ,": File("u.csv", "username,password\r\nann,Quiet-1\r\nbob,Quiet-2\r\n", rows=PLAIN),
    "SQL Server, bcp -w": File(
        "u.dat",
        "username\tpassword\r\nann\tQuiet-1\r\nbob\tQuiet-2\r\n".encode("utf-16"),
        {"delimiter": "\t", "encoding": "utf-16"},
        "looks like UTF-16",
        PLAIN,
    ),
    "SQL Server, SSMS": File("u.csv", MARK + table(end="\r\n").encode()),
    "SQL Server, Azure Data Studio": File("u.csv", table(end="\r\n")),
    "Oracle, SQL*Plus markup csv": File(
        "u.csv",
        '\n"USERNAME","PASSWORD"\n"ann","Quiet-1"\n"bob","Quiet-2"\n',
        {"columns": {"username": "USERNAME", "password": "PASSWORD"}},
        "It has 'USERNAME'",
        PLAIN,
    ),
    "Oracle, SQLcl": File(
        "u.csv",
        table(always=True, header=("USERNAME", "PASSWORD")),
        {"columns": {"username": "USERNAME", "password": "PASSWORD"}},
        "It has 'USERNAME'",
    ),
    "Db2, EXPORT OF DEL with a header": File("u.del", QUOTED),
    "SQLite, .mode csv": File("u.csv", table(end="\r\n")),
    "DuckDB, COPY": File("u.csv", table()),
    "DuckDB, COPY json": File("u.json", LINES),
    "BigQuery, CSV": File("users-000000000000.csv", table()),
    "BigQuery, CSV gzip": File("users-000000000000.csv.gz", gzip.compress(table().encode())),
    "BigQuery, JSON": File("users-000000000000.json", LINES),
    "BigQuery, JSON gzip": File("users-000000000000.json.gz", gzip.compress(LINES.encode())),
    "Snowflake, COPY INTO csv gzip": File("data_0_0_0.csv.gz", gzip.compress(table(always=True).encode())),
    "Snowflake, COPY INTO json": File("data_0_0_0.json.gz", gzip.compress(LINES.encode())),
    "Snowflake, COPY INTO zstd": File("data_0_0_0.csv.zst", pa.compress(table().encode(), codec="zstd", asbytes=True)),
    "Redshift, UNLOAD HEADER CSV": File("0000_part_00", table()),
    "Redshift, UNLOAD gzip": File("0001_part_00.gz", gzip.compress(table().encode())),
    "Redshift, UNLOAD HEADER, pipes": File(
        "0000_part_00", "username|password\nann|Quiet-1\nbob|Quiet-2\n", {"delimiter": "|"}, "'|'", PLAIN
    ),
    "Athena, result": File("8f0a-11.csv", QUOTED),
    "Athena, UNLOAD json": File("20260131_0001_x.gz", gzip.compress(LINES.encode())),
    "Spark, option header": File(
        "part-00000-8f0a-c000.csv", backslashed(",", quoted=True), {"escape": "\\"}, "backslash"
    ),
    "Spark, escape doubled": File("part-00000-8f0a-c000.csv", table()),
    "Spark, json": File("part-00000-8f0a-c000.json", LINES),
    "Databricks, sep tab": File(
        "part-00000-tid-1.csv", "username\tpassword\nann\tQuiet-1\nbob\tQuiet-2\n", {"delimiter": "\t"}, "'\\t'", PLAIN
    ),
    "Hive, control-A": File(
        "000000_0", "username\x01password\nann\x01Quiet-1\nbob\x01Quiet-2\n", {"delimiter": "\x01"}, "'\\u0001'", PLAIN
    ),
    "pandas, index=False": File("u.csv", table()),
    "pandas, orient=records lines": File("u.jsonl", "".join(json.dumps(it) + "\n" for it in OBJECTS)),
    "polars, write_ndjson": File("u.ndjson", LINES),
    "R, write.csv": File("u.csv", '"","username","password"\n"1","ann","Quiet-1"\n"2","bob","Quiet-2"\n', rows=PLAIN),
    "R, write.table with sep": File(
        "u.txt", '"username" "password"\n"ann" "Quiet-1"\n"bob" "Quiet-2"\n', {"delimiter": " "}, "' '", PLAIN
    ),
    "readr, write_excel_csv": File("u.csv", MARK + table().encode()),
    "jq -c": File("u.jsonl", LINES),
    "jq -r @csv": File("u.csv", QUOTED),
    "jq -r @tsv": File(
        "u.tsv", "username\tpassword\nann\tQuiet-1\nbob\tQuiet-2\n", {"delimiter": "\t"}, "'\\t'", PLAIN
    ),
    "mongoexport --type=csv": File("u.csv", table()),
    "mongoexport": File(
        "u.json",
        '{"_id":{"$oid":"1"},"username":"ann","password":"Quiet-1"}\n{"_id":{"$oid":"2"},"username":"bob","password":"Quiet-2"}\n',
        rows=PLAIN,
    ),
    "mongoexport --jsonArray": File("u.json", json.dumps(OBJECTS), expected="is JSON"),
    "DynamoDB, export to S3": File(
        "u.json.gz", gzip.compress(b'{"Item":{"username":{"S":"ann"}}}\n'), expected="has no column 'username'"
    ),
    "Elasticsearch, elasticdump": File(
        "u.json", '{"_index":"u","_source":{"username":"ann"}}\n', expected="no column 'username'"
    ),
    "Salesforce, Data Loader": File(
        "u.csv",
        table(always=True, header=("USERNAME", "PASSWORD")),
        {"columns": {"username": "USERNAME", "password": "PASSWORD"}},
        "It has 'USERNAME'",
    ),
    "Microsoft Entra, bulk template": File(
        "u.csv", "version:v1.0\nusername,password\nann,Quiet-1\n", expected="is its line 2"
    ),
    "Keycloak, realm export": File("realm.json", '{"realm": "x", "users": []}', expected="is JSON"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_file_of_a_program(tmp_path: Path, program: str) -> None:
    name, content, spec, expected, rows = PROGRAMS[program]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if expected:
        said = without_keys(path)
        assert expected in said
        assert "Quiet" not in said
    if expected and not spec:
        return
    found = read(path, **spec)
    assert not [row for row in found if row.malformed]
    assert [(row.username, row.password) for row in found] == rows


def without_keys(path: Path) -> str:
    """Return the file's refusal, or the message of its first row that is not read."""
    try:
        return next(row.malformed for row in read(path) if row.malformed)
    except InputError as error:
        return str(error)


def test_sixty_programs_are_listed() -> None:
    assert len(PROGRAMS) >= 60
