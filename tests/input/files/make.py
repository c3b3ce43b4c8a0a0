"""Write the files of this folder with other programs: python make.py FOLDER, in an environment that has them.

The tests only read the files. README.md lists the programs with their versions.
"""

import csv
import io
import json
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import agate
import duckdb
import fastparquet
import openpyxl
import pandas as pd
import petl
import polars as pl
import tablib
from fastavro import parse_schema, writer

ROWS = [("ann", "Größe-1,x"), ("007", 'quo"te-2'), ("zoë", "three 3"), ("王小明", "a;b|c\t4")]
HEADER = ("username", "password")
TABLE = {"username": [name for name, _ in ROWS], "password": [secret for _, secret in ROWS]}
IDS = [uuid.UUID(int=number * 7**40) for number in range(4)]
NUMBERS = TABLE | {"username": [1, 2, 3, 4]}


def main(folder: Path) -> None:
    """Write every file."""
    pandas(folder)
    polars(folder)
    duck(folder)
    parquet(folder)
    others(folder)
    commands(folder)


def pandas(to: Path) -> None:
    frame = pd.DataFrame(TABLE)
    frame.to_csv(to / "pandas.csv", index=False)
    frame.to_csv(to / "pandas-index.csv")
    frame.to_csv(to / "pandas-crlf.csv", index=False, lineterminator="\r\n")
    frame.to_csv(to / "pandas-cr.csv", index=False, lineterminator="\r")
    frame.to_csv(to / "pandas-bom.csv", index=False, encoding="utf-8-sig")
    frame.to_csv(to / "pandas-utf16.csv", index=False, encoding="utf-16")
    frame.to_csv(to / "pandas-semicolon.csv", index=False, sep=";")
    frame.to_csv(to / "pandas-tab.csv", index=False, sep="\t")
    frame.to_csv(to / "pandas-quoted.csv", index=False, quoting=csv.QUOTE_ALL)
    frame.to_csv(to / "pandas-escaped.csv", index=False, doublequote=False, escapechar="\\")
    frame.to_csv(to / "pandas-noheader.csv", index=False, header=False)
    frame.to_csv(to / "pandas.csv.gz", index=False)
    frame.to_csv(to / "pandas-bz2.csv", index=False, compression="bz2")
    frame.to_csv(to / "pandas-xz.csv", index=False, compression="xz")
    frame.to_csv(to / "pandas-zip.csv", index=False, compression="zip")
    frame.to_json(to / "pandas.jsonl", orient="records", lines=True)
    frame.to_json(to / "pandas.jsonl.gz", orient="records", lines=True)
    frame.to_json(to / "pandas-unicode.jsonl", orient="records", lines=True, force_ascii=False)
    pd.DataFrame(NUMBERS).to_json(to / "pandas-numbers.jsonl", orient="records", lines=True)
    frame.to_json(to / "pandas-array.jsonl", orient="records")
    frame.to_json(to / "pandas-columns.jsonl")
    frame.to_html(to / "pandas-html.csv")
    frame.to_xml(to / "pandas-xml.csv", parser="etree")
    frame.to_excel(to / "pandas-excel.csv.xlsx", index=False)
    (to / "pandas-excel.csv.xlsx").rename(to / "pandas-excel.csv")
    frame.to_parquet(to / "pandas.parquet")
    pd.DataFrame(NUMBERS).to_parquet(to / "pandas-numbers.parquet")
    frame.astype("category").to_parquet(to / "pandas-category.parquet")
    frame.set_index("username").to_parquet(to / "pandas-indexed.parquet")


def polars(to: Path) -> None:
    frame = pl.DataFrame(TABLE)
    frame.write_csv(to / "polars.csv")
    frame.write_csv(to / "polars-quoted.csv", quote_style="always")
    frame.write_csv(to / "polars-bom.csv", include_bom=True)
    frame.write_csv(to / "polars-crlf.csv", line_terminator="\r\n")
    frame.write_ndjson(to / "polars.ndjson")
    frame.write_json(to / "polars-array.jsonl")
    frame.write_parquet(to / "polars.parquet")
    frame.write_parquet(to / "polars-snappy.pq", compression="snappy", statistics=False)
    frame.with_columns(pl.col("username").cast(pl.Categorical)).write_parquet(to / "polars-categorical.parquet")
    frame.with_columns(pl.col("username").cast(pl.Binary)).write_parquet(to / "polars-binary.parquet")
    frame.with_columns(pl.Series("permanent", [True, False, None, True])).write_parquet(to / "polars-bool.parquet")
    frame.write_ipc(to / "polars-ipc.csv")


def duck(to: Path) -> None:
    base = duckdb.connect()
    base.register("t", pd.DataFrame(TABLE))
    for name, how in {
        "duckdb.csv": "FORMAT csv, HEADER",
        "duckdb-quoted.csv": "FORMAT csv, HEADER, FORCE_QUOTE *",
        "duckdb-escaped.csv": "FORMAT csv, HEADER, ESCAPE '\\'",
        "duckdb.csv.gz": "FORMAT csv, HEADER, COMPRESSION gzip",
        "duckdb.csv.zst": "FORMAT csv, HEADER, COMPRESSION zstd",
        "duckdb.jsonl": "FORMAT json",
        "duckdb.ndjson.zst": "FORMAT json, COMPRESSION zstd",
        "duckdb-array.jsonl": "FORMAT json, ARRAY true",
        "duckdb.parquet": "FORMAT parquet",
        "duckdb-v2.parquet": "FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd",
        "duckdb-brotli.parquet": "FORMAT parquet, COMPRESSION brotli",
        "duckdb-lz4.parquet": "FORMAT parquet, COMPRESSION lz4_raw",
    }.items():
        base.execute(f"COPY t TO '{to / name}' ({how})")
    base.register("ids", pd.DataFrame({"id": [str(one) for one in IDS], "password": TABLE["password"]}))
    base.execute(
        f"COPY (SELECT id::UUID AS username, password FROM ids) TO '{to / 'duckdb-uuid.parquet'}' (FORMAT parquet)"
    )
    base.execute(f"COPY (SELECT id::UUID AS username, password FROM ids) TO '{to / 'duckdb-uuid.jsonl'}' (FORMAT json)")
    base.execute(
        f"COPY (SELECT encode(username) AS username, password FROM t) TO '{to / 'duckdb-blob.parquet'}' (FORMAT parquet)"
    )


def parquet(to: Path) -> None:
    frame = pd.DataFrame(TABLE).astype(object)
    fastparquet.write(str(to / "fastparquet.parquet"), frame, object_encoding="utf8")
    fastparquet.write(str(to / "fastparquet-gzip.parquet"), frame, object_encoding="utf8", compression="GZIP")
    fastparquet.write(
        str(to / "fastparquet-bytes.parquet"), frame.map(lambda text: text.encode()), object_encoding="bytes"
    )


def others(to: Path) -> None:
    sheet = openpyxl.Workbook()
    for row in (HEADER, *ROWS):
        sheet.active.append(row)
    sheet.save(to / "openpyxl.csv")
    petl.tocsv([HEADER, *ROWS], str(to / "petl.csv"))
    petl.totsv([HEADER, *ROWS], str(to / "petl-tab.csv"))
    petl.tojson([HEADER, *ROWS], str(to / "petl.jsonl"), lines=True)
    agate.Table(ROWS, HEADER, [agate.Text(), agate.Text()]).to_csv(str(to / "agate.csv"))
    agate.Table(ROWS, HEADER, [agate.Text(), agate.Text()]).to_json(str(to / "agate.jsonl"), newline=True)
    data = tablib.Dataset(*ROWS, headers=HEADER)
    (to / "tablib.csv").write_text(data.export("csv"), encoding="utf-8", newline="")
    (to / "tablib-tsv.csv").write_text(data.export("tsv"), encoding="utf-8", newline="")
    schema = {"type": "record", "name": "u", "fields": [{"name": name, "type": "string"} for name in HEADER]}
    with (to / "fastavro.csv").open("wb") as file:
        writer(file, parse_schema(schema), [dict(zip(HEADER, row, strict=True)) for row in ROWS])
    for name, how in {
        "python.csv": {},
        "python-unix.csv": {"dialect": "unix"},
        "python-tab.csv": {"dialect": "excel-tab"},
    }.items():
        with (to / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, **how).writerows([HEADER, *ROWS])
    lines = [json.dumps(dict(zip(HEADER, row, strict=True))) for row in ROWS]
    (to / "python.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (to / "python-sequence.jsonl").write_text("".join(f"\x1e{line}\n" for line in lines), encoding="utf-8")
    (to / "python-indented.jsonl").write_text(
        json.dumps([dict(zip(HEADER, row, strict=True)) for row in ROWS], indent=2), encoding="utf-8"
    )


def commands(to: Path) -> None:
    base = sqlite3.connect(to / "made.sqlite")
    base.execute("CREATE TABLE t (username TEXT, password TEXT)")
    base.executemany("INSERT INTO t VALUES (?, ?)", ROWS)
    base.commit()
    base.close()
    (to / "made.sqlite").rename(to / "sqlite.csv")
    whole = (to / "pandas.csv").read_bytes()
    for name, command in {
        "zstd.csv.zst": ["zstd", "-q", "-c"],
        "zstd-long.csv.zst": ["zstd", "-q", "-c", "--long=27"],
        "gzip.csv.gz": ["gzip", "-nc"],
        "perl-cr.csv": ["perl", "-pe", "s/\\n/\\r/"],
        "iconv-utf16be.csv": ["iconv", "-f", "utf-8", "-t", "utf-16be"],
        "iconv-utf32.csv": ["iconv", "-f", "utf-8", "-t", "utf-32"],
    }.items():
        (to / name).write_bytes(subprocess.run(command, input=whole, capture_output=True, check=True).stdout)
    two = (to / "pandas-bom.csv").read_bytes()
    (to / "cat-joined.csv").write_bytes(two + two)
    (to / "cat-joined.csv.gz").write_bytes((to / "gzip.csv.gz").read_bytes() * 2)
    assert io.BytesIO(whole).readline() == b"username,password\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
