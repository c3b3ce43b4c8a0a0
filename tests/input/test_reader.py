"""The reader: the format of a file, refused files, and a file's fingerprint."""

import hashlib
import os
from pathlib import Path

import pytest

from bulkreset.errors import InputError
from bulkreset.input.csv_reader import CsvReader
from bulkreset.input.jsonl_reader import JsonLinesReader
from bulkreset.input.location import LocalFile
from bulkreset.input.parquet_reader import ParquetReader
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig
from tests.input.inputs import csv_file, pairs, parquet_file, read

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize(
    ("name", "kind", "reader"),
    [
        ("users.csv", None, CsvReader),
        ("users.txt", None, CsvReader),
        ("users", None, CsvReader),
        ("users.csv.gz", None, CsvReader),
        ("users.csv.zst", None, CsvReader),
        ("users.jsonl", None, JsonLinesReader),
        ("users.jsonl.gz", None, JsonLinesReader),
        ("USERS.NDJSON.ZST", None, JsonLinesReader),
        ("users.csv", "jsonl", JsonLinesReader),
        ("users.parquet", None, ParquetReader),
        ("USERS.PARQUET", None, ParquetReader),
        ("users.pq", None, ParquetReader),
        ("users.parquet", "csv", CsvReader),
        ("users.csv", "parquet", ParquetReader),
    ],
)
def test_format_is_the_jobs_or_the_names(tmp_path: Path, name: str, kind: str | None, reader: type) -> None:
    path = csv_file(tmp_path, "", name)
    assert type(open_rows(InputConfig.model_validate({"path": path, "format": kind}))) is reader


def test_format_in_the_job_beats_the_name(tmp_path: Path) -> None:
    path = parquet_file(tmp_path, {"username": ["a"], "password": ["One-1"]}).rename(tmp_path / "users.csv")
    assert pairs(read(path, format="parquet")) == [("a", "One-1")]


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no input file"):
        open_rows(InputConfig(path=tmp_path / "none.csv"))
    with pytest.raises(InputError, match="is not a file"):
        open_rows(InputConfig(path=tmp_path))


def test_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        open_rows(InputConfig(path=tmp_path / ("x" * 300)))


def test_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="is not a file"):
        open_rows(InputConfig(path=tmp_path / "pipe.csv"))


def test_file_that_vanishes_is_an_error(tmp_path: Path) -> None:
    for path in (
        csv_file(tmp_path, "username,password\n"),
        parquet_file(tmp_path, {"username": ["a"], "password": ["b"]}),
    ):
        rows, place = open_rows(InputConfig(path=path)), LocalFile(path)
        path.unlink()
        with pytest.raises(InputError, match="cannot be read"):
            list(rows.batches())
        with pytest.raises(InputError, match="cannot be read: No such file"):
            place.fingerprint()


@pytest.mark.linux("/proc/self/mem, a file that opens but does not read")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_file_that_opens_but_does_not_read_is_an_error(kind: str) -> None:
    path = Path("/proc/self/mem")
    with pytest.raises(InputError, match="cannot be read"):
        list(open_rows(InputConfig.model_validate({"path": path, "format": kind})).batches())
    with pytest.raises(InputError, match="cannot be read"):
        LocalFile(path).fingerprint()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_file_without_permission_is_an_error(tmp_path: Path, kind: str) -> None:
    path = csv_file(tmp_path, "username,password\n", f"users.{kind}")
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        list(open_rows(InputConfig(path=path)).batches())


def test_fingerprint_is_size_and_sha256(tmp_path: Path) -> None:
    content = b"username,password\n" * 100_000
    mark = LocalFile(csv_file(tmp_path, content)).fingerprint()
    assert (mark.size, mark.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert LocalFile(csv_file(tmp_path, content[:-1] + b"\r")).fingerprint() != mark


@pytest.mark.parametrize("name", ["users", "tricky"])
def test_samples_are_the_same_rows_in_both_formats(name: str) -> None:
    rows = read(SAMPLES / f"{name}.csv")
    assert len(rows) > 100
    assert rows == read(SAMPLES / f"{name}.parquet")
